// vadfast_kernels._C.preprocess: pictures of any array library, on the host or on CUDA.

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vadfast/frame.h>

#include "array.h"

namespace py = pybind11;

namespace {

using vad::Array;
using Crop = std::optional<std::tuple<int32_t, int32_t, int32_t, int32_t>>;

[[noreturn]] void refuse(const std::string & name, const std::string & wanted, const Array & got) {
    throw py::value_error("preprocess: " + name + " must be " + wanted + ", got " + vad::words(got));
}

// uint8, of these sides (0: any), its last `n_dense` dimensions without gaps.
Array checked(Array array, const std::string & name, const std::string & wanted, const std::vector<int64_t> & sides, int n_dense) {
    vad::check_dtype(array, "preprocess: " + name, vad::Kind::unsigned_int, 8);
    bool fits = array.shape.size() == sides.size();
    for (size_t i = 0; fits && i < sides.size(); i++) {
        fits = (sides[i] == 0 || array.shape[i] == sides[i]) && array.shape[i] <= INT32_MAX;
    }
    if (!fits) {
        refuse(name, wanted, array);
    }
    int64_t step = 1;
    for (int i = int(sides.size()) - 1; i >= int(sides.size()) - n_dense; i--) {
        if (array.size() > 0 && array.shape[i] > 1 && array.stride[i] != step) {  // an empty array is the core's to refuse
            refuse(name, wanted + " with rows that have no gaps inside (numpy.ascontiguousarray copies one that has)", array);
        }
        step *= array.shape[i];
    }
    if (array.shape[0] == 1) {
        array.stride[0] = step;  // of a single row anything may be said
    }
    return array;
}

int32_t format_of(const std::string & name) {
    static const char * const names[] = {"nv12", "i420", "bgr", "rgb", "gray"};
    for (int32_t format = 0; format < 5; format++) {
        if (name == names[format]) {
            return format;
        }
    }
    throw py::value_error("preprocess: format must be nv12, i420, bgr, rgb or gray, got " + name);
}

// Everything of one call: the arrays stay alive as long as it does.
class Call {
public:
    explicit Call(intptr_t stream) : stream_(stream) {}

    void add(py::handle picture, py::handle out, int32_t format, const Crop & crop) {
        index_ = "[" + std::to_string(pictures.size()) + "]";
        vad_picture p{};
        p.format = format;
        if (crop) {
            std::tie(p.crop_x, p.crop_y, p.crop_width, p.crop_height) = *crop;
            if (p.crop_width < 1 || p.crop_height < 1) {  // four zeros would mean everything to the core
                throw py::value_error("preprocess: crops" + index_ +
                                      " must be (x, y, width, height) of at least 1 x 1, or None for everything, got " +
                                      std::to_string(p.crop_width) + " x " + std::to_string(p.crop_height));
            }
        }
        if (py::isinstance<py::tuple>(picture)) {
            take_planes(p, py::reinterpret_borrow<py::tuple>(picture));
        } else if (format == VAD_FORMAT_NV12 || format == VAD_FORMAT_I420) {
            take_stacked(p, picture);
        } else {
            take_plain(p, picture);
        }
        pictures.push_back(p);
        take_out(out);
    }

    bool on_cuda() const { return !arrays_.empty() && arrays_[0].on_cuda; }

    std::vector<vad_picture> pictures;
    std::vector<vad_image>   images;

private:
    Array array_of(py::handle x, const std::string & name) const { return vad::array_of(x, "preprocess: " + name, stream_); }

    Array bytes_of(py::handle x, const std::string & name, const std::string & wanted, const std::vector<int64_t> & sides,
                   int n_dense) const {
        return checked(array_of(x, name), name, wanted, sides, n_dense);
    }

    // rgb, bgr: [H, W, 3]; gray: [H, W].
    void take_plain(vad_picture & p, py::handle x) {
        const std::string name  = "pictures" + index_;
        const bool        gray  = p.format == VAD_FORMAT_GRAY;
        const Array &     array = keep(gray ? bytes_of(x, name, "[H, W]", {0, 0}, 1) : bytes_of(x, name, "[H, W, 3]", {0, 0, 3}, 2));
        size(p, array.shape[0], array.shape[1]);
        plane(p, 0, array.data, array.stride[0]);
    }

    // nv12, i420: [3 H / 2, W], the planes one below the other as cv2.cvtColor takes them.
    void take_stacked(vad_picture & p, py::handle x) {
        const std::string wanted = "[3 H / 2, W], or a tuple of its planes,";
        const Array &     array  = keep(bytes_of(x, "pictures" + index_, wanted, {0, 0}, p.format == VAD_FORMAT_I420 ? 2 : 1));
        const int64_t     height = array.shape[0] / 3 * 2, width = array.shape[1], pitch = array.stride[0];
        if (array.shape[0] % 3 != 0) {
            refuse("pictures" + index_, wanted + " of a number of rows that 3 divides", array);
        }
        auto * luma = static_cast<uint8_t *>(array.data);
        size(p, height, width);
        plane(p, 0, luma, pitch);
        if (p.format == VAD_FORMAT_NV12) {
            plane(p, 1, luma + height * pitch, pitch);
        } else {  // half as wide, two rows of a plane in one of the array
            plane(p, 1, luma + height * width, width / 2);
            plane(p, 2, luma + height * width + height / 2 * (width / 2), width / 2);
        }
    }

