// vadfast_kernels._C.frame_score: predictions and truth of any array library, on the host or on CUDA.

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vadfast/frame.h>

#include "array.h"

namespace py = pybind11;

namespace {

using vad::Array;
using vad::Kind;
using vad::Use;
using Range = std::optional<std::pair<float, float>>;
using Cells = std::optional<std::pair<int32_t, int32_t>>;

const vad::Names NAMES = {{"vad_frame_score_scratch:", "frame_score:"},
                          {"vad_frame_score_cuda:", "frame_score:"},
                          {"vad_frame_score:", "frame_score:"},
                          {".black and white must", "_range must"},
                          {"scores.", "out."}};

[[noreturn]] void refuse(const char * name, const std::string & wanted, const std::string & got) {
    throw py::value_error("frame_score: " + std::string(name) + " must be " + wanted + ", got " + got);
}

int32_t dtype_of(const Array & array, const char * name) {
    if (array.is(Kind::unsigned_int, 8)) {
        return VAD_DTYPE_U8;
    }
    if (array.is(Kind::floating, 16)) {
        return VAD_DTYPE_F16;
    }
    if (array.is(Kind::bfloat, 16)) {
        return VAD_DTYPE_BF16;
    }
    if (array.is(Kind::floating, 32)) {
        return VAD_DTYPE_F32;
    }
    throw py::type_error("frame_score: " + std::string(name) + " must be uint8, float16, bfloat16 or float32, got " + words(array));
}

// 0 to 255 for bytes, 0 to 1 for others, where no range is given.
vad_frames frames_of(const Array & array, const char * name, const Range & range) {
    if (array.shape.size() != 4) {
        refuse(name, "[n, channels, height, width]", words(array));
    }
    vad_frames frames{array.data, dtype_of(array, name), {}, 0, 1};
    for (int i = 0; i < 4; i++) {
        frames.stride[i] = array.stride[i];
    }
    frames.white = frames.dtype == VAD_DTYPE_U8 ? 255 : 1;
    if (range) {
        std::tie(frames.black, frames.white) = *range;
    }
    return frames;
}

// Everything of one call: the arrays stay alive as long as it does.
struct Call {
    Array            predicted;
    Array            truth;
    Array            weight;
    intptr_t         stream;
    vad_frame_pair   pair{};
    vad_frame_scores scores{};
    py::dict         made;

    Call(py::handle a, py::handle b, const Range & range_a, const Range & range_b, intptr_t on)
        : predicted(vad::array_of(a, "frame_score: predicted", on)), truth(vad::array_of(b, "frame_score: truth", on)), stream(on) {
        pair.predicted = frames_of(predicted, "predicted", range_a);
        pair.truth     = frames_of(truth, "truth", range_b);
        if (truth.shape != predicted.shape || !truth.is_on_device_of(predicted)) {
            refuse("truth", "of the shape and on the device of predicted, " + words(predicted), words(truth));
        }
        pair.n        = vad::size_of(predicted.shape[0], "frame_score: predicted", predicted);
        pair.channels = vad::size_of(predicted.shape[1], "frame_score: predicted", predicted);
        pair.height   = vad::size_of(predicted.shape[2], "frame_score: predicted", predicted);
        pair.width    = vad::size_of(predicted.shape[3], "frame_score: predicted", predicted);
    }

    // An array beside the frames, of this type and on their device.
    Array beside(py::handle x, const std::string & name, int32_t bits, Use use) const {
        Array array = vad::dense_array_of(x, "frame_score: " + name, Kind::floating, bits, use, stream);
        if (!array.is_on_device_of(predicted)) {
            refuse(name.c_str(), "on the device of predicted, " + words(predicted), words(array));
        }
        return array;
    }

    void take_weight(py::handle w) {
        weight = beside(w, "weight", 32, Use::input);
        if (weight.shape.size() != 3 || weight.shape[0] != pair.n) {
            refuse("weight", "[" + std::to_string(pair.n) + ", rows, columns]", words(weight));
        }
        pair.weight         = static_cast<const float *>(weight.data);
        pair.weight_rows    = vad::size_of(weight.shape[1], "frame_score: weight", weight);
        pair.weight_columns = vad::size_of(weight.shape[2], "frame_score: weight", weight);
    }

    void take_grids(const Cells & patches, const Cells & heatmap) {
        std::tie(pair.patch_rows, pair.patch_columns)     = patches.value_or(std::pair<int32_t, int32_t>{1, 1});
        std::tie(pair.heatmap_rows, pair.heatmap_columns) = heatmap.value_or(std::pair<int32_t, int32_t>{1, 1});
    }

    std::vector<int64_t> shape_of(const std::string & name) const {
        if (name == "channel") {
            return {pair.n, pair.channels};
        }
        if (name == "heatmap") {
            return {pair.n, pair.heatmap_rows, pair.heatmap_columns};
        }
        return {pair.n};
    }

    // Where the result of that name goes; the caller has given an array for it.
    void put(const std::string & name, py::handle x) {
        const bool  single = name == "heatmap";
        const Array array  = beside(x, "out." + name, single ? 32 : 64, Use::result);
        if (array.shape != shape_of(name)) {
            refuse(("out." + name).c_str(), vad::words(shape_of(name)), words(array));
        }
        if (single) {
            scores.heatmap = static_cast<float *>(array.data);
        } else {
            double *& place = name == "error"     ? scores.error
                              : name == "psnr_db" ? scores.psnr_db
                              : name == "channel" ? scores.channel
                                                  : scores.worst;
            place           = static_cast<double *>(array.data);
        }
        made[name.c_str()] = x;
    }

