// The largest values are kept in order, and a generalised Pareto distribution is fitted to their excesses by moments.

#include "pareto.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "elementary.h"

namespace {

constexpr double IS_EXPONENTIAL = 1e-9;  // a shape as small as this: the formulas below would lose their digits, their limit does not
constexpr double MOST_SHAPE     = 0.5;   // above it the moments have no bounded error; at 1 there would be no mean, and no scale

}  // namespace

void vad::largest_add(Largest & largest, double x) {
    double *     value = largest.value.get();
    const bool   full  = largest.n == largest.capacity;
    const double least = full ? value[0] : x;
    if (full && x <= least) {
        return;
    }
    double * const place = std::upper_bound(value, value + largest.n, x);
    if (full) {
        std::memmove(value, value + 1, (place - 1 - value) * sizeof *value);
        place[-1] = x;
    } else {
        std::memmove(place + 1, place, (value + largest.n - place) * sizeof *value);
        *place = x;
        largest.n++;
    }
}

// By probability-weighted moments (Hosking and Wallis, "Parameter and quantile estimation for the generalized Pareto distribution", 1987),
// which need sums only: good for shapes up to 0.5, always an answer, the same bits everywhere. Where they say more, as of one value above
// many equal ones, the shape is 0.5; where they place the end of the tail below the largest value seen, it is the least that leaves it
// beyond (Dupuis 1996). The scale keeps the mean in either case.
vad::Tail vad::fit_tail(const Largest & largest, int64_t n, double quantile) {
    const int64_t n_above = int64_t(std::min((1 - quantile) * double(n), double(largest.n - 1)));
    if (n_above < MIN_EXCESSES) {
        return Tail{};
    }
    const double * const first     = largest.value.get() + largest.n - n_above;
    const double         threshold = first[-1];
    double               mean = 0, weighted = 0;
    for (int64_t i = 0; i < n_above; i++) {
        const double excess = first[i] - threshold;
        mean += excess / double(n_above);
        weighted += excess / double(n_above) * (double(n_above - 1 - i) / double(n_above - 1));
    }
    Tail tail{n_above, threshold, double(n_above) / double(n), 0, 0};
    if (mean > 0) {
        const double end   = (first[n_above - 1] - threshold) * (1 + 1 / double(n_above));
        const double least = -mean / (end - mean);
        // All excesses equal: the moments say -infinity, and the bound holds.
        const double moments = mean > 2 * weighted ? 2 - mean / (mean - 2 * weighted) : least;
        // Of subnormal excesses the mean may be rounded up to the end, and `least` be anything.
        tail.shape = end > mean ? std::min(std::max(least, moments), MOST_SHAPE) : MOST_SHAPE;
        tail.scale = mean * (1 - tail.shape);
    }
    return tail;
}

double vad::tail_above(const Tail & tail, double x) {
    const double excess = x - tail.threshold;
    if (excess <= 0 || tail.scale == 0) {
        return excess <= 0 ? tail.share : 0;
    }
    if (std::fabs(tail.shape) < IS_EXPONENTIAL) {
        return tail.share * elementary::exp(-excess / tail.scale);
    }
    const double along = tail.shape * (excess / tail.scale);
    return along <= -1 ? 0 : tail.share * elementary::exp(-elementary::log1p(along) / tail.shape);
}

double vad::tail_value(const Tail & tail, double probability) {
    const double depth = -elementary::log(probability / tail.share);
    if (std::fabs(tail.shape) < IS_EXPONENTIAL) {
        return tail.threshold + tail.scale * depth;
    }
    return tail.threshold + tail.scale / tail.shape * elementary::expm1(tail.shape * depth);
}