    // nv12: (y [H, W], uv [H / 2, W] or [H / 2, W / 2, 2]); i420: (y [H, W], u and v [H / 2, W / 2]).
    void take_planes(vad_picture & p, const py::tuple & planes) {
        const size_t n_planes = p.format == VAD_FORMAT_NV12 ? 2 : p.format == VAD_FORMAT_I420 ? 3 : 1;
        if (planes.size() != n_planes) {
            throw py::value_error("preprocess: pictures" + index_ + " must be a tuple of " + std::to_string(n_planes) + " planes, got " +
                                  std::to_string(planes.size()));
        }
        if (n_planes == 1) {
            return take_plain(p, planes[0]);
        }
        const std::string name = "pictures" + index_;
        const Array &     luma = keep(bytes_of(planes[0], name + "[0]", "[H, W]", {0, 0}, 1));
        const int64_t     height = luma.shape[0], width = luma.shape[1];
        size(p, height, width);
        plane(p, 0, luma.data, luma.stride[0]);
        for (size_t i = 1; i < n_planes; i++) {
            const std::string          part  = name + "[" + std::to_string(i) + "]";
            Array                      given = array_of(planes[i], part);
            const bool                 pairs = p.format == VAD_FORMAT_NV12 && given.shape.size() == 3;
            const std::vector<int64_t> sides = pairs                          ? std::vector<int64_t>{height / 2, width / 2, 2}
                                               : p.format == VAD_FORMAT_NV12 ? std::vector<int64_t>{height / 2, width}
                                                                             : std::vector<int64_t>{height / 2, width / 2};
            const Array & chroma = keep(checked(std::move(given), part, vad::words(sides), sides, pairs ? 2 : 1));
            plane(p, int(i), chroma.data, chroma.stride[0]);
        }
    }

    void take_out(py::handle x) {
        const Array & array = keep(bytes_of(x, "outs" + index_, "[height, width, 3]", {0, 0, 3}, 2));
        if (!array.writable) {
            throw py::value_error("preprocess: outs" + index_ + " must be writable, got a read-only array; copy it first");
        }
        // No side is larger than an int32, for `checked` looks at that.
        images.push_back({static_cast<uint8_t *>(array.data), array.stride[0], int32_t(array.shape[1]), int32_t(array.shape[0])});
    }

    const Array & keep(Array array) {
        if (!arrays_.empty() && !array.is_on_device_of(arrays_[0])) {
            throw py::value_error("preprocess: pictures and outs must all be on one device, got " + vad::words(arrays_[0]) + " and " +
                                  vad::words(array));
        }
        arrays_.push_back(std::move(array));
        return arrays_.back();
    }

    static void size(vad_picture & p, int64_t height, int64_t width) {
        p.height = int32_t(height);
        p.width  = int32_t(width);
    }

    static void plane(vad_picture & p, int i, void * data, int64_t pitch) {
        p.plane[i] = static_cast<const uint8_t *>(data);
        p.pitch[i] = pitch;
    }

    std::vector<Array> arrays_;
    std::string        index_;
    intptr_t           stream_;
};

void preprocess(const py::list & pictures, const py::list & outs, const std::string & format, const std::vector<Crop> & crops,
                uintptr_t stream) {
    if (outs.size() != pictures.size() || crops.size() != pictures.size()) {
        throw py::value_error("preprocess: outs and crops must be as many as pictures, " + std::to_string(pictures.size()) + ", got " +
                              std::to_string(outs.size()) + " and " + std::to_string(crops.size()));
    }
    Call call(static_cast<intptr_t>(stream));
    for (size_t i = 0; i < pictures.size(); i++) {
        call.add(pictures[i], outs[i], format_of(format), crops[i]);
    }
    vad_status status;
    {
        py::gil_scoped_release release;
        const auto             n = int32_t(call.pictures.size());
        const auto *           from = call.pictures.data();
        const auto *           to   = call.images.data();
        status = call.on_cuda() ? vad_preprocess_cuda(from, to, n, reinterpret_cast<void *>(stream)) : vad_preprocess(from, to, n);
    }
    vad::check(status);
}

}  // namespace

void bind_preprocess(py::module_ & m) {
    m.def("preprocess", &preprocess, py::arg("pictures"), py::arg("outs"), py::arg("format"), py::arg("crops"), py::arg("stream") = 0,
          "Resizes pictures[i], cut to crops[i], into outs[i]: vadfast_kernels.preprocess has the words.");
}
