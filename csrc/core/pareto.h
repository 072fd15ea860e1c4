// The tail of a distribution beyond what was seen of it: a generalised Pareto distribution of the excesses over a high threshold.

#pragma once

#include <cstdint>
#include <memory>

namespace vad {

// The largest values so far, ascending.
struct Largest {
    std::unique_ptr<double[]> value;  // [capacity]
    int32_t                   capacity;
    int32_t                   n;
};

void largest_add(Largest & largest, double x);

constexpr int32_t MIN_EXCESSES = 32;  // a fit to fewer says nothing

// P(value > threshold + z) = share (1 + shape z / scale)^(-1 / shape); no fit where n_excesses is 0.
struct Tail {
    int64_t n_excesses;
    double  threshold;
    double  share;  // of all values, above the threshold
    double  shape;
    double  scale;  // 0: all excesses are 0
};

// Fits the tail above `quantile` of n values, or of as many as `largest` holds.
Tail fit_tail(const Largest & largest, int64_t n, double quantile);

// Returns how likely a value is above x >= tail.threshold.
double tail_above(const Tail & tail, double x);

// Returns the value that is exceeded with a probability of at most tail.share.
double tail_value(const Tail & tail, double probability);

}  // namespace vad
