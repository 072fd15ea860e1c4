// The operators of operators.h: memory comes from the caller (torch), so that its allocator and its lifetimes hold.

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>

#include <pybind11/pybind11.h>

#include <vadfast/operators.h>

#include "array.h"

namespace py = pybind11;

namespace {

using vad::Array;
using vad::Kind;
using vad::Use;

[[noreturn]] void refuse(const std::string & name, const std::string & wanted, const Array & got) {
    throw py::value_error(name + " must be " + wanted + ", got " + vad::words(got));
}

void check_sides(const Array & x, const std::string & name, size_t n = 4) {
    if (x.on_cuda || x.shape.size() != n) {
        refuse(name, "of " + std::to_string(n) + " sides, on the CPU", x);
    }
}

Array dense(py::handle x, const std::string & name, Use use, size_t n_sides = 4, int32_t bits = 32) {
    Array array = vad::dense_array_of(x, name, Kind::floating, bits, use);
    check_sides(array, name, n_sides);
    return array;
}

// Aligned to 64 bytes; of none, where the core is to say why, of one line.
template <typename T>
std::unique_ptr<T, decltype(&std::free)> scratch_of(int64_t n) {
    const size_t                             n_bytes = (size_t(std::max<int64_t>(n, 1)) * sizeof(T) + 63) / 64 * 64;
    std::unique_ptr<T, decltype(&std::free)> memory(static_cast<T *>(std::aligned_alloc(64, n_bytes)), std::free);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

// [n, height, width, channels] of any strides, but the channels of a position side by side.
Array images_array(py::handle x, const std::string & name) {
    Array array = vad::array_of(x, name);
    vad::check_dtype(array, name, Kind::floating, 32);
    check_sides(array, name);
    if ((array.shape[3] > 1 && array.stride[3] != 1) || !array.is_aligned()) {
        refuse(name, "[n, height, width, channels], channels side by side and aligned to their elements", array);
    }
    return array;
}

vad_images images_of(const Array & x) {
    return {static_cast<const float *>(x.data), {x.stride[0], x.stride[1], x.stride[2]}};
}

void criss_cross(py::handle q_, py::handle k_, py::handle v_, py::handle y_, py::handle state_, int32_t n_threads, uintptr_t run) {
    const Array q = images_array(q_, "criss_cross: q"), k = images_array(k_, "criss_cross: k"), v = images_array(v_, "criss_cross: v");
    const Array y = dense(y_, "criss_cross: y", Use::result), state = dense(state_, "criss_cross: state", Use::result);
    const auto  agree = [](const Array & a, const Array & b, int n) {
        return std::equal(a.shape.begin(), a.shape.begin() + n, b.shape.begin());
    };
    if (!agree(q, k, 4) || !agree(q, v, 3) || !agree(v, y, 4) || !agree(q, state, 3) || state.shape[3] != 2) {
        throw py::value_error("criss_cross: k must be like q, v, y and state of as many positions, y like v, state of 2 channels, got " +
                              vad::words(q) + ", " + vad::words(k) + ", " + vad::words(v) + ", " + vad::words(y) + ", " +
                              vad::words(state));
    }
    vad_criss_cross_input input{};
    input.n      = vad::size_of(q.shape[0], "criss_cross: q", q);
    input.height = vad::size_of(q.shape[1], "criss_cross: q", q);
    input.width  = vad::size_of(q.shape[2], "criss_cross: q", q);
    input.d      = vad::size_of(q.shape[3], "criss_cross: q", q);
    input.c      = vad::size_of(v.shape[3], "criss_cross: v", v);
    input.q      = images_of(q);
    input.k      = images_of(k);
    input.v      = images_of(v);
    vad_status status;
    {
        py::gil_scoped_release released;
        const auto scratch = scratch_of<float>(vad_criss_cross_scratch(input.height, input.width, input.d, input.c, n_threads));
        status = vad_criss_cross(&input, static_cast<float *>(y.data), static_cast<float *>(state.data), scratch.get(),
                                 vad::threads_of(n_threads, run));
    }
    vad::check(status);
}

void channels_last(py::handle x_, py::handle out_, int32_t n_threads, uintptr_t run) {
    const Array  x = dense(x_, "channels_last: x", Use::input), out = dense(out_, "channels_last: out", Use::result);
    const auto & s = x.shape;
    if (out.shape != std::vector<int64_t>{s[0], s[2], s[3], s[1]}) {
        throw py::value_error("channels_last: out must be x with its channels last, got " + vad::words(x) + " and " + vad::words(out));
    }
    const int32_t n = vad::size_of(s[0], "channels_last: x", x), channels = vad::size_of(s[1], "channels_last: x", x);
    vad_status    status;
    {
        py::gil_scoped_release released;
        status = vad_channels_last(static_cast<const float *>(x.data), n, channels, s[2] * s[3], static_cast<float *>(out.data),
                                   vad::threads_of(n_threads, run));
    }
    vad::check(status);
}

// Bags, and what is made of the weights, by its sides.
struct Bags {
    Array                   f;
    Array                   planes;
    Array                   kernel;
    vad_sta_attention_input input;

    Bags(const std::string & name, py::handle f_, py::handle planes_, py::handle kernel_)
        : f(dense(f_, name + ": f", Use::input, 3)), planes(dense(planes_, name + ": planes", Use::input, 1)),
          kernel(dense(kernel_, name + ": kernel", Use::input, 2)), input{} {
        const auto & k = kernel.shape;
        if (planes.shape[0] != 10 || k[0] != k[1] || k[0] % 2 == 0) {
            throw py::value_error(name + ": planes must be [10], and kernel square, of 2 n + 1 rows for n harmonics, got " +
                                  vad::words(planes) + ", " + vad::words(kernel));
        }
        input.n           = vad::size_of(f.shape[0], name + ": f", f);
        input.height      = vad::size_of(f.shape[1], name + ": f", f);
        input.width       = vad::size_of(f.shape[2], name + ": f", f);
        input.n_harmonics = vad::size_of(k[0] / 2, name + ": kernel", kernel);
        input.f           = static_cast<const float *>(f.data);
        input.planes      = static_cast<const float *>(planes.data);
        input.kernel      = static_cast<const float *>(kernel.data);
    }

    int64_t n_scratch(int32_t n_threads) const {
        return vad_sta_attention_scratch(input.n, input.height, input.width, input.n_harmonics, n_threads);
    }
};

Array like(const Array & model, py::handle x, const std::string & name, Use use, int32_t bits = 32) {
    Array array = dense(x, name, use, model.shape.size(), bits);
    if (array.shape != model.shape) {
        refuse(name, vad::words(model.shape), array);
    }
    return array;
}

void sta_attention(py::handle f, py::handle planes, py::handle kernel, py::handle y_, int32_t n_threads, uintptr_t run) {
    const Bags  bags("sta_attention", f, planes, kernel);
    const Array y = like(bags.f, y_, "sta_attention: y", Use::result);
    vad_status  status;
    {
        py::gil_scoped_release released;
        const auto             scratch = scratch_of<double>(bags.n_scratch(n_threads));
        status = vad_sta_attention(&bags.input, static_cast<float *>(y.data), scratch.get(), vad::threads_of(n_threads, run));
    }
    vad::check(status);
}

void sta_attention_backward(py::handle f, py::handle planes, py::handle kernel, py::handle dy_, py::handle df_, py::handle dplanes_,
                            py::handle dkernel_, int32_t n_threads, uintptr_t run) {
    const std::string name = "sta_attention_backward";
    const Bags        bags(name, f, planes, kernel);
    const Array       dy      = like(bags.f, dy_, name + ": dy", Use::input);
    const Array       df      = like(bags.f, df_, name + ": df", Use::result);
    const Array       dplanes = like(bags.planes, dplanes_, name + ": dplanes", Use::result, 64);
    const Array       dkernel = like(bags.kernel, dkernel_, name + ": dkernel", Use::result, 64);
    vad_status        status;
    {
        py::gil_scoped_release released;
        const auto             scratch = scratch_of<double>(bags.n_scratch(n_threads));
        status = vad_sta_attention_backward(&bags.input, static_cast<const float *>(dy.data), static_cast<float *>(df.data),
                                            static_cast<double *>(dplanes.data), static_cast<double *>(dkernel.data), scratch.get(),
                                            vad::threads_of(n_threads, run));
    }
    vad::check(status);
}

}  // namespace

void bind_operators(py::module_ & m) {
    m.def("criss_cross", &criss_cross, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("y"), py::arg("state"), py::kw_only(),
          py::arg("n_threads"), py::arg("run") = 0,
          "Writes y [n, height, width, c] and state [n, height, width, 2] of criss-cross attention; float32, channels last.");
    m.def("channels_last", &channels_last, py::arg("x"), py::arg("out"), py::kw_only(), py::arg("n_threads"), py::arg("run") = 0,
          "Writes x [n, channels, height, width] as out [n, height, width, channels]; float32, both contiguous.");
    m.def("sta_attention", &sta_attention, py::arg("f"), py::arg("planes"), py::arg("kernel"), py::arg("y"), py::kw_only(),
          py::arg("n_threads"), py::arg("run") = 0,
          "Writes y, like f [n, height, width], of STA's attention; planes [10] and kernel [2 n + 1, 2 n + 1] as in operators.h; float32.");
    m.def("sta_attention_backward", &sta_attention_backward, py::arg("f"), py::arg("planes"), py::arg("kernel"), py::arg("dy"),
          py::arg("df"), py::arg("dplanes"), py::arg("dkernel"), py::kw_only(), py::arg("n_threads"), py::arg("run") = 0,
          "Writes the gradients df (float32), dplanes and dkernel (float64), each of its input's shape, for dy like f.");
}
