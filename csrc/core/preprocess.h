// What the CPU and the CUDA form of preprocess share, so that both give the same bits: which samples an output pixel is made of, what
// colour a sample has, and how four of them are blended, all in integers.

#pragma once

#include <cmath>
#include <cstdint>

#include <vadfast/frame.h>

#include "simd.h"

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

// Weights are in units of 1/2048 and centres are float32: the numbers of cv2.resize, and its bits.
constexpr int32_t ONE = 2048;

// An output row or column is `weight` of sample `high`, the rest of sample `low`.
struct Tap {
    int32_t low;
    int32_t high;
    int32_t weight;
};

// The centre of output i lies at (i + 1/2) n_in / n_out - 1/2; beyond the borders both samples are the outermost.
VAD_BOTH Tap tap_of(int32_t i, int32_t n_in, int32_t n_out) {
    const double  scale  = 1.0 / (double(n_out) / n_in);
    const float   centre = float((i + 0.5) * scale - 0.5);
    const float   low    = floorf(centre);
    const int64_t first = int64_t(low), last = n_in - 1;
    const auto    inside = [&](int64_t at) { return int32_t(at < 0 ? 0 : at > last ? last : at); };
    return {inside(first), inside(first + 1), int32_t(rintf((centre - low) * ONE))};
}

// Of a column: its samples are neighbours, so that both can be read in one go, and the outermost has all the weight beyond a border.
VAD_BOTH Tap column_tap_of(int32_t i, int32_t n_in, int32_t n_out) {
    const Tap tap = tap_of(i, n_in, n_out);
    if (tap.low != tap.high) {
        return tap;
    }
    return tap.low == 0 ? Tap{0, 1, 0} : Tap{tap.low - 1, tap.low, ONE};
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

// What is blended across is in units of 1/128: an int16, of which a vector holds as many as can be.
VAD_BOTH int16_t across(uint8_t low, uint8_t high, int32_t weight) {
    return int16_t((low * (ONE - weight) + high * weight) >> 4);
}

// The upper half of a product is one instruction; each is cut to a quarter of a level before they are added and rounded.
VAD_BOTH uint8_t down(int16_t low, int16_t high, int16_t low_weight, int16_t high_weight) {
    const int16_t a = int16_t((int32_t(low) * low_weight) >> 16), b = int16_t((int32_t(high) * high_weight) >> 16);
    return uint8_t(int16_t(a + b + 2) >> 2);
}

}  // namespace vad
