// Arrays of NumPy, and of every library that speaks DLPack (torch, CuPy, ...), as a pointer with sizes: nothing is copied.

#pragma once

#include <cstdint>
#include <string>
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
    bool                 writable;
    std::vector<int64_t> shape;
    std::vector<int64_t> stride;   // in elements
    pybind11::object     owner;    // keeps the memory

    bool    is(Kind wanted, int32_t wanted_bits) const { return kind == wanted && bits == wanted_bits; }
    bool    is_contiguous() const;
    int64_t size() const;
};

// Raises TypeError where `x` is no array, naming it by `name`.
Array array_of(pybind11::handle x, const char * name);

// "uint8 [4, 256, 256, 3]": for sentences.
std::string words(const Array & array);

// Who works; `run` is the address of a vad_run in this process, or 0.
vad_threads threads_of(int32_t n, uintptr_t run);

// Raises what the core refuses: ValueError, MemoryError or RuntimeError with its sentence.
void check(vad_status status);

}  // namespace vad