    // How much scratch the GPU wants for all results that have a grid; refuses sizes and grids that cannot be right.
    int64_t scratch_bytes(const Cells & patches, const Cells & heatmap) const {
        double           worst;
        float            cell;
        int64_t          bytes;
        vad_frame_scores wanted{};  // nothing is written there
        wanted.worst   = patches ? &worst : nullptr;
        wanted.heatmap = heatmap ? &cell : nullptr;
        vad::check(vad_frame_score_scratch(&pair, &wanted, &bytes), NAMES);
        return bytes;
    }

    // The results that nobody gave an array for: NumPy's.
    void make(const Cells & patches, const Cells & heatmap) {
        if (predicted.on_cuda) {
            refuse("out", "given for arrays on CUDA: a dict of arrays there, one for each result that is wanted", "None");
        }
        scratch_bytes(patches, heatmap);  // before any size becomes that of an array
        for (const char * name : {"error", "psnr_db", "channel"}) {
            put(name, py::array_t<double>(shape_of(name)));
        }
        if (patches) {
            put("worst", py::array_t<double>(shape_of("worst")));
        }
        if (heatmap) {
            put("heatmap", py::array_t<float>(shape_of("heatmap")));
        }
    }

    void take(const py::dict & out) {
        for (const auto & [key, x] : out) {
            const std::string name = py::str(key);
            if (name != "error" && name != "psnr_db" && name != "channel" && name != "worst" && name != "heatmap") {
                refuse("out", "a dict of error, psnr_db, channel, worst, heatmap, as many as are wanted", "the key " + name);
            }
            put(name, x);
        }
    }
};

py::dict frame_score(py::handle predicted, py::handle truth, const Range & predicted_range, const Range & truth_range, py::handle weight,
                     const Cells & patches, const Cells & heatmap, const std::optional<py::dict> & out, int32_t n_threads, uintptr_t run,
                     py::handle scratch, uintptr_t stream) {
    Call call(predicted, truth, predicted_range, truth_range, intptr_t(stream));
    if (!weight.is_none()) {
        call.take_weight(weight);
    }
    call.take_grids(patches, heatmap);
    if (out) {
        call.take(*out);
    } else {
        call.make(patches, heatmap);
    }
    Array room{};
    if (call.predicted.on_cuda && !scratch.is_none()) {
        room = vad::array_of(scratch, "frame_score: scratch", call.stream);
        if (!room.is_on_device_of(call.predicted) || !room.is_contiguous()) {
            refuse("scratch", "device memory beside predicted, " + words(call.predicted) + ", contiguous", words(room));
        }
    }
    const int64_t n_bytes = room.size() * room.bits / 8;
    void * const  on      = reinterpret_cast<void *>(stream);
    vad_status    status;
    {
        py::gil_scoped_release released;
        status = call.predicted.on_cuda ? vad_frame_score_cuda(&call.pair, &call.scores, room.data, n_bytes, on)
                                        : vad_frame_score(&call.pair, &call.scores, vad::threads_of(n_threads, run));
    }
    vad::check(status, NAMES);
    return call.made;
}

int64_t frame_score_scratch(py::handle predicted, py::handle truth, const Cells & patches, const Cells & heatmap) {
    Call call(predicted, truth, std::nullopt, std::nullopt, vad::NOT_READ);
    call.take_grids(patches, heatmap);
    return call.scratch_bytes(patches, heatmap);
}

}  // namespace

void bind_frame_score(py::module_ & m) {
    m.def("frame_score", frame_score, py::arg("predicted"), py::arg("truth"), py::kw_only(), py::arg("predicted_range") = py::none(),
          py::arg("truth_range") = py::none(), py::arg("weight") = py::none(), py::arg("patches") = py::none(),
          py::arg("heatmap") = py::none(), py::arg("out") = py::none(), py::arg("n_threads") = 1, py::arg("run") = 0,
          py::arg("scratch") = py::none(), py::arg("stream") = 0,
          R"(Returns error, psnr_db [n] and channel [n, channels], and where a grid (rows, columns) is given worst [n] or heatmap
[n, rows, columns].

Frames are [n, channels, height, width] of any strides: uint8, float16, bfloat16 or float32. A range is what means black and white;
None is (0, 255) for uint8 and (0, 1) for the others. ``weight`` is float32 [n, rows, columns]. ``out`` is a dict of arrays for the
results that are wanted, and on CUDA must be given, with a ``scratch``, contiguous, of at least frame_score_scratch() bytes;
``stream`` is the address of a CUDA stream.
Raises TypeError, ValueError or RuntimeError with a sentence; csrc/include/vadfast/frame.h is the contract.)");
    m.attr("MAX_GRID_COLUMNS") = VAD_MAX_GRID_COLUMNS;
    m.def("frame_score_scratch", frame_score_scratch, py::arg("predicted"), py::arg("truth"), py::kw_only(),
          py::arg("patches") = py::none(), py::arg("heatmap") = py::none(), "Returns how many bytes of scratch frame_score wants on CUDA.");
}
