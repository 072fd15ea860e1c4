// The operators of operators.h: memory comes from the caller (torch), so that its allocator and its lifetimes hold.

#include <cstdlib>
#include <memory>

#include <pybind11/pybind11.h>

#include <vadfast/operators.h>

#include "array.h"

namespace py = pybind11;

namespace {

float * contiguous(const vad::Array & x, const char * name, size_t n_sides) {
    if (!x.is(vad::Kind::floating, 32) || x.on_cuda || x.shape.size() != n_sides || !x.is_contiguous()) {
        throw py::value_error(std::string(name) + " must be float32 of " + std::to_string(n_sides) + " sides, contiguous, on the CPU, got " + vad::words(x));
    }
    return static_cast<float *>(x.data);
}

vad_images images(const vad::Array & x, const char * name) {
    if (!x.is(vad::Kind::floating, 32) || x.on_cuda || x.shape.size() != 4 || (x.shape[3] > 1 && x.stride[3] != 1)) {
        throw py::value_error(std::string(name) + " must be float32 [n, height, width, channels] on the CPU, channels side by side, got " + vad::words(x));
    }
    return {static_cast<const float *>(x.data), {x.stride[0], x.stride[1], x.stride[2]}};
}

void criss_cross(py::handle q_, py::handle k_, py::handle v_, py::handle y_, py::handle state_, int32_t n_threads, uintptr_t run) {
    const vad::Array q = vad::array_of(q_, "q"), k = vad::array_of(k_, "k"), v = vad::array_of(v_, "v");
    const vad::Array y = vad::array_of(y_, "y"), state = vad::array_of(state_, "state");
    vad_criss_cross_input input{};
    input.q = images(q, "q");
    input.k = images(k, "k");
    input.v = images(v, "v");
    const auto agree = [](const vad::Array & a, const vad::Array & b, size_t n) { return std::equal(a.shape.begin(), a.shape.begin() + n, b.shape.begin()); };
    float *    y_data = contiguous(y, "y", 4), *state_data = contiguous(state, "state", 4);
    if (!agree(q, k, 4) || !agree(q, v, 3) || !agree(v, y, 4) || !agree(q, state, 3) || state.shape[3] != 2) {
        throw py::value_error("criss_cross: k must be like q, v, y and state of as many positions, y like v, state of 2 channels, got " + vad::words(q) + ", " +
                              vad::words(k) + ", " + vad::words(v) + ", " + vad::words(y) + ", " + vad::words(state));
    }
    input.n      = int32_t(q.shape[0]);
    input.height = int32_t(q.shape[1]);
    input.width  = int32_t(q.shape[2]);
    input.d      = int32_t(q.shape[3]);
    input.c      = int32_t(v.shape[3]);
    vad_status status;
    {
        py::gil_scoped_release released;
        const int64_t          n = vad_criss_cross_scratch(input.height, input.width, input.d, input.c, n_threads);
        std::unique_ptr<float, decltype(&std::free)> scratch(static_cast<float *>(std::aligned_alloc(64, size_t(n) * sizeof(float))), std::free);
        if (n > 0 && scratch == nullptr) {
            throw std::bad_alloc();
        }
        status = vad_criss_cross(&input, y_data, state_data, scratch.get(), vad::threads_of(n_threads, run));
    }
    vad::check(status);
}

void channels_last(py::handle x_, py::handle out_, int32_t n_threads, uintptr_t run) {
    const vad::Array x = vad::array_of(x_, "x"), out = vad::array_of(out_, "out");
    float *          from = contiguous(x, "x", 4), *to = contiguous(out, "out", 4);
    const auto &     s = x.shape;
    if (out.shape != std::vector<int64_t>{s[0], s[2], s[3], s[1]}) {
        throw py::value_error("channels_last: out must be x with its channels last, got " + vad::words(x) + " and " + vad::words(out));
    }
    vad_status status;
    {
        py::gil_scoped_release released;
        status = vad_channels_last(from, int32_t(s[0]), int32_t(s[1]), s[2] * s[3], to, vad::threads_of(n_threads, run));
    }
    vad::check(status);
}

}  // namespace

void bind_operators(py::module_ & m) {
    m.def("criss_cross", &criss_cross, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("y"), py::arg("state"), py::kw_only(), py::arg("n_threads"), py::arg("run") = 0,
          "Writes y [n, height, width, c] and state [n, height, width, 2] of criss-cross attention; float32, channels last.");
    m.def("channels_last", &channels_last, py::arg("x"), py::arg("out"), py::kw_only(), py::arg("n_threads"), py::arg("run") = 0,
          "Writes x [n, channels, height, width] as out [n, height, width, channels]; float32, both contiguous.");
}
