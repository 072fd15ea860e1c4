// Arrays of NumPy, and of every library that speaks DLPack (torch, CuPy, ...), as a pointer with sizes: nothing is copied.

#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/pybind11.h>

#include <vadfast/threads.h>

namespace vad {

enum class Kind { unsigned_int, signed_int, floating, bfloat, other };

struct Array {
    void *               data;
    Kind                 kind;
    int32_t              bits;     // of an element
    bool                 on_cuda;  // else in host memory
    int32_t              device;   // which GPU; 0 for host memory
    bool                 writable;
    std::string          dtype;    // in words, of kind `other`
    std::vector<int64_t> shape;
    std::vector<int64_t> stride;   // in elements
    pybind11::object     owner;    // keeps the memory

    bool    is(Kind wanted, int32_t wanted_bits) const { return kind == wanted && bits == wanted_bits; }
    bool    is_on_device_of(const Array & other) const { return on_cuda == other.on_cuda && device == other.device; }
    bool    is_aligned() const;
    bool    is_contiguous() const;
    int64_t size() const;
};

constexpr intptr_t NOT_READ = -1;

// Raises TypeError where `x` is no array, naming it by `name`. `stream` is the CUDA stream on which it will be read or written, so that its
// library waits there for what is still under way; NOT_READ: it will not be.
Array array_of(pybind11::handle x, const std::string & name, intptr_t stream = NOT_READ);

// Raises TypeError for an array of another dtype.
void check_dtype(const Array & array, const std::string & name, Kind kind, int32_t bits);

enum class Use { input, result };

// An array of one dtype without gaps, of a result a writable one, on any device. Raises TypeError for what is no array or of another dtype,
// ValueError for the rest.
Array dense_array_of(pybind11::handle x, const std::string & name, Kind kind, int32_t bits, Use use, intptr_t stream = NOT_READ);

// A size for the core. Raises ValueError for one that an int32 cannot hold.
int32_t size_of(int64_t size, const std::string & name, const Array & array);

// "uint8 [4, 256, 256, 3]": for sentences.
std::string words(const Array & array);
std::string words(const std::vector<int64_t> & shape);

// Who works; `run` is the address of a vad_run in this process, or 0.
vad_threads threads_of(int32_t n, uintptr_t run);

// What an argument of the core is called in Python, one after the other.
using Names = std::vector<std::pair<std::string, std::string>>;

// Raises what the core refuses: ValueError, MemoryError or RuntimeError with its sentence, in Python's names.
void check(vad_status status, const Names & names = {});

}  // namespace vad
