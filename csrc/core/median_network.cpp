// Four neighbouring windows share length - 3 values. Of these only the four in the middle can matter to any of the windows, each of which
// has three values more: so the shared ones are sorted as far as to find these four, once for four medians.
//
// The middle of many is found by forgetting: of so many values that their smallest and largest cannot be in the middle, those two are
// dropped and one more value is taken in. Everything is a minimum or a maximum of registers, four windows far apart in the lanes of each.
// Loops over lanes in memory, which median.cpp has, take 1.6 times as long for 17 values.

#include "median_network.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "median.h"
#include "simd.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#pragma GCC push_options
#pragma GCC target("avx2")

namespace {

constexpr int32_t WIDTH       = 4;
constexpr int64_t MAX_STRETCH = vad::MEDIAN_BLOCK / WIDTH;
constexpr int32_t LONGEST     = 21;

typedef double Vector __attribute__((vector_size(WIDTH * sizeof(double))));

VAD_INLINE Vector least(Vector a, Vector b) {
    return a < b ? a : b;
}

VAD_INLINE Vector largest(Vector a, Vector b) {
    return a < b ? b : a;
}

VAD_INLINE void order(Vector & a, Vector & b) {
    const Vector low = least(a, b);
    b                = largest(a, b);
    a                = low;
}

// Drops the smallest and the largest of v[N], takes in the next of `more`, and so on: four are left, v[1] ... v[4].
template <int32_t N>
VAD_INLINE void forget(Vector * v, const Vector * more) {
#pragma GCC unroll 32
    for (int32_t i = 0; i < N / 2; i++) {
        order(v[i], v[N - 1 - i]);
    }
#pragma GCC unroll 32
    for (int32_t i = 1; i < (N + 1) / 2; i++) {
        order(v[0], v[i]);
    }
#pragma GCC unroll 32
    for (int32_t i = N / 2; i < N - 1; i++) {
        order(v[i], v[N - 1]);
    }
    if constexpr (N > 6) {
        v[0] = *more;
        forget<N - 1>(v, more + 1);
    }
}

// The medians of two neighbouring windows: both have the four of v[1] ... v[4], in order, and a and b; one has c besides, the other d.
VAD_INLINE void two_medians(const Vector * v, Vector a, Vector b, Vector c, Vector d, Vector * medians) {
    order(a, b);
    const Vector low  = largest(v[1], largest(least(v[2], b), least(v[3], a)));  // third and fourth of those six
    const Vector high = largest(v[2], largest(least(v[3], b), least(v[4], a)));
    const Vector zero = {};
    medians[0]        = largest(low, least(high, c)) + zero;  // -0 becomes 0, as in median.cpp
    medians[1]        = largest(low, least(high, d)) + zero;
}

template <int32_t LENGTH>
VAD_INLINE void four_medians(const Vector * x, Vector * medians) {
    constexpr int32_t SHARED = LENGTH - 3, N = SHARED - (SHARED - 4) / 2 + 1;
    static_assert(LENGTH % 2 == 1 && N <= SHARED, "with fewer there is nothing to forget");
    Vector            v[N];
#pragma GCC unroll 32
    for (int32_t i = 0; i < N; i++) {
        v[i] = x[3 + i];
    }
    forget<N>(v, x + 3 + N);
    order(v[1], v[2]);
    order(v[3], v[4]);
    order(v[1], v[3]);
    order(v[2], v[4]);
    order(v[2], v[3]);
    two_medians(v, x[1], x[2], x[0], x[LENGTH], medians);
    two_medians(v, x[LENGTH], x[LENGTH + 1], x[2], x[LENGTH + 2], medians + 2);
}

template <int32_t LENGTH>
bool slide(const double * x, int64_t n, double * out) {
    const int64_t stretch = (n + 4 * WIDTH - 1) / (4 * WIDTH) * 4;
    Vector        values[MAX_STRETCH + LONGEST], medians[MAX_STRETCH];
    double        results[vad::MEDIAN_BLOCK];
    for (int32_t lane = 0; lane < WIDTH; lane++) {
        for (int64_t i = 0; i < stretch + LENGTH - 1; i++) {
            values[i][lane] = x[lane * stretch + i];
        }
    }
    for (int64_t i = 0; i < stretch; i += 4) {
        four_medians<LENGTH>(values + i, medians + i);
    }
    double * const to = n % (4 * WIDTH) == 0 ? out : results;
    for (int64_t i = 0; i < stretch; i++) {
        for (int32_t lane = 0; lane < WIDTH; lane++) {
            to[lane * stretch + i] = medians[i][lane];
        }
    }
    if (to == results) {
        std::copy_n(results, n, out);
    }
    return true;
}

bool slide_any(const double * x, int32_t length, int64_t n, double * out) {
    switch (length) {
        case 9: return slide<9>(x, n, out);
        case 11: return slide<11>(x, n, out);
        case 13: return slide<13>(x, n, out);
        case 15: return slide<15>(x, n, out);
        case 17: return slide<17>(x, n, out);
        case 19: return slide<19>(x, n, out);
        case LONGEST: return slide<LONGEST>(x, n, out);
        default: return false;
    }
}

}  // namespace

#pragma GCC pop_options

bool vad::slide_network(const double * x, int32_t length, int64_t n, double * out) {
    return __builtin_cpu_supports("avx2") && slide_any(x, length, n, out);
}

#else

bool vad::slide_network(const double *, int32_t, int64_t, double *) {
    return false;
}

#endif
