// What STA's attention does with two rows of a block of columns: angles, sums of their waves, and waves times sums.
//
// The one decision to know: waves are never stored beyond the first cache. A sum over a line goes harmonic by harmonic, where its sums
// stay in registers; what is read back from the sums goes element by element, where its results do. cos mt and sin mt come from the two
// before by one multiply-add each: in float64, 40 of them lose three digits at most.

#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "simd.h"

namespace vad::sta {

constexpr int LANES = 4;   // float64 of AVX2
constexpr int BLOCK = 64;  // columns: their sums of 19 waves, 20 kB, stay in the first cache
constexpr int ROWS  = 2;   // that share a read of those sums
constexpr int STRIP = ROWS * BLOCK;

typedef double  Vector __attribute__((vector_size(8 * LANES)));
typedef int64_t Whole __attribute__((vector_size(8 * LANES)));

VAD_INLINE Vector load(const double * from) {
    Vector x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
}

VAD_INLINE void store(double * to, Vector x) {
    __builtin_memcpy(to, &x, sizeof x);
}

// The sum of the lanes of each of four.
VAD_INLINE Vector sums_of(Vector a, Vector b, Vector c, Vector d) {
    const Vector ab = __builtin_shuffle(a, b, Whole{0, 4, 2, 6}) + __builtin_shuffle(a, b, Whole{1, 5, 3, 7});
    const Vector cd = __builtin_shuffle(c, d, Whole{0, 4, 2, 6}) + __builtin_shuffle(c, d, Whole{1, 5, 3, 7});
    return __builtin_shuffle(ab, cd, Whole{0, 1, 4, 5}) + __builtin_shuffle(ab, cd, Whole{2, 3, 6, 7});
}

// Cosine and sine of f w + b in its plane, and 1 / |f w + b|, of a strip. Where that is 0 it has no direction: the angle is 0.
struct alignas(64) Direction {
    double cosine[STRIP];
    double sine[STRIP];
    double inverse[STRIP];
};

VAD_INLINE void point(const double * f, const float * line, Direction & z) {
    const double slope = line[0], along = line[1], height = line[2];
    for (int i = 0; i < STRIP; i += LANES) {
        const Vector x = load(f + i) * slope + along;
        store(z.cosine + i, x);
        store(z.inverse + i, x * x + height * height);
    }
    for (int i = 0; i < STRIP; i++) {  // plain, as no vector has a root; nothing else, that it may become one
        z.inverse[i] = 1 / std::sqrt(z.inverse[i]);
    }
    for (int i = 0; i < STRIP; i += LANES) {
        const Vector inverse = load(z.inverse + i), x = load(z.cosine + i);
        const Whole  nowhere = inverse == std::numeric_limits<double>::infinity();
        store(z.inverse + i, nowhere ? Vector{} : inverse);
        store(z.cosine + i, nowhere ? Vector{} + 1.0 : x * inverse);
        store(z.sine + i, nowhere ? Vector{} : height * inverse);
    }
}

// One strip of a thread.
struct alignas(64) Strip {
    double    f[STRIP];
    double    live[STRIP];  // 1, and 0 beyond the matrix
    double    a[STRIP];
    double    b[STRIP];
    double    out[STRIP];
    double    own[STRIP];  // exp of the cosine of an element with itself
    Direction query;
    Direction key;
    double    cosine[2][STRIP];  // of odd and of even harmonics
    double    sine[2][STRIP];
    double    doubled[STRIP];
};

// Sums of 1, cos t, sin t, cos 2t, ... times a and times b, [2n + 1, a or b]: over each row written to rows [.., pitch], over the rows
// added to columns [.., BLOCK].
VAD_INLINE void scatter(const Direction & z, const double * a, const double * b, int n_harmonics, Strip & at, double * rows, int64_t pitch,
                        double * columns) {
    Vector of_one[ROWS][2] = {};
    for (int j = 0; j < BLOCK; j += LANES) {
        Vector column[2] = {load(columns + j), load(columns + BLOCK + j)};
        for (int r = 0; r < ROWS; r++) {
            const int    i    = r * BLOCK + j;
            const Vector left = load(a + i), right = load(b + i), c = load(z.cosine + i);
            of_one[r][0] += left;
            of_one[r][1] += right;
            column[0] += left;
            column[1] += right;
            store(at.doubled + i, c + c);
            store(at.cosine[1] + i, Vector{} + 1.0);
            store(at.sine[1] + i, Vector{});
        }
        store(columns + j, column[0]);
        store(columns + BLOCK + j, column[1]);
    }
    for (int r = 0; r < ROWS; r++) {
        const Vector total = sums_of(of_one[r][0], of_one[r][1], Vector{}, Vector{});
        rows[r]            = total[0];
        rows[pitch + r]    = total[1];
    }
    rows += 2 * pitch;
    columns += 2 * BLOCK;
    const double *older_c = at.cosine[1], *older_s = at.sine[1], *cosine = z.cosine, *sine = z.sine;
    for (int m = 1; m <= n_harmonics; m++) {
        double *next_c = at.cosine[(m + 1) % 2], *next_s = at.sine[(m + 1) % 2];  // of m + 1; where those of m - 1 are
        Vector  sum[ROWS][4] = {};
        for (int j = 0; j < BLOCK; j += LANES) {
            Vector column[4];
            for (int i = 0; i < 4; i++) {
                column[i] = load(columns + i * BLOCK + j);
            }
            for (int r = 0; r < ROWS; r++) {
                const int    i    = r * BLOCK + j;
                const Vector left = load(a + i), right = load(b + i), c = load(cosine + i), s = load(sine + i);
                sum[r][0] += c * left;
                sum[r][1] += c * right;
                sum[r][2] += s * left;
                sum[r][3] += s * right;
                column[0] += c * left;
                column[1] += c * right;
                column[2] += s * left;
                column[3] += s * right;
                const Vector doubled = load(at.doubled + i);
                store(next_c + i, doubled * c - load(older_c + i));
                store(next_s + i, doubled * s - load(older_s + i));
            }
            for (int i = 0; i < 4; i++) {
                store(columns + i * BLOCK + j, column[i]);
            }
        }
        for (int r = 0; r < ROWS; r++) {
            const Vector total = sums_of(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
            for (int i = 0; i < 4; i++) {
                rows[i * pitch + r] = total[i];
            }
        }
        rows += 4 * pitch;
        columns += 4 * BLOCK;
        older_c = cosine;
        older_s = sine;
        cosine  = next_c;
        sine    = next_s;
    }
}

// psi(t) times the sums of a and of b, and the derivatives of both by t.
struct Gathered {
    Vector value[2];
    Vector slope[2];
};

// Of the elements at one place of a row with the gains of that row [2n + 1, 2], and of their columns [2n + 1, 2, BLOCK].
VAD_INLINE Gathered gather(Vector c, Vector s, int n_harmonics, const double * row, const double * columns) {
    Gathered     out{{load(columns) + row[0], load(columns + BLOCK) + row[1]}, {}};
    const Vector doubled = c + c;
    Vector       older_c = Vector{} + 1.0, older_s = {};
    for (int m = 1; m <= n_harmonics; m++) {
        row += m == 1 ? 2 : 4;
        columns += m == 1 ? 2 * BLOCK : 4 * BLOCK;
        const Vector fast_c = c * double(m), fast_s = s * double(m);
        for (int i = 0; i < 2; i++) {
            const Vector of_c = load(columns + i * BLOCK) + row[i], of_s = load(columns + (2 + i) * BLOCK) + row[2 + i];
            out.value[i] += c * of_c;
            out.value[i] += s * of_s;
            out.slope[i] += fast_c * of_s;
            out.slope[i] -= fast_s * of_c;
        }
        const Vector next_c = doubled * c - older_c, next_s = doubled * s - older_s;
        older_c             = c;
        older_s             = s;
        c                   = next_c;
        s                   = next_s;
    }
    return out;
}

// exp(x) of |x| <= 1, what a cosine can be, within 1e-13: of a quarter by its series, then squared twice. NaN stays.
VAD_INLINE Vector exp_of(Vector x) {
    constexpr double ONE_OVER[] = {1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120,
                                   1.0 / 24,      1.0 / 6,      0.5,         1,          1};
    x *= 0.25;
    Vector sum = {};
    for (const double one_over : ONE_OVER) {
        sum = sum * x + one_over;
    }
    sum *= sum;
    return sum * sum;
}

}  // namespace vad::sta
