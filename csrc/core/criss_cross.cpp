// Criss-cross attention line by line: the scores of six queries are in the first cache from the product that makes them to the one
// that uses them.
//
// The one decision to know: a row pass leaves (sum of weighted values, largest score, sum of weights) of each position, and a column
// pass continues from there, so that no map exists. A line's keys and values are packed into panels of 16 first: every product then
// reads memory in order, and holds 6 x 16 sums in registers.

#include <vadfast/operators.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "criss_cross.h"
#include "error.h"
#include "parallel.h"
#include "simd.h"

namespace {

using vad::rounded_up;

constexpr int     LANES   = 8;           // float32 of AVX2; narrower machines take two steps, wider ones use half
constexpr int     PANEL   = 2 * LANES;   // columns of a product that are made together
constexpr int     QUERIES = 6;           // 6 x 2 sums, 2 columns and a factor are 15 of 16 registers
constexpr float   LOG2E   = 1.4426950408889634f;

typedef float   Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Whole __attribute__((vector_size(4 * LANES)));

VAD_INLINE Vector load(const float * from) {
    Vector x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
}

VAD_INLINE void store(float * to, Vector x) {
    __builtin_memcpy(to, &x, sizeof x);
}

// 2^x of x <= 0 within 2 units in the last place: 2^round(x) by the exponent's bits, the rest by a polynomial. NaN stays.
VAD_INLINE Vector exp2_of(Vector x) {
    x                    = x < -126.0f ? Vector{} - 126.0f : x;
    const float  magic   = 12582912.0f;  // 1.5 x 2^23: what is added to it is rounded to a whole number
    const Vector whole   = (x + magic) - magic;
    const Vector f       = x - whole;
    Vector       p       = f * 1.5403530e-4f + 1.3333558e-3f;
    p                    = p * f + 9.6181291e-3f;
    p                    = p * f + 5.5504109e-2f;
    p                    = p * f + 2.4022651e-1f;
    p                    = p * f + 6.9314718e-1f;
    p                    = p * f + 1.0f;
    const Whole exponent = __builtin_convertvector(whole, Whole);
    return reinterpret_cast<Vector>(reinterpret_cast<Whole>(p) + (exponent << 23));
}

// One line of an image: positions `step` elements apart.
struct Line {
    const float * first;
    int64_t       step;
};

// Where a line's results go, of position i: y + i * y_step and state + i * state_step.
struct Target {
    float * y;
    int64_t y_step;
    float * state;
    int64_t state_step;
};

// Memory of one thread.
struct Scratch {
    float * keys;     // [panels of positions, d, PANEL]
    float * values;   // [panels of channels, positions, PANEL]
    float * queries;  // [QUERIES, d]
    float * scores;   // [QUERIES, positions]
    float * sums;     // [QUERIES, channels]

    static int64_t size(int64_t length, int64_t d, int64_t c) {
        const int64_t padded = rounded_up(length, PANEL), channels = rounded_up(c, PANEL);
        return padded * d + padded * channels + rounded_up(QUERIES * d, PANEL) + QUERIES * (padded + channels);
    }

