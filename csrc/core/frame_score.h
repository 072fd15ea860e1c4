// What the CPU and the CUDA form of frame score share: what is compared, how grids are cut, and decibels.

#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

#include <vadfast/frame.h>

#include "elementary.h"

#include "simd.h"

namespace vad {

// `size` rows or columns cut into cells: cell i is [i size / cells, (i + 1) size / cells).
struct Cuts {
    int64_t size;
    int64_t cells;

    VAD_BOTH int64_t begin_of(int64_t cell) const { return cell * size / cells; }

    VAD_BOTH int64_t cell_at(int64_t place) const {
        const int64_t scaled = (place + 1) * cells - 1;
        // A GPU divides 32 bits in a quarter of the time of 64.
        return scaled <= UINT32_MAX ? uint32_t(scaled) / uint32_t(size) : scaled / size;
    }
};

struct Grid {
    Cuts rows;
    Cuts columns;
};

// Frames by their bytes; a value v means v * scale + constant.
struct Side {
    const uint8_t * data;
    int64_t         step[4];  // of frame, channel, row, column
    int32_t         dtype;
    int32_t         bytes;    // of a value
    float           scale;

    VAD_BOTH const uint8_t * at(int64_t frame, int64_t channel, int64_t row, int64_t column) const {
        return data + frame * step[0] + channel * step[1] + row * step[2] + column * step[3];
    }
};

// A pair that was checked: e = weight * (a * a.scale + offset - b * b.scale)^2. What is not wanted has a grid of one cell.
struct Comparison {
    int32_t       n;
    int32_t       channels;
    int32_t       height;
    int32_t       width;
    Side          a;
    Side          b;
    float         offset;
    const float * weight;
    Grid          weights;
    Grid          patches;
    Grid          heatmap;
};

// Refuses what cannot be right, with a sentence that opens with `function`.
vad_status check_frame_score(const char * function, const vad_frame_pair * pair, const vad_frame_scores * scores);

Comparison comparison_of(const vad_frame_pair & pair, const vad_frame_scores & scores);

// ------------------------------------------------------------------------------------------------ values

VAD_BOTH float float_of_bits(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// By arithmetic, so that it becomes vector instructions on a CPU that has none for float16; exact for every one of them.
VAD_BOTH float float_of_f16(uint16_t h) {
    const uint32_t magnitude = h & 0x7fffu;
    const float    finite    = float_of_bits(magnitude << 13) * 0x1p112f;  // moves the exponent's bias from 15 to 127
    uint32_t       bits;
    std::memcpy(&bits, &finite, sizeof bits);
    bits |= magnitude >= 0x7c00u ? 0x7f800000u : 0u;
    return float_of_bits(bits | uint32_t(h & 0x8000u) << 16);
}

VAD_BOTH float float_of_bf16(uint16_t h) {
    return float_of_bits(uint32_t(h) << 16);
}

VAD_BOTH float value_of(const uint8_t * at, int32_t dtype) {
    switch (dtype) {
        case VAD_DTYPE_U8: return float(*at);
        case VAD_DTYPE_F16: return float_of_f16(*reinterpret_cast<const uint16_t *>(at));
        case VAD_DTYPE_BF16: return float_of_bf16(*reinterpret_cast<const uint16_t *>(at));
        default: return *reinterpret_cast<const float *>(at);
    }
}

VAD_BOTH float difference(float a, float b, float a_scale, float b_scale, float offset) {
    return (a * a_scale + offset) - b * b_scale;
}

// ------------------------------------------------------------------------------------------------ results

// -inf, which only a negative weight can make, would look like a good score: it is NaN.
VAD_BOTH double mean_of(double sum, double count) {
    const double mean = sum / count;
    return mean < -DBL_MAX ? double(NAN) : mean;
}

// The larger, and NaN where one is.
VAD_BOTH double worse(double x, double y) {
    return x > y || x != x ? x : y;
}

// On the CPU not the one of the C library, which differs in the last bit from one CPU to the next.
VAD_BOTH double log10_of(double x) {
#ifdef __CUDA_ARCH__
    return log10(x);
#else
    constexpr double LN10 = 2.3025850929940456840;
    return elementary::log(x) / LN10;
#endif
}

// 10 log10(1 / max(error, 1e-10)); -inf and NaN for an error that is not finite.
VAD_BOTH double psnr_db_of(double error) {
    return error > DBL_MAX ? -double(INFINITY) : error != error ? error : -10 * log10_of(error < 1e-10 ? 1e-10 : error);
}

// Writes what a frame has one of, as far as it is wanted.
VAD_BOTH void write_frame(const vad_frame_scores & scores, int64_t frame, double error, double worst) {
    if (scores.error != nullptr) {
        scores.error[frame] = error;
    }
    if (scores.psnr_db != nullptr) {
        scores.psnr_db[frame] = psnr_db_of(error);
    }
    if (scores.worst != nullptr) {
        scores.worst[frame] = worst;
    }
}

}  // namespace vad
