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

vad::Array from_numpy(const py::array & x) {
    vad::Array array{const_cast<void *>(x.data()), kind_of(x.dtype()), int32_t(8 * x.itemsize()), false, x.writeable(), {}, {}, x};
    for (py::ssize_t i = 0; i < x.ndim(); i++) {
        array.shape.push_back(x.shape(i));
        // A view of a structure may have strides that no element fits: it is then no plain array.
        if (x.strides(i) % x.itemsize() != 0) {
            array.kind = vad::Kind::other;
        }
        array.stride.push_back(x.strides(i) / x.itemsize());
    }
    return array;
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

vad::Array from_dlpack(py::handle x) {
    py::object capsule = x.attr("__dlpack__")();
    auto *     managed = static_cast<DLManagedTensor *>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    if (managed == nullptr) {
        throw py::error_already_set();
    }
    PyCapsule_SetName(capsule.ptr(), "used_dltensor");
    const DLTensor & t = managed->tensor;
    vad::Array       array{static_cast<uint8_t *>(t.data) + t.byte_offset, kind_of(t), t.bits, t.device_type != vad::kCPU && t.device_type != vad::kCUDAHost,
                     true, std::vector<int64_t>(t.shape, t.shape + t.ndim), {}, taken(managed)};
    if (array.on_cuda && t.device_type != vad::kCUDA && t.device_type != vad::kCUDAManaged) {
        throw py::type_error("DLPack: device must be the CPU or CUDA, got device type " + std::to_string(t.device_type));
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

vad::Array vad::array_of(py::handle x, const char * name) {
    if (py::isinstance<py::array>(x)) {
        return from_numpy(py::reinterpret_borrow<py::array>(x));
    }
    if (py::hasattr(x, "__dlpack__")) {
        return from_dlpack(x);
    }
    throw py::type_error(std::string(name) + " must be an array (NumPy, or one that speaks DLPack), got " +
                         std::string(py::str(py::type::handle_of(x).attr("__name__"))));
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

std::string vad::words(const Array & array) {
    static const char * const names[] = {"uint", "int", "float", "bfloat", "dtype of "};
    std::string               text    = names[int(array.kind)] + std::to_string(array.bits) + " [";
    for (size_t i = 0; i < array.shape.size(); i++) {
        text += (i == 0 ? "" : ", ") + std::to_string(array.shape[i]);
    }
    return text + (array.on_cuda ? "] on CUDA" : "]");
}

vad_threads vad::threads_of(int32_t n, uintptr_t run) {
    return {n, reinterpret_cast<vad_run>(run)};
}

void vad::check(vad_status status) {
    switch (status) {
        case VAD_OK: return;
        case VAD_E_MEMORY: PyErr_SetString(PyExc_MemoryError, vad_last_error()); throw py::error_already_set();
        case VAD_E_DEVICE: throw std::runtime_error(vad_last_error());
        default: throw py::value_error(vad_last_error());
    }
}
