// Windows slid over values, in loops whose order of adding is written down: the same bits on every machine.

#include "smoothing.h"

#include <algorithm>

#include "elementary.h"
#include "simd.h"

namespace {

// Adds K of the weighted values to n sums, or begins them. A fused multiply-add rounds once, on every machine to the same bits.
template <int32_t K, bool BEGIN>
VAD_INLINE void add_weighted(const double * __restrict x, const double * weights, int64_t n, double * __restrict out) {
    double weight[K];
    std::copy_n(weights, K, weight);
    for (int64_t i = 0; i < n; i++) {
        double sum = BEGIN ? 0 : out[i];
#pragma GCC unroll 8
        for (int32_t k = 0; k < K; k++) {
            sum = __builtin_fma(weight[k], x[i + k], sum);
        }
        out[i] = sum;
    }
}

double dot(const double * a, const double * b, int32_t n) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

}  // namespace

VAD_SIMD int64_t vad::first_not_finite(const double * x, int64_t n) {
    constexpr int64_t BLOCK = 1024;
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = std::min(n, begin + BLOCK);
        int64_t       bad = 0;
        for (int64_t i = begin; i < end; i++) {
            bad += !(__builtin_fabs(x[i]) <= MAX_VALUE);
        }
        for (int64_t i = begin; bad != 0; i++) {
            if (!is_finite(x[i])) {
                return i;
            }
        }
    }
    return n;
}

void vad::gaussian_weights(int32_t length, double sigma, double * weights) {
    for (int32_t i = 0; i < length; i++) {
        weights[i] = elementary::exp(-0.5 * (i / sigma) * (i / sigma));
    }
}

// Each next polynomial is the last one times the place, less what lies along those before it: taken away twice, because once leaves
// as much as rounding hides. Powers of the place would lose all digits at the higher orders.
void vad::make_fit(int32_t length, int32_t order, Fit & fit) {
    fit.length = length;
    fit.order  = order;
    std::fill_n(fit.value[0], length, 1 / std::sqrt(double(length)));
    for (int32_t k = 1; k <= order; k++) {
        double * next = fit.value[k];
        for (int32_t i = 0; i < length; i++) {
            next[i] = fit.value[k - 1][i] * (2 * i - (length - 1)) / (length - 1);
        }
        for (int32_t twice = 0; twice < 2; twice++) {
            for (int32_t m = 0; m < k; m++) {
                const double along = dot(next, fit.value[m], length);
                for (int32_t i = 0; i < length; i++) {
                    next[i] -= along * fit.value[m][i];
                }
            }
        }
        const double norm = std::sqrt(dot(next, next, length));
        for (int32_t i = 0; i < length; i++) {
            next[i] /= norm;
        }
    }
}

void vad::fit_weights(const Fit & fit, int32_t place, double * weights) {
    std::fill_n(weights, fit.length, 0.0);
    for (int32_t k = 0; k <= fit.order; k++) {
        for (int32_t i = 0; i < fit.length; i++) {
            weights[i] += fit.value[k][i] * fit.value[k][place];
        }
    }
}

// A few weights at a time over a stretch that stays in the first-level cache: then no sum waits for itself, and the weights keep their
// registers. How they are grouped depends on `length` alone, and with it the order in which a sum is added.
VAD_SIMD void vad::slide_sum(const double * x, const double * weights, int32_t length, int64_t n, double * out) {
    constexpr int64_t STRETCH = 512;
    for (int64_t i = 0; i < n; i += STRETCH) {
        const int64_t  n_now = std::min(STRETCH, n - i);
        const double * from  = x + i;
        double * const to    = out + i;
        switch (length % 8) {
            case 0: add_weighted<8, true>(from, weights, n_now, to); break;
            case 1: add_weighted<1, true>(from, weights, n_now, to); break;
            case 2: add_weighted<2, true>(from, weights, n_now, to); break;
            case 3: add_weighted<3, true>(from, weights, n_now, to); break;
            case 4: add_weighted<4, true>(from, weights, n_now, to); break;
            case 5: add_weighted<5, true>(from, weights, n_now, to); break;
            case 6: add_weighted<6, true>(from, weights, n_now, to); break;
            case 7: add_weighted<7, true>(from, weights, n_now, to); break;
        }
        for (int32_t j = (length - 1) % 8 + 1; j < length; j += 8) {
            add_weighted<8, false>(from + j, weights + j, n_now, to);
        }
    }
}
