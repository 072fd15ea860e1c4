#include "smoothing.h"

#include <algorithm>

#include "elementary.h"
#include "simd.h"

namespace {

// N neighbouring sums: many, because one alone waits for its own additions.
template <int32_t N>
VAD_INLINE void sums(const double * x, const double * weights, int32_t length, double * out) {
    double sum[N] = {};
    for (int32_t j = 0; j < length; j++) {
        for (int32_t lane = 0; lane < N; lane++) {
            sum[lane] += weights[j] * x[j + lane];
        }
    }
    for (int32_t lane = 0; lane < N; lane++) {
        out[lane] = sum[lane];
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

VAD_SIMD void vad::slide_sum(const double * x, const double * weights, int32_t length, int64_t n, double * out) {
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        sums<4 * LANES>(x + i, weights, length, out + i);
    }
    for (; i < n; i += LANES) {
        double last[LANES];
        sums<LANES>(x + i, weights, length, last);
        std::copy_n(last, std::min<int64_t>(LANES, n - i), out + i);
    }
}
