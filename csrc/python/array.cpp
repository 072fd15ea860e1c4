// NumPy's arrays are read through its C structure, which takes a quarter of the time of DLPack; all others come as DLPack's capsules.

#include "array.h"

#include <stdexcept>
#include <string>

#include <pybind11/numpy.h>

#include "dlpack.h"

namespace py = pybind11;

namespace {

using vad::DLManagedTensor;
using vad::DLTensor;

vad::Kind kind_of(const DLTensor & t) {
    if (t.lanes != 1) {
        return vad::Kind::other;
    }
    switch (t.code) {
        case vad::kInt: return vad::Kind::signed_int;
        case vad::kUInt: return vad::Kind::unsigned_int;
        case vad::kFloat: return vad::Kind::floating;
        case vad::kBfloat: return vad::Kind::bfloat;
        default: return vad::Kind::other;
    }
}

vad::Kind kind_of(const py::dtype & dtype) {
    switch (dtype.kind()) {
        case 'u': return vad::Kind::unsigned_int;
        case 'i': return vad::Kind::signed_int;
        case 'f': return vad::Kind::floating;
        default: return vad::Kind::other;
    }
}

std::string words_of(const DLTensor & t) {
    if (t.code == vad::kBool) {
        return "bool";
    }
    const std::string name = t.code == vad::kComplex ? "complex" : "dtype code " + std::to_string(t.code) + " of ";
    return name + std::to_string(t.bits) + (t.lanes == 1 ? "" : " x " + std::to_string(t.lanes));
}

vad::Array from_numpy(const py::array & x) {
    const py::dtype   dtype   = x.dtype();
    const py::ssize_t n_bytes = dtype.itemsize();
    vad::Array        array{};
    array.data     = const_cast<void *>(x.data());
    array.kind     = kind_of(dtype);
    array.bits     = int32_t(8 * n_bytes);
    array.writable = x.writeable();
    array.owner    = x;
    // An element may have no bytes (a structure without fields), or those of the other order: '=' and '|' are this machine's and none.
    const char order = dtype.byteorder();
    const bool plain = n_bytes > 0 && (order == '=' || order == '|');
    bool       fits  = plain;
    array.shape.reserve(size_t(x.ndim()));
    array.stride.reserve(size_t(x.ndim()));
    for (py::ssize_t i = 0; i < x.ndim(); i++) {
        array.shape.push_back(x.shape(i));
        // A view of a structure may have strides that no element fits: it is then no plain array.
        fits = fits && x.strides(i) % n_bytes == 0;
        array.stride.push_back(fits ? x.strides(i) / n_bytes : 0);
    }
    if (!fits) {
        array.kind = vad::Kind::other;
    }
    if (array.kind == vad::Kind::other) {
        array.dtype = std::string(py::str(dtype)) + (plain && !fits ? " of a structure" : "");
    }
    return array;
}

std::string name_of(const vad::Array & array) {
    static const char * const names[] = {"uint", "int", "float", "bfloat"};
    return array.kind == vad::Kind::other ? array.dtype : names[int(array.kind)] + std::to_string(array.bits);
}

// Owns what a capsule gave: the producer frees it when the last of us lets go.
py::capsule taken(DLManagedTensor * managed) {
    return py::capsule(managed, [](void * pointer) {
        auto * tensor = static_cast<DLManagedTensor *>(pointer);
        if (tensor->deleter != nullptr) {
            tensor->deleter(tensor);
        }
    });
}

// Whether the array is a GPU's, as far as it says so before it is asked for its memory.
bool is_on_cuda(py::handle x) {
    if (!py::hasattr(x, "__dlpack_device__")) {
        return false;
    }
    const auto kind = py::int_(py::tuple(x.attr("__dlpack_device__")())[0]).cast<int32_t>();
    return kind == vad::kCUDA || kind == vad::kCUDAManaged;
}

// DLPack's numbers of streams: 1 is the default one, whose address is 0; -1: do not wait.
py::object capsule_of(py::handle x, const std::string & name, intptr_t stream) {
    try {
        return is_on_cuda(x) ? x.attr("__dlpack__")(py::arg("stream") = stream == 0 ? 1 : stream) : x.attr("__dlpack__")();
    } catch (py::error_already_set & error) {
        if (!error.matches(PyExc_BufferError)) {
            throw;
        }
        const std::string kind = py::str(py::type::handle_of(x).attr("__name__"));
        throw py::value_error(name + " must be an array whose memory can be shared, got a " + kind + " that refuses (" +
                              std::string(py::str(error.value())) + "); torch's with a gradient: pass x.detach()");
    }
}

vad::Array from_dlpack(py::handle x, const std::string & name, intptr_t stream) {
    py::object capsule = capsule_of(x, name, stream);
    auto *     managed = static_cast<DLManagedTensor *>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    if (managed == nullptr) {
        throw py::error_already_set();
    }
    PyCapsule_SetName(capsule.ptr(), "used_dltensor");
    const DLTensor & t = managed->tensor;
    vad::Array       array{};
    array.owner    = taken(managed);
    array.data     = static_cast<uint8_t *>(t.data) + t.byte_offset;
    array.kind     = kind_of(t);
    array.bits     = t.bits;
    array.on_cuda  = t.device_type == vad::kCUDA || t.device_type == vad::kCUDAManaged;
    array.device   = array.on_cuda ? t.device_id : 0;
    array.writable = true;
    array.shape.assign(t.shape, t.shape + t.ndim);
    if (!array.on_cuda && t.device_type != vad::kCPU && t.device_type != vad::kCUDAHost) {
        throw py::type_error("DLPack: device must be the CPU or CUDA, got device type " + std::to_string(t.device_type));
    }
    if (array.kind == vad::Kind::other) {
        array.dtype = words_of(t);
    }
    if (t.strides != nullptr) {
        array.stride.assign(t.strides, t.strides + t.ndim);
        return array;
    }
    array.stride.resize(t.ndim);
    int64_t step = 1;
    for (int32_t i = t.ndim - 1; i >= 0; i--) {
        array.stride[i] = step;
        step *= t.shape[i];
    }
    return array;
}

}  // namespace