    Scratch(float * memory, int64_t length, int64_t d, int64_t c) {
        const int64_t padded = rounded_up(length, PANEL), channels = rounded_up(c, PANEL);
        keys    = memory;
        values  = keys + padded * d;
        queries = values + padded * channels;
        scores  = queries + rounded_up(QUERIES * d, PANEL);
        sums    = scores + QUERIES * padded;
    }
};

// out [ROWS, PANEL] = a [ROWS, n] times a panel [n, PANEL].
template <int ROWS>
VAD_INLINE void product(const float * a, int64_t a_row, const float * panel, int64_t n, float * out, int64_t out_row) {
    Vector sum[ROWS][2] = {};
    for (int64_t i = 0; i < n; i++) {
        const Vector left = load(panel + PANEL * i), right = load(panel + PANEL * i + LANES);
        for (int r = 0; r < ROWS; r++) {
            const float factor = a[r * a_row + i];
            sum[r][0] += factor * left;
            sum[r][1] += factor * right;
        }
    }
    for (int r = 0; r < ROWS; r++) {
        store(out + r * out_row, sum[r][0]);
        store(out + r * out_row + LANES, sum[r][1]);
    }
}

// The same over all panels [n_panels, n, PANEL]; the last queries of a line are fewer than QUERIES.
VAD_INLINE void products(int rows, const float * a, int64_t a_row, const float * panels, int64_t n, int64_t n_panels, float * out,
                         int64_t out_row) {
    for (int64_t i = 0; i < n_panels; i++, panels += n * PANEL, out += PANEL) {
        if (rows == QUERIES) {
            product<QUERIES>(a, a_row, panels, n, out, out_row);
        } else {
            for (int r = 0; r < rows; r++) {
                product<1>(a + r * a_row, a_row, panels, n, out + r * out_row, out_row);
            }
        }
    }
}

VAD_INLINE void pack(const Line & k, const Line & v, int64_t length, int64_t d, int64_t c, const Scratch & memory) {
    for (int64_t j = 0; j < rounded_up(length, PANEL); j++) {
        float * to = memory.keys + j / PANEL * d * PANEL + j % PANEL;
        for (int64_t i = 0; i < d; i++) {
            to[i * PANEL] = j < length ? k.first[j * k.step + i] : 0.0f;
        }
    }
    for (int64_t first = 0; first < c; first += PANEL) {
        const int64_t n = std::min<int64_t>(PANEL, c - first);
        for (int64_t j = 0; j < length; j++) {
            float *       to   = memory.values + (first * length + j * PANEL);
            const float * from = v.first + j * v.step + first;
            if (n == PANEL) {
                store(to, load(from));
                store(to + LANES, load(from + LANES));
                continue;
            }
            for (int64_t i = 0; i < PANEL; i++) {
                to[i] = i < n ? from[i] : 0.0f;
            }
        }
    }
}

// Scores become weights; returns their sum. `top` is what they are taken below.
VAD_INLINE float weights(float * scores, int64_t padded, float top) {
    Vector sum = {};
    for (int64_t j = 0; j < padded; j += LANES) {
        const Vector p = exp2_of(load(scores + j) - top);
        store(scores + j, p);
        sum += p;
    }
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

VAD_INLINE float largest(const float * scores, int64_t padded) {
    Vector top = load(scores);
    for (int64_t j = LANES; j < padded; j += LANES) {
        const Vector s = load(scores + j);
        top            = top < s ? s : top;
    }
    float most = top[0];
    for (int i = 1; i < LANES; i++) {
        most = std::max(most, top[i]);
    }
    return most;
}

// One line; the column pass continues what the row pass has left, own position out.
template <bool IS_COLUMN>
VAD_INLINE void attend(const Line & q, const Line & k, const Line & v, int64_t length, int64_t d, int64_t c, const Target & target,
                       const Scratch & memory) {
    constexpr float NEVER  = -std::numeric_limits<float>::infinity();
    const int64_t   padded = rounded_up(length, PANEL), channels = rounded_up(c, PANEL);
    pack(k, v, length, d, c, memory);
    for (int64_t first = 0; first < length; first += QUERIES) {
        const int n = int(std::min<int64_t>(QUERIES, length - first));
        for (int r = 0; r < n; r++) {
            for (int64_t i = 0; i < d; i++) {
                memory.queries[r * d + i] = q.first[(first + r) * q.step + i] * LOG2E;
            }
        }
        products(n, memory.queries, d, memory.keys, d, padded / PANEL, memory.scores, padded);
        float keep[QUERIES], share[QUERIES];
        for (int r = 0; r < n; r++) {
            float * scores = memory.scores + r * padded;
            float * state  = target.state + (first + r) * target.state_step;
            std::fill(scores + length, scores + padded, NEVER);
            if (IS_COLUMN) {
                scores[first + r] = NEVER;
                const float top   = std::max(largest(scores, padded), state[0]);
                const float kept  = std::exp2(state[0] - top);
                const float total = weights(scores, padded, top) + state[1] * kept;
                keep[r]           = kept / total;
                share[r]          = 1.0f / total;
                state[0]          = top;
                state[1]          = total;
            } else {
                state[0] = largest(scores, padded);
                state[1] = weights(scores, padded, state[0]);
            }
        }
        products(n, memory.scores, padded, memory.values, length, channels / PANEL, memory.sums, channels);
        for (int r = 0; r < n; r++) {
            float *       y   = target.y + (first + r) * target.y_step;
            const float * sum = memory.sums + r * channels;
            for (int64_t i = 0; i < c; i++) {
                y[i] = IS_COLUMN ? y[i] * keep[r] + sum[i] * share[r] : sum[i];
            }
        }
    }
}

Line line_of(const vad_images & images, int64_t image, int64_t row, int64_t column, int step) {
    return {images.data + image * images.stride[0] + row * images.stride[1] + column * images.stride[2], images.stride[step]};
}

VAD_SIMD void attend_row(const vad_criss_cross_input & in, float * y, float * state, const Scratch & memory, int64_t i) {
    const int64_t h = in.height, w = in.width, image = i / h, row = i % h;
    const Target  target{y + i * w * in.c, in.c, state + i * w * 2, 2};
    attend<false>(line_of(in.q, image, row, 0, 2), line_of(in.k, image, row, 0, 2), line_of(in.v, image, row, 0, 2), w, in.d, in.c, target,
                  memory);
}

VAD_SIMD void attend_column(const vad_criss_cross_input & in, float * y, float * state, const Scratch & memory, int64_t i) {
    const int64_t h = in.height, w = in.width, image = i / w, column = i % w, at = image * h * w + column;
    const Target  target{y + at * in.c, w * in.c, state + at * 2, w * 2};
    attend<true>(line_of(in.q, image, 0, column, 1), line_of(in.k, image, 0, column, 1), line_of(in.v, image, 0, column, 1), h, in.d, in.c,
                 target, memory);
}

}  // namespace

int64_t vad_criss_cross_scratch(int32_t height, int32_t width, int32_t d, int32_t c, int32_t n_threads) {
    if (height < 1 || width < 1 || d < 1 || c < 1 || n_threads < 1) {
        return 0;
    }
    const int64_t length = std::max(height, width);
    if (!vad::is_product_small(length + PANEL, int64_t(d) + c + 2 * PANEL)) {
        return 0;
    }
    return std::min(n_threads, VAD_MAX_THREADS) * Scratch::size(length, d, c);
}

vad_status vad_criss_cross(const vad_criss_cross_input * input, float * y, float * state, float * scratch, vad_threads threads) {
    constexpr const char * FUNCTION = "vad_criss_cross";
    if (input == nullptr || y == nullptr || state == nullptr || scratch == nullptr) {
        return vad::missing(FUNCTION, input == nullptr ? "input" : y == nullptr ? "y" : state == nullptr ? "state" : "scratch");
    }
    if (vad_status status = vad::check_criss_cross(FUNCTION, *input, threads); status != VAD_OK) {
        return status;
    }
    const vad_criss_cross_input & in   = *input;
    const int64_t                 size = vad_criss_cross_scratch(in.height, in.width, in.d, in.c, threads.n);
    if (reinterpret_cast<uintptr_t>(scratch) % 64 != 0) {
        return vad::fail(VAD_E_ARGUMENT, "%s: scratch must be aligned to 64 bytes, got %p", FUNCTION, static_cast<void *>(scratch));
    }
    const int64_t own  = size / std::min(threads.n, VAD_MAX_THREADS);
    const auto    pass = [&](auto attend_line, int64_t n_lines) {
        vad::parallel(threads, n_lines, [&](int32_t thread, int64_t i) {
            const Scratch memory(scratch + thread * own, std::max(in.height, in.width), in.d, in.c);
            attend_line(in, y, state, memory, i);
        });
    };
    pass(attend_row, int64_t(in.n) * in.height);
    pass(attend_column, int64_t(in.n) * in.width);
    return VAD_OK;
}
