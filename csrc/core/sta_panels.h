// Products of the 2n + 1 by 2n + 1 matrix K with sums of waves, [2n + 1, 2 sources, width], and those sums' products with each other.

#pragma once

#include "sta_circle.h"

namespace vad::sta {

template <int N>
VAD_INLINE void product_of(const double * k, int64_t n_features, const double * in, double * out, int64_t width) {
    for (int64_t j = 0; j < width; j += LANES) {
        Vector sum[N][2] = {};
        for (int64_t g = 0; g < n_features; g++) {
            const Vector left = load(in + 2 * g * width + j), right = load(in + (2 * g + 1) * width + j);
            for (int i = 0; i < N; i++) {
                sum[i][0] += k[i * n_features + g] * left;
                sum[i][1] += k[i * n_features + g] * right;
            }
        }
        for (int i = 0; i < N; i++) {
            store(out + 2 * i * width + j, sum[i][0]);
            store(out + (2 * i + 1) * width + j, sum[i][1]);
        }
    }
}

// out = k in; width is a multiple of LANES.
VAD_INLINE void product(const double * k, int64_t n_features, const double * in, double * out, int64_t width) {
    int64_t f = 0;
    for (; f + 4 <= n_features; f += 4) {
        product_of<4>(k + f * n_features, n_features, in, out + 2 * f * width, width);
    }
    for (; f < n_features; f++) {
        product_of<1>(k + f * n_features, n_features, in, out + 2 * f * width, width);
    }
}

template <int N>
VAD_INLINE void outer_of(const double * left, const double * right, int64_t n_features, int64_t width, double * out) {
    for (int64_t g = 0; g < n_features; g++) {
        Vector sum[4] = {};
        for (int64_t j = 0; j < 2 * width; j += LANES) {
            const Vector factor = load(right + 2 * g * width + j);
            for (int i = 0; i < N; i++) {
                sum[i] += load(left + 2 * i * width + j) * factor;
            }
        }
        const Vector total = sums_of(sum[0], sum[1], sum[2], sum[3]);
        for (int i = 0; i < N; i++) {
            out[i * n_features + g] = total[i];
        }
    }
}

// out [2n + 1, 2n + 1] = the sum over sources and columns of left x right.
VAD_INLINE void outer(const double * left, const double * right, int64_t n_features, int64_t width, double * out) {
    int64_t f = 0;
    for (; f + 4 <= n_features; f += 4) {
        outer_of<4>(left + 2 * f * width, right, n_features, width, out + f * n_features);
    }
    for (; f < n_features; f++) {
        outer_of<1>(left + 2 * f * width, right, n_features, width, out + f * n_features);
    }
}

}  // namespace vad::sta
