// What frame score takes: everything is looked at before the first value is read or written.

#include <cmath>
#include <cstdint>

#include "error.h"
#include "frame_score.h"
#include "overlap.h"

namespace {

constexpr int32_t N_DTYPES         = 4;
constexpr int32_t BYTES[N_DTYPES] = {1, 2, 2, 4};

double unit_of(const vad_frames & frames) {
    return double(frames.white) - double(frames.black);
}

// Whether the bytes between the first and the last value of the frames can be counted.
bool fits(const vad_frame_pair & pair, const vad_frames & frames) {
    const int64_t size[4] = {pair.n, pair.channels, pair.height, pair.width};
    int64_t       extent  = 0;
    for (int i = 0; i < 4; i++) {
        int64_t bytes;
        const int64_t step = frames.stride[i];
        if (step == INT64_MIN || __builtin_mul_overflow(step < 0 ? -step : step, size[i], &bytes) ||
            __builtin_mul_overflow(bytes, int64_t(BYTES[frames.dtype]), &bytes) || __builtin_add_overflow(extent, bytes, &extent)) {
            return false;
        }
    }
    return true;
}

vad_status check_frames(const char * function, const char * name, const vad_frame_pair & pair, const vad_frames & frames) {
    if (frames.dtype < 0 || frames.dtype >= N_DTYPES) {
        return vad::fail(VAD_E_ARGUMENT, "%s: %s.dtype must be a VAD_DTYPE_*, 0 to %d, got %d", function, name, N_DTYPES - 1, frames.dtype);
    }
    // No frames may have no memory.
    if ((frames.data == nullptr && pair.n > 0) || reinterpret_cast<uintptr_t>(frames.data) % BYTES[frames.dtype] != 0) {
        return vad::fail(VAD_E_ARGUMENT, "%s: %s.data must point to values aligned to %d bytes, got %p", function, name,
                         BYTES[frames.dtype], frames.data);
    }
    const float scale = float(1 / unit_of(frames));
    if (!std::isfinite(frames.black) || !std::isfinite(frames.white) || !std::isfinite(scale) || scale == 0) {
        return vad::fail(VAD_E_ARGUMENT,
                         "%s: %s.black and white must be finite and differ, for errors are in units of white - black, got %g and %g",
                         function, name, double(frames.black), double(frames.white));
    }
    if (!fits(pair, frames)) {
        return vad::fail(VAD_E_ARGUMENT, "%s: %s.stride must span less than 2^63 bytes, got %lld, %lld, %lld, %lld", function, name,
                         (long long)frames.stride[0], (long long)frames.stride[1], (long long)frames.stride[2],
                         (long long)frames.stride[3]);
    }
    return VAD_OK;
}

vad_status check_grid(const char * function, const char * name, const vad_frame_pair & pair, int32_t rows, int32_t columns, int32_t most) {
    if (rows < 1 || rows > pair.height || columns < 1 || columns > pair.width || columns > most) {
        return vad::fail(VAD_E_ARGUMENT, "%s: %s must be 1 x 1 to %d x %d cells, got %d x %d", function, name, pair.height,
                         pair.width < most ? pair.width : most, rows, columns);
    }
    return VAD_OK;
}

struct Named {
    const char * name;
    vad::Bytes   bytes;
};

// From the first to the last value, whatever their order in memory; of frames that `fits` has passed.
vad::Bytes bytes_of(const vad_frame_pair & pair, const vad_frames & frames) {
    const int64_t size[4] = {pair.n, pair.channels, pair.height, pair.width};
    vad::Bytes    bytes   = vad::bytes_at(frames.data, pair.n == 0 ? 0 : BYTES[frames.dtype]);
    for (int i = 0; i < 4 && pair.n > 0; i++) {
        const int64_t extent = frames.stride[i] * (size[i] - 1) * BYTES[frames.dtype];
        (extent < 0 ? bytes.first : bytes.end) += uintptr_t(extent);
    }
    return bytes;
}

// Of a pair and grids that were checked.
vad_status check_apart(const char * function, const vad_frame_pair & p, const vad_frame_scores & scores) {
    const auto room = [&](const void * first, int64_t values, int64_t bytes) {
        return vad::bytes_at(first, first == nullptr ? 0 : p.n * values * bytes);
    };
    const Named inputs[] = {{"predicted", bytes_of(p, p.predicted)},
                            {"truth", bytes_of(p, p.truth)},
                            {"weight", room(p.weight, int64_t(p.weight_rows) * p.weight_columns, sizeof *p.weight)}};
    const Named results[] = {{"scores.error", room(scores.error, 1, sizeof *scores.error)},
                             {"scores.psnr_db", room(scores.psnr_db, 1, sizeof *scores.psnr_db)},
                             {"scores.channel", room(scores.channel, p.channels, sizeof *scores.channel)},
                             {"scores.worst", room(scores.worst, 1, sizeof *scores.worst)},
                             {"scores.heatmap", room(scores.heatmap, int64_t(p.heatmap_rows) * p.heatmap_columns, sizeof *scores.heatmap)}};
    const auto refuse = [&](const Named & result, const Named & other) {
        return vad::fail(VAD_E_ARGUMENT, "%s: %s must not overlap %s, got them at %p and %p; pass other memory", function, result.name,
                         other.name, reinterpret_cast<void *>(result.bytes.first), reinterpret_cast<void *>(other.bytes.first));
    };
    for (const Named & result : results) {
        for (const Named & input : inputs) {
            if (vad::overlap(result.bytes, input.bytes)) {
                return refuse(result, input);
            }
        }
        for (const Named * other = results; other < &result; other++) {
            if (vad::overlap(result.bytes, other->bytes)) {
                return refuse(result, *other);
            }
        }
    }
    return VAD_OK;
}

// So that the bytes of no output, and of the scratch, overflow: 8 n H (C + 2 W) at most.
bool countable(const vad_frame_pair & pair) {
    int64_t values;
    return !__builtin_mul_overflow(int64_t(pair.height) * pair.width, int64_t(pair.channels), &values) &&
           !__builtin_mul_overflow(values, int64_t(pair.n) * 32, &values);
}

// The CPU reads bytes in place, a pixel's too, only as `b`; squares do not mind which of the two is taken from which.
bool should_swap(const vad_frame_pair & p) {
    const bool pixels = p.predicted.stride[1] == 1 && p.truth.stride[1] != 1;
    return p.predicted.dtype == VAD_DTYPE_U8 && (p.truth.dtype != VAD_DTYPE_U8 || pixels);
}

vad::Side side_of(const vad_frames & frames) {
    const int32_t bytes = BYTES[frames.dtype];
    vad::Side     side{static_cast<const uint8_t *>(frames.data), {}, frames.dtype, bytes, float(1 / unit_of(frames))};
    for (int i = 0; i < 4; i++) {
        side.step[i] = frames.stride[i] * bytes;
    }
    return side;
}

// All but where the results go.
vad_status check_sizes(const char * function, const vad_frame_pair * pair, const vad_frame_scores * scores) {
    if (pair == nullptr || scores == nullptr) {
        return vad::missing(function, pair == nullptr ? "pair" : "scores");
    }
    const vad_frame_pair & p = *pair;
    if (p.n < 0 || p.channels < 1 || p.height < 1 || p.width < 1 || !countable(p)) {
        return vad::fail(VAD_E_ARGUMENT,
                         "%s: n must be at least 0, channels, height and width at least 1, and all values fewer than 2^58, got %d, %d, %d "
                         "and %d",
                         function, p.n, p.channels, p.height, p.width);
    }
    vad_status status = check_frames(function, "predicted", p, p.predicted);
    if (status == VAD_OK) {
        status = check_frames(function, "truth", p, p.truth);
    }
    if (status == VAD_OK && p.weight != nullptr) {
        status = check_grid(function, "weight", p, p.weight_rows, p.weight_columns, INT32_MAX);
    }
    if (status == VAD_OK && scores->worst != nullptr) {
        status = check_grid(function, "patches", p, p.patch_rows, p.patch_columns, VAD_MAX_GRID_COLUMNS);
    }
    if (status == VAD_OK && scores->heatmap != nullptr) {
        status = check_grid(function, "heatmap", p, p.heatmap_rows, p.heatmap_columns, VAD_MAX_GRID_COLUMNS);
    }
    return status;
}

}  // namespace

