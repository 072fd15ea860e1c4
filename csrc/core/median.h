// Medians of windows.

#pragma once

#include <cstdint>

#include "smoothing.h"

namespace vad {

constexpr int64_t MEDIAN_BLOCK = 2048;  // windows at once, at most
constexpr int32_t MARGIN       = 16;    // values behind the last window that may be read, and are dropped

// The middle value of n <= MAX_LENGTH, or the mean of the two in the middle.
double median_of(const double * x, int32_t n);

// out[i] = the median of x[i] ... x[i + length - 1], for i < n <= MEDIAN_BLOCK; x has MARGIN values more.
void slide_median(const double * x, int32_t length, int64_t n, double * out);

}  // namespace vad