vad::Array vad::array_of(py::handle x, const std::string & name, intptr_t stream) {
    if (py::isinstance<py::array>(x)) {
        return from_numpy(py::reinterpret_borrow<py::array>(x));
    }
    if (py::hasattr(x, "__dlpack__")) {
        return from_dlpack(x, name, stream);
    }
    throw py::type_error(name + " must be an array (NumPy, or one that speaks DLPack), got " +
                         std::string(py::str(py::type::handle_of(x).attr("__name__"))));
}

void vad::check_dtype(const Array & array, const std::string & name, Kind kind, int32_t bits) {
    if (!array.is(kind, bits)) {
        Array wanted{};
        wanted.kind = kind;
        wanted.bits = bits;
        throw py::type_error(name + " must be " + name_of(wanted) + ", got " + words(array) + "; convert it");
    }
}

vad::Array vad::dense_array_of(py::handle x, const std::string & name, Kind kind, int32_t bits, Use use, intptr_t stream) {
    Array array = array_of(x, name, stream);
    check_dtype(array, name, kind, bits);
    if (!array.is_contiguous() || !array.is_aligned()) {
        const char * why = array.is_contiguous() ? " that is misaligned" : " with gaps or in another order";
        throw py::value_error(name + " must be contiguous and aligned to its elements, got " + words(array) + why +
                              "; pass a contiguous copy");
    }
    if (use == Use::result && !array.writable) {
        throw py::value_error(name + " must be writable, got a read-only " + words(array) + "; pass another");
    }
    return array;
}

int32_t vad::size_of(int64_t size, const std::string & name, const Array & array) {
    if (size > INT32_MAX) {
        throw py::value_error(name + " must be less than 2^31 in each direction, got " + words(array));
    }
    return int32_t(size);
}

bool vad::Array::is_aligned() const {
    return bits % 8 != 0 || bits == 0 || reinterpret_cast<uintptr_t>(data) % uintptr_t(bits / 8) == 0;
}

bool vad::Array::is_contiguous() const {
    if (size() == 0) {
        return true;  // whatever its strides say
    }
    int64_t step = 1;
    for (size_t i = shape.size(); i-- > 0;) {
        if (shape[i] != 1 && stride[i] != step) {
            return false;
        }
        step *= shape[i];
    }
    return true;
}

int64_t vad::Array::size() const {
    int64_t n = 1;
    for (int64_t side : shape) {
        n *= side;
    }
    return n;
}

std::string vad::words(const std::vector<int64_t> & shape) {
    std::string text;
    for (int64_t side : shape) {
        text += (text.empty() ? "" : ", ") + std::to_string(side);
    }
    return "[" + text + "]";
}

std::string vad::words(const Array & array) {
    return name_of(array) + " " + words(array.shape) + (array.on_cuda ? " on CUDA device " + std::to_string(array.device) : "");
}

vad_threads vad::threads_of(int32_t n, uintptr_t run) {
    return {n, reinterpret_cast<vad_run>(run)};
}

void vad::check(vad_status status, const Names & names) {
    if (status == VAD_OK) {
        return;
    }
    std::string sentence = vad_last_error();
    for (const auto & [core, python] : names) {
        for (size_t at = sentence.find(core); at != std::string::npos; at = sentence.find(core, at + python.size())) {
            sentence.replace(at, core.size(), python);
        }
    }
    switch (status) {
        case VAD_E_MEMORY: PyErr_SetString(PyExc_MemoryError, sentence.c_str()); throw py::error_already_set();
        case VAD_E_DEVICE: throw std::runtime_error(sentence);
        default: throw py::value_error(sentence);
    }
}
