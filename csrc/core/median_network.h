// Medians of short windows by a network of comparisons, the fastest way where a register holds four values.

#pragma once

#include <cstdint>

namespace vad {

// As slide_median; returns false, and does nothing, where this CPU has no AVX2 or there is no network for `length`.
bool slide_network(const double * x, int32_t length, int64_t n, double * out);

}  // namespace vad
