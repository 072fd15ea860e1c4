// Images from planes to interleaved channels, in squares of 8 x 8 that are turned in registers.

#include <vadfast/operators.h>

#include <algorithm>

#include "error.h"
#include "parallel.h"
#include "simd.h"

namespace {

constexpr int SIDE = 8;
constexpr int LINE = 2 * SIDE;  // positions in 64 bytes
constexpr int BLOCK = 1 << 18;  // elements that are worth a thread

typedef float   Vector __attribute__((vector_size(4 * SIDE)));
typedef int32_t Order __attribute__((vector_size(4 * SIDE)));

// from [8 rows, 8] -> to [8 columns, 8]: neighbours are exchanged at distances 1, 2 and 4.
VAD_INLINE void turn(const float * from, int64_t from_row, float * to, int64_t to_row) {
    constexpr Order LOW[]  = {{0, 8, 2, 10, 4, 12, 6, 14}, {0, 1, 8, 9, 4, 5, 12, 13}, {0, 1, 2, 3, 8, 9, 10, 11}};
    constexpr Order HIGH[] = {{1, 9, 3, 11, 5, 13, 7, 15}, {2, 3, 10, 11, 6, 7, 14, 15}, {4, 5, 6, 7, 12, 13, 14, 15}};
    Vector          row[SIDE];
    for (int i = 0; i < SIDE; i++) {
        __builtin_memcpy(&row[i], from + i * from_row, sizeof row[i]);
    }
#pragma GCC unroll 3
    for (int step = 0; step < 3; step++) {
        const int distance = 1 << step;
#pragma GCC unroll 8
        for (int i = 0; i < SIDE; i++) {
            if ((i & distance) == 0) {
                const Vector a = row[i], b = row[i + distance];
                row[i]            = __builtin_shuffle(a, b, LOW[step]);
                row[i + distance] = __builtin_shuffle(a, b, HIGH[step]);
            }
        }
    }
    for (int i = 0; i < SIDE; i++) {
        __builtin_memcpy(to + i * to_row, &row[i], sizeof row[i]);
    }
}

// Positions [begin, end) of one image, a whole line of the cache of each plane at a time: planes of powers of two would drive one
// another out of it before the second half is read.
VAD_SIMD void turn_positions(const float * x, int64_t channels, int64_t positions, int64_t begin, int64_t end, float * out) {
    for (int64_t p = begin; p < end; p += LINE) {
        for (int64_t c = 0; c < channels; c += SIDE) {
            if (p + LINE <= end && c + SIDE <= channels) {
                turn(x + c * positions + p, positions, out + p * channels + c, channels);
                turn(x + c * positions + p + SIDE, positions, out + (p + SIDE) * channels + c, channels);
                continue;
            }
            for (int64_t i = p; i < std::min(p + LINE, end); i++) {
                for (int64_t j = c; j < std::min(c + SIDE, channels); j++) {
                    out[i * channels + j] = x[j * positions + i];
                }
            }
        }
    }
}

}  // namespace

vad_status vad_channels_last(const float * x, int32_t n, int32_t channels, int64_t positions, float * out, vad_threads threads) {
    if (x == nullptr || out == nullptr) {
        return vad::missing("vad_channels_last", x == nullptr ? "x" : "out");
    }
    if (n < 1 || channels < 1 || positions < 1 || positions > INT64_MAX / 4 / n / channels || threads.n < 1) {
        return vad::fail(VAD_E_ARGUMENT,
                         "vad_channels_last: sizes and threads must be at least 1, and all values less than 2^63 bytes, got n %d, channels "
                         "%d, positions %lld, threads %d",
                         n, channels, static_cast<long long>(positions), threads.n);
    }
    const int64_t step = std::max<int64_t>(LINE, BLOCK / channels / LINE * LINE), n_steps = (positions + step - 1) / step;
    vad::parallel(threads, n * n_steps, [&](int32_t, int64_t i) {
        const int64_t at = i / n_steps * positions * channels, first = i % n_steps * step;
        turn_positions(x + at, channels, positions, first, std::min(positions, first + step), out + at);
    });
    return VAD_OK;
}