vad_status vad::check_frame_score(const char * function, const vad_frame_pair * pair, const vad_frame_scores * scores) {
    const vad_status status = check_sizes(function, pair, scores);
    return status == VAD_OK ? check_apart(function, *pair, *scores) : status;
}

vad::Comparison vad::comparison_of(const vad_frame_pair & p, const vad_frame_scores & scores) {
    auto grid = [&](bool wanted, int32_t rows, int32_t columns) {
        return Grid{{p.height, wanted ? rows : 1}, {p.width, wanted ? columns : 1}};
    };
    const bool         swap   = should_swap(p);
    const vad_frames & a      = swap ? p.truth : p.predicted;
    const vad_frames & b      = swap ? p.predicted : p.truth;
    const double       offset = b.black / unit_of(b) - a.black / unit_of(a);
    return {p.n,
            p.channels,
            p.height,
            p.width,
            side_of(a),
            side_of(b),
            float(offset),
            p.weight,
            grid(p.weight != nullptr, p.weight_rows, p.weight_columns),
            grid(scores.worst != nullptr, p.patch_rows, p.patch_columns),
            grid(scores.heatmap != nullptr, p.heatmap_rows, p.heatmap_columns)};
}

vad_status vad_frame_score_scratch(const vad_frame_pair * pair, const vad_frame_scores * scores, int64_t * bytes) {
    if (vad_status status = check_sizes(__func__, pair, scores); status != VAD_OK) {
        return status;
    }
    if (bytes == nullptr) {
        return vad::missing(__func__, "bytes");
    }
    const vad::Comparison comparison = vad::comparison_of(*pair, *scores);
    *bytes = 8 * (int64_t(pair->n) * pair->height) * (pair->channels + comparison.patches.columns.cells + comparison.heatmap.columns.cells);
    return VAD_OK;
}
