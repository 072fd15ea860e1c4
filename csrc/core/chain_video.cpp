// The score chain over whole videos: block by block through memory on the stack, so that the result may replace its source and nothing
// is allocated however long the video.

#include <vadfast/score.h>

#include <algorithm>
#include <cstring>

#include "error.h"
#include "median.h"
#include "simd.h"
#include "smoothing.h"

namespace {

constexpr int64_t BLOCK = vad::MEDIAN_BLOCK;

vad_status check_arrays(const char * function, const double * x, int64_t n, const double * out) {
    if (n < 0 || n > INT64_MAX / int64_t(sizeof *x)) {
        return vad::fail(VAD_E_ARGUMENT, "%s: n must be 0 or more and its values must fit in memory, got %lld; pass how many there are",
                         function, (long long)n);
    }
    if (n > 0 && (x == nullptr || out == nullptr)) {
        return vad::missing(function, x == nullptr ? "x" : "out");
    }
    if (x != out && vad::overlap(x, n, out, n)) {
        return vad::fail(VAD_E_ARGUMENT, "%s: out must be x itself or not overlap it, got one %lld bytes from it; pass another", function,
                         (long long)(reinterpret_cast<uintptr_t>(out) - reinterpret_cast<uintptr_t>(x)));
    }
    return VAD_OK;
}

vad_status check_finite(const char * function, const double * x, int64_t n) {
    const int64_t bad = vad::first_not_finite(x, n);
    if (bad < n) {
        return vad::fail(VAD_E_ARGUMENT, "%s: x[%lld] must be finite (%g at most), got %g; leave that frame out or repair it", function,
                         (long long)bad, vad::MAX_VALUE, x[bad]);
    }
    return VAD_OK;
}

vad_status check_values(const char * function, const double * x, int64_t n, const double * out) {
    const vad_status status = check_arrays(function, x, n, out);
    return status == VAD_OK ? check_finite(function, x, n) : status;
}

vad_status check_odd(const char * function, const char * name, int32_t length) {
    if (length < 1 || length > vad::MAX_LENGTH || length % 2 == 0) {
        return vad::fail(VAD_E_ARGUMENT, "%s: %s must be odd and 1 ... %d, got %d; pass %d", function, name, vad::MAX_LENGTH, length,
                         length < 1 ? 1 : length > vad::MAX_LENGTH ? vad::MAX_LENGTH : length + 1);
    }
    return VAD_OK;
}

// Finds minimum and maximum, and whether all values are finite, in one pass. In lanes: the compiler keeps a minimum of doubles in the
// order it is written in.
VAD_SIMD bool find_range(const double * x, int64_t n, double * min, double * max) {
    constexpr int32_t N = 32;
    double            low[N], high[N];
    int64_t           n_bad[N] = {};
    std::fill_n(low, N, x[0]);
    std::fill_n(high, N, x[0]);
    int64_t i = 0;
    for (; i + N <= n; i += N) {
        for (int32_t lane = 0; lane < N; lane++) {
            low[lane]  = x[i + lane] < low[lane] ? x[i + lane] : low[lane];
            high[lane] = x[i + lane] > high[lane] ? x[i + lane] : high[lane];
            n_bad[lane] += !(__builtin_fabs(x[i + lane]) <= vad::MAX_VALUE);
        }
    }
    for (; i < n; i++) {
        low[0]  = std::min(low[0], x[i]);
        high[0] = std::max(high[0], x[i]);
        n_bad[0] += !vad::is_finite(x[i]);
    }
    *min = *std::min_element(low, low + N);
    *max = *std::max_element(high, high + N);
    return std::all_of(n_bad, n_bad + N, [](int64_t n_of_lane) { return n_of_lane == 0; });
}

VAD_SIMD void scale(const double * x, int64_t n, double min, double range, double * out) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = (x[i] - min) / range;
    }
}

// Calls slide(values, n_block, out) with values[i ... i + length - 1] about each of n_block values of x, the first and the last value
// repeated beyond the ends. What a block overwrites, where out is x, has been read before.
template <typename Slide>
void slide_blocks(const double * x, int64_t n, int32_t length, double * out, const Slide & slide) {
    if (n == 0) {
        return;
    }
    const int32_t half                                         = length / 2;
    double        values[BLOCK + vad::MAX_LENGTH + vad::MARGIN] = {};
    const double  last                                         = x[n - 1];
    const auto    read                                         = [&](int64_t first, int64_t count, double * to) {
        const int64_t inside = std::clamp<int64_t>(n - first, 0, count);
        std::copy_n(x + std::min(first, n), inside, to);
        std::fill_n(to + inside, count - inside, last);
    };
    std::fill_n(values, half, x[0]);
    read(0, half, values + half);
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t n_block = std::min(BLOCK, n - begin);
        read(begin + half, n_block, values + 2 * half);
        slide(values, n_block, out + begin);
        std::memmove(values, values + n_block, 2 * half * sizeof *values);
    }
}

