// Values of frames as the loops of a CPU want them: float32, side by side.

#pragma once

#include <cstdint>

#include "frame_score.h"
#include "simd.h"

namespace vad {

constexpr int RGB = 3;

VAD_INLINE float float_of(float x) { return x; }
VAD_INLINE float float_of(uint8_t x) { return float(x); }

template <typename T, float (*CONVERT)(T)>
VAD_INLINE void convert(const uint8_t * at, int64_t step, int n, float * out) {
    if (step == int64_t(sizeof(T))) {
        const T * x = reinterpret_cast<const T *>(at);
        for (int i = 0; i < n; i++) {
            out[i] = CONVERT(x[i]);
        }
        return;
    }
    for (int i = 0; i < n; i++) {
        out[i] = CONVERT(*reinterpret_cast<const T *>(at + i * step));
    }
}

// Values `step` bytes apart as float32: in `room`, or where they are if that is what they are.
VAD_INLINE const float * floats_of(int32_t dtype, const uint8_t * at, int64_t step, int n, float * room) {
    switch (dtype) {
        case VAD_DTYPE_U8: convert<uint8_t, float_of>(at, step, n, room); return room;
        case VAD_DTYPE_F16: convert<uint16_t, float_of_f16>(at, step, n, room); return room;
        case VAD_DTYPE_BF16: convert<uint16_t, float_of_bf16>(at, step, n, room); return room;
        default:
            if (step == int64_t(sizeof(float))) {
                return reinterpret_cast<const float *>(at);
            }
            convert<float, float_of>(at, step, n, room);
            return room;
    }
}

// Pixels of three bytes, each byte to its plane.
VAD_INLINE void split_pixels(const uint8_t * __restrict pixels, int n, uint8_t * __restrict red, uint8_t * __restrict green,
                             uint8_t * __restrict blue) {
    for (int i = 0; i < n; i++) {
        red[i]   = pixels[RGB * i];
        green[i] = pixels[RGB * i + 1];
        blue[i]  = pixels[RGB * i + 2];
    }
}

}  // namespace vad
