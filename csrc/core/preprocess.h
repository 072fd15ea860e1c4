// What the CPU and the CUDA form of preprocess share, so that both give the same bits: which samples an output pixel is made of, what
// colour a sample has, and how four of them are blended, all in integers.

#pragma once

#include <cstdint>

#include <vadfast/frame.h>

#ifdef __CUDACC__
#define VAD_BOTH __host__ __device__ __forceinline__
#else
#include "simd.h"
#define VAD_BOTH VAD_INLINE
#endif

namespace vad {

// One picture, cut to its crop, and where it goes.
struct Resize {
    const uint8_t * plane[3];
    int64_t         pitch[3];
    uint8_t *       out;
    int64_t         out_pitch;
    int32_t         format;
    int32_t         width;
    int32_t         height;
    int32_t         out_width;
    int32_t         out_height;
};

// Refuses pictures or images that cannot be right, with a sentence that opens with `function`.
vad_status check_preprocess(const char * function, const vad_picture * pictures, const vad_image * images, int32_t n);

int32_t n_planes(int32_t format);

// Of a picture and an image that were checked.
Resize resize_of(const vad_picture & picture, const vad_image & image);

// ------------------------------------------------------------------------------------------------ where

// An output row or column is samples `low` and low + 1, the second with weight / 2^15.
struct Tap {
    int32_t low;
    int32_t weight;
};

constexpr int32_t MAX_WEIGHT = 32767;  // 1, as near as 16 bits come: what that costs, 1/128 of a level, is rounded away at the end

// The centre of output i lies at (i + 1/2) n_in / n_out - 1/2: here as a fraction over 2 n_out, exact for every int32.
VAD_BOTH Tap tap_of(int32_t i, int32_t n_in, int32_t n_out) {
    const int64_t whole  = 2 * int64_t(n_out);
    const int64_t centre = (2 * int64_t(i) + 1) * n_in - n_out;
    if (centre <= 0 || n_in == 1) {
        return {0, 0};
    }
    const int64_t low = centre / whole;
    if (low > n_in - 2) {
        return {n_in - 2, MAX_WEIGHT};  // low + 1 is there for every tap, so that both can be read in one go
    }
    const int64_t weight = ((centre - low * whole) * 32768 + n_out) / whole;
    return {int32_t(low), int32_t(weight < MAX_WEIGHT ? weight : MAX_WEIGHT)};
}

// ------------------------------------------------------------------------------------------------ which colour

VAD_BOTH int32_t clamp_u8(int32_t x) {
    return x < 0 ? 0 : x > 255 ? 255 : x;
}

// A pixel is r | g << 8 | b << 16; what the highest byte holds does not matter.
VAD_BOTH uint32_t pixel_of(int32_t r, int32_t g, int32_t b) {
    return uint32_t(r) | uint32_t(g) << 8 | uint32_t(b) << 16;
}

// BT.601, limited range, coefficients times 2^20: the numbers of cv2.cvtColor, and its bits.
VAD_BOTH uint32_t pixel_of_yuv(int32_t y, int32_t u, int32_t v) {
    constexpr int32_t SHIFT = 20, HALF = 1 << (SHIFT - 1);
    const int32_t     luma  = 1220542 * (y > 16 ? y - 16 : 0) + HALF;
    const int32_t     r     = (luma + 1673527 * (v - 128)) >> SHIFT;
    const int32_t     g     = (luma - 852492 * (v - 128) - 409993 * (u - 128)) >> SHIFT;
    const int32_t     b     = (luma + 2116026 * (u - 128)) >> SHIFT;
    return pixel_of(clamp_u8(r), clamp_u8(g), clamp_u8(b));
}

// ------------------------------------------------------------------------------------------------ how much of each

// Levels are carried in units of 1/128: every intermediate is then an int16, and a vector holds as many as can be.
constexpr int32_t LEVEL_BITS = 7;

VAD_BOTH int16_t level_of(uint8_t sample) {
    return int16_t(sample << LEVEL_BITS);
}

VAD_BOTH uint8_t sample_of(int16_t level) {
    return uint8_t((level + (1 << (LEVEL_BITS - 1))) >> LEVEL_BITS);
}

// low + (high - low) weight / 2^15, rounded as pmulhrsw does: compilers find that instruction in what is written here, where the result
// is stored as 16 bits.
VAD_BOTH int16_t blend(int16_t low, int16_t high, int16_t weight) {
    const int16_t step = int16_t(high - low);
    return int16_t(low + int16_t((((int32_t(step) * weight) >> 14) + 1) >> 1));
}

}  // namespace vad
