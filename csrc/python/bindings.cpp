// vadfast_kernels._C: the core for Python. Each part has its own file; this one joins them.

#include <pybind11/pybind11.h>

#include <vadfast.h>

namespace py = pybind11;

void bind_frame_score(py::module_ & m);
void bind_operators(py::module_ & m);
void bind_preprocess(py::module_ & m);
void bind_ring(py::module_ & m);
void bind_score(py::module_ & m);

PYBIND11_MODULE(_C, m) {
    m.doc() = "The native core of vadfast: preprocess, ring, frame score, score chain; see csrc/include/vadfast.h.";
    m.def("build_info", [] { return py::module_::import("json").attr("loads")(vad_build_info()); },
          "Returns what this module was built of: version, abi, compiler, flags, simd, commit, dirty, cuda (None without).");
    bind_preprocess(m);
    bind_ring(m);
    bind_frame_score(m);
    bind_score(m);
    bind_operators(m);
}