// Writes the fit over values[length], read at places [first, first + n).
void read_fit(const vad::Fit & fit, const double * values, int32_t first, int32_t n, double * out) {
    double along[vad::MAX_ORDER + 1] = {};
    for (int32_t k = 0; k <= fit.order; k++) {
        for (int32_t i = 0; i < fit.length; i++) {
            along[k] += fit.value[k][i] * values[i];
        }
    }
    std::fill_n(out, n, 0.0);
    for (int32_t k = 0; k <= fit.order; k++) {
        for (int32_t i = 0; i < n; i++) {
            out[i] += along[k] * fit.value[k][first + i];
        }
    }
}

}  // namespace

vad_status vad_minmax(const double * x, int64_t n, double * out) {
    const vad_status status = check_arrays("vad_minmax", x, n, out);
    if (status != VAD_OK || n == 0) {
        return status;
    }
    double min, max;
    if (!find_range(x, n, &min, &max)) {
        return check_finite("vad_minmax", x, n);
    }
    if (min == max) {
        std::fill_n(out, n, 0.0);
    } else {
        scale(x, n, min, max - min, out);
    }
    return VAD_OK;
}

vad_status vad_gaussian(const double * x, int64_t n, int32_t n_taps, double sigma, double * out) {
    vad_status status = check_odd("vad_gaussian", "n_taps", n_taps);
    if (status != VAD_OK) {
        return status;
    }
    if (!(sigma > 0) || !vad::is_finite(sigma)) {
        return vad::fail(VAD_E_ARGUMENT, "vad_gaussian: sigma must be above 0 and finite, got %g; pass a width in frames", sigma);
    }
    status = check_values("vad_gaussian", x, n, out);
    if (status != VAD_OK) {
        return status;
    }
    const int32_t half = n_taps / 2;
    double        side[vad::MAX_LENGTH / 2 + 1], weights[vad::MAX_LENGTH];
    vad::gaussian_weights(half + 1, sigma, side);
    double sum = side[0];
    for (int32_t i = 1; i <= half; i++) {
        sum += 2 * side[i];
    }
    for (int32_t i = 0; i <= half; i++) {
        weights[half - i] = weights[half + i] = side[i] / sum;
    }
    slide_blocks(x, n, n_taps, out, [&](const double * values, int64_t n_block, double * to) {
        vad::slide_sum(values, weights, n_taps, n_block, to);
    });
    return VAD_OK;
}

vad_status vad_savgol(const double * x, int64_t n, int32_t length, int32_t order, double * out) {
    vad_status status = check_odd("vad_savgol", "length", length);
    if (status != VAD_OK) {
        return status;
    }
    if (order < 0 || order > std::min(vad::MAX_ORDER, length - 1)) {
        return vad::fail(VAD_E_ARGUMENT,
                         "vad_savgol: order must be 0 ... %d for length %d, got %d; pass a smaller order or a longer window",
                         std::min(vad::MAX_ORDER, length - 1), length, order);
    }
    status = check_values("vad_savgol", x, n, out);
    if (status != VAD_OK) {
        return status;
    }
    if (n < length) {
        return vad::fail(VAD_E_ARGUMENT,
                         "vad_savgol: n must be at least length = %d, so that the ends have a fit, got %lld; pass a shorter length", length,
                         (long long)n);
    }
    const int32_t half = length / 2;
    vad::Fit      fit;
    double        weights[vad::MAX_LENGTH], head[vad::MAX_LENGTH / 2], tail[vad::MAX_LENGTH / 2];
    vad::make_fit(length, order, fit);
    vad::fit_weights(fit, half, weights);
    // The ends first: where out is x, the middle overwrites what they need.
    read_fit(fit, x, 0, half, head);
    read_fit(fit, x + n - length, half + 1, half, tail);
    slide_blocks(x, n, length, out, [&](const double * values, int64_t n_block, double * to) {
        vad::slide_sum(values, weights, length, n_block, to);
    });
    std::copy_n(head, half, out);
    std::copy_n(tail, half, out + n - half);
    return VAD_OK;
}

vad_status vad_median(const double * x, int64_t n, int32_t length, double * out) {
    vad_status status = check_odd("vad_median", "length", length);
    if (status != VAD_OK) {
        return status;
    }
    status = check_values("vad_median", x, n, out);
    if (status != VAD_OK) {
        return status;
    }
    slide_blocks(x, n, length, out, [&](const double * values, int64_t n_block, double * to) {
        vad::slide_median(values, length, n_block, to);
    });
    return VAD_OK;
}
