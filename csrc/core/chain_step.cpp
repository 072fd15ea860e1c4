// A sliding step sees a block in memory of its own, behind the values that it remembers, so that one frame and a million go through the
// same loops and give the same bits.

#include "chain_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "error.h"
#include "median.h"
#include "simd.h"
#include "smoothing.h"

using vad::Step;

namespace {

static_assert(vad::CHAIN_BLOCK <= vad::MEDIAN_BLOCK, "a block is slid over at once");

// What comes out of a step goes into the next as what a caller may push: so no sum overflows, and no window ever holds a NaN, for which
// the ways to a median would have orders of their own. Means and medians of such values are such values.
VAD_INLINE double cut_off(double y) {
    return y > vad::MAX_VALUE ? vad::MAX_VALUE : y < -vad::MAX_VALUE ? -vad::MAX_VALUE : y;
}

VAD_SIMD void cut_off(double * y, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        y[i] = cut_off(y[i]);
    }
}

// Writes the weights of the last n values of a Gaussian or Savitzky-Golay step, oldest first.
void make_weights(const vad_step & rule, int32_t n, double * weights) {
    if (rule.kind == VAD_STEP_SAVGOL) {
        vad::Fit fit;
        vad::make_fit(n, std::min(rule.order, n - 1), fit);
        vad::fit_weights(fit, n - 1, weights);
        return;
    }
    vad::gaussian_weights(n, rule.a, weights);
    std::reverse(weights, weights + n);
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += weights[i];
    }
    for (int32_t i = 0; i < n; i++) {
        weights[i] /= sum;
    }
}

// The result for the newest of n values that are fewer than the window.
double begin_window(const Step & step, int32_t n) {
    if (step.rule.kind == VAD_STEP_MEDIAN) {
        return vad::median_of(step.window.get(), n);
    }
    double weights[vad::MAX_LENGTH], sum;
    make_weights(step.rule, n, weights);
    vad::slide_sum(step.window.get(), weights, n, 1, &sum);
    return cut_off(sum);
}

void run_window(Step & step, double * y, int64_t n) {
    const int32_t n_before = step.length - 1;
    double *      window   = step.window.get();
    for (; step.n_seen < n_before && n > 0; y++, n--) {
        window[step.n_seen++] = *y;
        *y                    = begin_window(step, step.n_seen);
    }
    if (n == 0) {
        return;
    }
    std::copy_n(y, n, window + n_before);
    if (step.rule.kind == VAD_STEP_MEDIAN) {
        vad::slide_median(window, step.length, n, y);
    } else {
        vad::slide_sum(window, step.weights.get(), step.length, n, y);
        cut_off(y, n);
    }
    std::memmove(window, window + n, n_before * sizeof *window);
}

void run_exponential_mean(Step & step, double * y, int64_t n) {
    double mean = step.started || n == 0 ? step.mean : y[0];
    for (int64_t i = step.started ? 0 : 1; i < n; i++) {
        mean = mean + (y[i] - mean) * step.gain;
        y[i] = mean;
    }
    step.mean    = mean;
    step.started = step.started || n > 0;
}

VAD_SIMD void run_robust_z(const vad_step & rule, double * y, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        y[i] = cut_off((y[i] - rule.a) / rule.b);
    }
}

}  // namespace

vad_status vad::check_step(const vad_step & rule, int32_t branch, int32_t i) {
    const auto refuse = [&](const char * what, double got, const char * next) {
        return vad::fail(VAD_E_ARGUMENT, "vad_chain_create: step %d of branch %d: %s, got %g; %s", i, branch, what, got, next);
    };
    switch (rule.kind) {
        case VAD_STEP_ROBUST_Z:
            if (!vad::is_finite(rule.a)) {
                return refuse("a (the median of robust_z) must be finite", rule.a, "calibrate on normal video");
            }
            return rule.b > 0 && vad::is_finite(rule.b) ? VAD_OK
                                                        : refuse("b (the scale of robust_z) must be above 0 and finite", rule.b,
                                                                 "calibrate on video in which the component varies");
        case VAD_STEP_EXPONENTIAL_MEAN:
            return rule.a > 0 && vad::is_finite(rule.a) ? VAD_OK
                                                        : refuse("a (the half-life of exponential_mean) must be above 0 and finite", rule.a,
                                                                 "pass it in frames");
        case VAD_STEP_SAVGOL:
        case VAD_STEP_MEDIAN:
        case VAD_STEP_GAUSSIAN:
            break;
        default:
            return refuse("kind must be one of VAD_STEP_*", rule.kind, "see vadfast/score.h");
    }
    if (rule.length < 1 || rule.length > vad::MAX_LENGTH) {
        return vad::fail(VAD_E_ARGUMENT,
                         "vad_chain_create: step %d of branch %d: length must be 1 ... %d frames, got %d; pass a shorter window", i, branch,
                         vad::MAX_LENGTH, rule.length);
    }
    if (rule.kind == VAD_STEP_SAVGOL && (rule.order < 0 || rule.order > std::min(vad::MAX_ORDER, rule.length - 1))) {
        return vad::fail(VAD_E_ARGUMENT,
                         "vad_chain_create: step %d of branch %d: order must be 0 ... %d and below length, got %d; pass a smaller order "
                         "or a longer window", i, branch, vad::MAX_ORDER, rule.order);
    }
    if (rule.kind == VAD_STEP_GAUSSIAN && rule.length % 2 == 0) {
        return refuse("length of gaussian must be odd", rule.length, "pass the next odd number");
    }
    if (rule.kind == VAD_STEP_GAUSSIAN && !(rule.a > 0 && vad::is_finite(rule.a))) {
        return refuse("a (the width of gaussian) must be above 0 and finite", rule.a, "pass it in frames");
    }
    return VAD_OK;
}

bool vad::make_step(const vad_step & rule, Step & step) {
    step.rule = rule;
    // The C library's pow, because it is Python's: the gain must be that of vadfast.runtime.score to the last bit.
    step.gain    = rule.kind == VAD_STEP_EXPONENTIAL_MEAN ? 1.0 - std::pow(2.0, -1.0 / rule.a) : 0;
    step.started = false;
    step.n_seen  = 0;
    step.length  = 0;
    if (rule.kind == VAD_STEP_ROBUST_Z || rule.kind == VAD_STEP_EXPONENTIAL_MEAN) {
        return true;
    }
    step.length = rule.kind == VAD_STEP_GAUSSIAN ? rule.length / 2 + 1 : rule.length;
    step.window.reset(new (std::nothrow) double[step.length - 1 + CHAIN_BLOCK + MARGIN]());
    step.weights.reset(new (std::nothrow) double[step.length]());
    if (step.window == nullptr || step.weights == nullptr) {
        return false;
    }
    if (rule.kind != VAD_STEP_MEDIAN) {
        make_weights(rule, step.length, step.weights.get());
    }
    return true;
}

void vad::run_step(Step & step, double * y, int64_t n) {
    switch (step.rule.kind) {
        case VAD_STEP_ROBUST_Z: return run_robust_z(step.rule, y, n);
        case VAD_STEP_EXPONENTIAL_MEAN: return run_exponential_mean(step, y, n);
        default: return run_window(step, y, n);
    }
}

void vad::reset_step(Step & step) {
    step.started = false;
    step.n_seen  = 0;
}
