// Two ways to slide a sorted window, both exact as is median_network.h, so that which one runs shows in the time only.
//
// A short window: LANES windows walk through LANES stretches of the values side by side, each sorted. To drop a value, everything above
// it moves down one place; to take one in, everything above it moves up: comparisons and choices at each place, without a branch, for
// all lanes at once. That is length / LANES steps a value. A long one: bisection finds both places, and what lies between them moves by
// one place in memory: 2 log2(length) comparisons and a copy of 8 KiB at most.

#include "median.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "median_network.h"
#include "simd.h"

namespace {

constexpr int32_t SHORT = 255;  // the longest window for lanes: above it bisection is faster
constexpr int32_t LANES = 8;
static_assert(LANES <= vad::MARGIN, "the last lane reads so far");

struct alignas(LANES * sizeof(double)) Vector {  // so that none straddles two lines of the cache
    double lane[LANES];
};

VAD_INLINE double middle(double low, double high, bool odd) {
    // + 0.0: of two zeros either sign may stand in the middle, and the result must not tell.
    return (odd ? low : (low + high) / 2) + 0.0;
}

// Writes `from` [length] without `old` and with `value`: what is not below `old` moves down a place, then what is above `value` up one.
// Each place depends on its neighbours alone, so nothing waits for the place before. -inf stands before `from`, +inf behind it.
VAD_INLINE void replace(const Vector * __restrict from, Vector * __restrict to, int32_t length, const Vector & old, const Vector & value) {
    for (int32_t i = 0; i < length; i++) {
#pragma GCC unroll 1
        for (int32_t lane = 0; lane < LANES; lane++) {
            const double below = from[i - 1].lane[lane], here = from[i].lane[lane], above = from[i + 1].lane[lane];
            const double low   = below < old.lane[lane] ? below : here;
            const double high  = here < old.lane[lane] ? here : above;
            const double least = high < value.lane[lane] ? high : value.lane[lane];
            to[i].lane[lane]   = low > least ? low : least;
        }
    }
}

VAD_SIMD void slide_short(const double * x, int32_t length, int64_t n, double * out) {
    constexpr int64_t MAX_STRETCH = vad::MEDIAN_BLOCK / LANES;
    constexpr double  INFINITE    = std::numeric_limits<double>::infinity();
    const int64_t     stretch     = (n + LANES - 1) / LANES;
    const int32_t     low = (length - 1) / 2, high = length / 2;
    Vector            values[MAX_STRETCH + SHORT], medians[MAX_STRETCH], rooms[2][SHORT + 2], none;
    for (int32_t lane = 0; lane < LANES; lane++) {
        for (int64_t i = 0; i < stretch + length - 1; i++) {
            values[i].lane[lane] = x[lane * stretch + i];
        }
    }
    std::fill_n(none.lane, LANES, INFINITE);
    std::fill_n(rooms[0], length + 2, none);
    std::fill_n(rooms[1], length + 2, none);
    std::fill_n(rooms[0][0].lane, LANES, -INFINITE);
    std::fill_n(rooms[1][0].lane, LANES, -INFINITE);
    Vector *sorted = rooms[0] + 1, *next = rooms[1] + 1;
    for (int64_t i = 0; i < stretch + length - 1; i++) {
        replace(sorted, next, length, i < length ? none : values[i - length], values[i]);
        std::swap(sorted, next);
        if (i < length - 1) {
            continue;
        }
        for (int32_t lane = 0; lane < LANES; lane++) {
            medians[i - length + 1].lane[lane] = middle(sorted[low].lane[lane], sorted[high].lane[lane], low == high);
        }
    }
    double results[vad::MEDIAN_BLOCK];
    for (int64_t i = 0; i < stretch; i++) {
        for (int32_t lane = 0; lane < LANES; lane++) {
            results[lane * stretch + i] = medians[i].lane[lane];
        }
    }
    std::copy_n(results, n, out);
}

// Integers in the order of the values, so that bisection compares without a branch. No value is NaN: none is let in (score.h), and a step
// of a chain cuts off what would become one.
int64_t key_of(double x) {
    int64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits ^ ((bits >> 63) & std::numeric_limits<int64_t>::max());
}

double value_of(int64_t key) {
    const int64_t bits = key ^ ((key >> 63) & std::numeric_limits<int64_t>::max());
    double        x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// The first place whose key is not below `key`: by a product instead of a branch, which would be guessed wrong every other time.
int64_t * place_of(int64_t * sorted, int32_t length, int64_t key) {
    int32_t n = length;
    while (n > 1) {
        const int32_t half = n / 2;
        sorted += half * int32_t(sorted[half - 1] < key);
        n -= half;
    }
    return sorted + (*sorted < key);
}

void slide_long(const double * x, int32_t length, int64_t n, double * out) {
    int64_t sorted[vad::MAX_LENGTH];
    std::transform(x, x + length, sorted, key_of);
    std::sort(sorted, sorted + length);
    for (int64_t i = 0; i < n; i++) {
        if (i > 0) {
            int64_t * from = place_of(sorted, length, key_of(x[i - 1]));
            int64_t * to   = place_of(sorted, length, key_of(x[i - 1 + length]));
            if (from < to) {
                to--;
                std::memmove(from, from + 1, (to - from) * sizeof *from);
            } else {
                std::memmove(to + 1, to, (from - to) * sizeof *from);
            }
            *to = key_of(x[i - 1 + length]);
        }
        out[i] = middle(value_of(sorted[(length - 1) / 2]), value_of(sorted[length / 2]), length % 2 == 1);
    }
}

}  // namespace

double vad::median_of(const double * x, int32_t n) {
    double result;
    slide_long(x, n, 1, &result);
    return result;
}

void vad::slide_median(const double * x, int32_t length, int64_t n, double * out) {
    if (slide_network(x, length, n, out)) {
        return;
    }
    // Sorting the first windows of the lanes pays where there are more to come.
    if (length <= SHORT && n >= length) {
        slide_short(x, length, n, out);
    } else {
        slide_long(x, length, n, out);
    }
}
