// vadfast_kernels._C.preprocess: pictures of any array library, on the host or on CUDA.

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vadfast/frame.h>

#include "array.h"

namespace py = pybind11;

namespace {

using vad::Array;
using Crop = std::tuple<int32_t, int32_t, int32_t, int32_t>;
using Size = std::optional<std::pair<int64_t, int64_t>>;

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
    if (array.size() == 0) {
        refuse(name, wanted + " of at least 1 x 1", array);
    }
    int64_t step = 1;
    for (int i = int(sides.size()) - 1; i >= int(sides.size()) - n_dense; i--) {
        if (array.shape[i] > 1 && array.stride[i] != step) {
            refuse(name, wanted + ", with rows that have no gaps inside (numpy.ascontiguousarray copies one that has)", array);
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
    Call(bool is_one, const Size & size, intptr_t stream) : is_one_(is_one), size_(size), stream_(stream) {}

    void add(py::handle picture, py::handle out, int32_t format, py::handle crop) {
        vad_picture p{};
        p.format = format;
        if (!crop.is_none()) {
            take_crop(p, crop);
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
        i_++;
    }

    // The core's names for what was given, in Python's.
    vad::Names names() const {
        vad::Names names = {{"vad_preprocess_cuda:", "preprocess:"},
                            {"vad_preprocess:", "preprocess:"},
                            {"images[", "outs["},
                            {"all 0 is everything", "None is everything"}};
        for (size_t i = 0; i < i_; i++) {
            const std::string index = "[" + std::to_string(i) + "]";
            names.emplace_back("pictures" + index + ".crop", is_one_ ? "crop" : "crops" + index);
        }
        if (is_one_) {
            names.insert(names.end(), {{"pictures[0]", "picture"}, {"outs[0]", "out"}});
        }
        return names;
    }

    bool on_cuda() const { return !arrays_.empty() && arrays_[0].on_cuda; }

    std::vector<vad_picture> pictures;
    std::vector<vad_image>   images;

private:
    // "picture", or "pictures[2]" of several.
    std::string name_of(const char * what) const {
        return is_one_ ? what : std::string(what) + "s[" + std::to_string(i_) + "]";
    }

    void take_crop(vad_picture & p, py::handle given) {
        const std::string wanted = "preprocess: " + name_of("crop") +
                                   " must be (x, y, width, height) of at least 1 x 1, or None for everything, got ";
        Crop              crop;
        try {
            crop = given.cast<Crop>();
        } catch (const py::cast_error &) {
            throw py::value_error(wanted + std::string(py::repr(given)));
        }
        std::tie(p.crop_x, p.crop_y, p.crop_width, p.crop_height) = crop;
        if (p.crop_width < 1 || p.crop_height < 1) {  // four zeros would mean everything to the core
            throw py::value_error(wanted + std::to_string(p.crop_width) + " x " + std::to_string(p.crop_height));
        }
    }

    Array array_of(py::handle x, const std::string & name) const { return vad::array_of(x, "preprocess: " + name, stream_); }

    Array bytes_of(py::handle x, const std::string & name, const std::string & wanted, const std::vector<int64_t> & sides,
                   int n_dense) const {
        return checked(array_of(x, name), name, wanted, sides, n_dense);
    }

    // rgb, bgr: [H, W, 3]; gray: [H, W].
    void take_plain(vad_picture & p, py::handle x) {
        const std::string name  = name_of("picture");
        const bool        gray  = p.format == VAD_FORMAT_GRAY;
        const Array &     array = keep(gray ? bytes_of(x, name, "[H, W]", {0, 0}, 1) : bytes_of(x, name, "[H, W, 3]", {0, 0, 3}, 2));
        size(p, array.shape[0], array.shape[1]);
        plane(p, 0, array.data, array.stride[0]);
    }

    // nv12, i420: [3 H / 2, W], the planes one below the other as cv2.cvtColor takes them.
    void take_stacked(vad_picture & p, py::handle x) {
        const std::string wanted = "[3 H / 2, W], or a tuple of its planes";
        const Array &     array  = keep(bytes_of(x, name_of("picture"), wanted, {0, 0}, p.format == VAD_FORMAT_I420 ? 2 : 1));
        const int64_t     height = array.shape[0] / 3 * 2, width = array.shape[1], pitch = array.stride[0];
        if (array.shape[0] % 3 != 0) {
            refuse(name_of("picture"), wanted + ", of a number of rows that 3 divides", array);
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
            throw py::value_error("preprocess: " + name_of("picture") + " must be a tuple of " + std::to_string(n_planes) + " planes, got " +
                                  std::to_string(planes.size()));
        }
        if (n_planes == 1) {
            return take_plain(p, planes[0]);
        }
        const std::string name = name_of("picture");
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
        const std::string name  = name_of("out");
        const Array &     array = keep(bytes_of(x, name, "[height, width, 3]", {0, 0, 3}, 2));
        if (size_ && (array.shape[0] != size_->first || array.shape[1] != size_->second)) {
            refuse(name, vad::words({size_->first, size_->second, 3}) + " as size says, or size None", array);
        }
        if (!array.writable) {
            throw py::value_error("preprocess: " + name + " must be writable, got a read-only array; copy it first");
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
    size_t             i_ = 0;
    bool               is_one_;
    Size               size_;
    intptr_t           stream_;
};

void preprocess(const py::list & pictures, const py::list & outs, const std::string & format, const py::list & crops, const Size & size,
                bool is_one, uintptr_t stream) {
    if (outs.size() != pictures.size() || crops.size() != pictures.size()) {
        throw py::value_error("preprocess: outs and crops must be as many as pictures, " + std::to_string(pictures.size()) + ", got " +
                              std::to_string(outs.size()) + " and " + std::to_string(crops.size()));
    }
    Call call(is_one, size, static_cast<intptr_t>(stream));
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
    if (status != VAD_OK) {
        vad::check(status, call.names());
    }
}

}  // namespace

void bind_preprocess(py::module_ & m) {
    m.def("preprocess", &preprocess, py::arg("pictures"), py::arg("outs"), py::arg("format"), py::arg("crops"), py::kw_only(),
          py::arg("size") = py::none(), py::arg("is_one") = false, py::arg("stream") = 0,
          "Resizes pictures[i], cut to crops[i], into outs[i], of `size` if that is given; is_one: the sentences name one picture. "
          "vadfast_kernels.preprocess has the words.");
}
