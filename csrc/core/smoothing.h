// What the forms for whole videos and for cameras share: which values count, and windows that are slid over memory.

#pragma once

#include <cmath>
#include <cstdint>

#include <vadfast/score.h>

#include "overlap.h"

namespace vad {

constexpr double  MAX_VALUE  = VAD_MAX_VALUE;
constexpr int32_t MAX_LENGTH = VAD_MAX_LENGTH;  // they fit on the stack
constexpr int32_t MAX_ORDER  = VAD_MAX_ORDER;

// False for NaN too.
inline bool is_finite(double x) {
    return std::fabs(x) <= MAX_VALUE;
}

// Returns the index of the first value that is not finite, n if there is none.
int64_t first_not_finite(const double * x, int64_t n);

// Whether n_x and n_y values lie in the same memory.
inline bool overlap(const double * x, int64_t n_x, const double * y, int64_t n_y) {
    return overlap(bytes_at(x, n_x * int64_t(sizeof *x)), bytes_at(y, n_y * int64_t(sizeof *y)));
}

// Writes weights [length] exp(-(i / sigma)^2 / 2) for i = 0 ... length - 1.
void gaussian_weights(int32_t length, double sigma, double * weights);

// Least squares of a polynomial over `length` equidistant values is a projection on orthonormal polynomials.
struct Fit {
    int32_t length;
    int32_t order;
    double  value[MAX_ORDER + 1][MAX_LENGTH];  // of each polynomial at each place
};

void make_fit(int32_t length, int32_t order, Fit & fit);

// Writes the weights [length] whose sum over the values reads the fit at `place`.
void fit_weights(const Fit & fit, int32_t place, double * weights);

// out[i] = sum over j < length of weights[j] x[i + j], for i < n: the same bits for a value whatever n is. Memory must not overlap.
void slide_sum(const double * x, const double * weights, int32_t length, int64_t n, double * out);

}  // namespace vad
