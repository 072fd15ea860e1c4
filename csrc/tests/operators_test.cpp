// Criss-cross attention against loops in float64, at sizes about every boundary; what cannot be right is refused and nothing is written.

#include <vadfast/operators.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <vector>

#include "allocations.h"
#include "check.h"
#include "lent.h"

namespace {

std::mt19937 generator(0);

std::vector<float> made(size_t n) {
    std::normal_distribution<float> normal;
    std::vector<float>              x(n);
    for (float & value : x) {
        value = normal(generator);
    }
    return x;
}

// The mean of channel i over the cross of a position, in float64.
double truth(const std::vector<float> & q, const std::vector<float> & k, const std::vector<float> & v, int h, int w, int d, int c, int row,
             int column, int i) {
    double top = 0, bottom = 0;
    for (int n = 0; n < h + w; n++) {
        const int y = n < w ? row : n - w, x = n < w ? n : column;
        if (n >= w && y == row) {
            continue;
        }
        double score = 0;
        for (int j = 0; j < d; j++) {
            score += double(q[(row * w + column) * d + j]) * k[(y * w + x) * d + j];
        }
        top += std::exp(score) * v[(y * w + x) * c + i];
        bottom += std::exp(score);
    }
    return top / bottom;
}

void values(int h, int w, int d, int c) {
    const std::vector<float> q = made(h * w * d), k = made(h * w * d), v = made(h * w * c);
    vad_criss_cross_input    in{1, h, w, d, c, {q.data(), {0, w * d, d}}, {k.data(), {0, w * d, d}}, {v.data(), {0, w * c, c}}};
    std::vector<float>       y(h * w * c), state(h * w * 2), again(h * w * c), state_again(h * w * 2);
    CHECK(vad_criss_cross(&in, y.data(), state.data(), lent::scratch_of<float>(vad_criss_cross_scratch(h, w, d, c, 1)).get(), {1, nullptr}) == VAD_OK);
    const auto memory = lent::scratch_of<float>(vad_criss_cross_scratch(h, w, d, c, 3));
    CHECK(vad_criss_cross(&in, again.data(), state_again.data(), memory.get(), {3, lent::one_after_the_other}) == VAD_OK);
    CHECK(y == again && state == state_again);
    double error = 0;
    for (int p = 0; p < h * w; p++) {
        for (int i = 0; i < c; i++) {
            error = std::max(error, std::abs(y[p * c + i] - truth(q, k, v, h, w, d, c, p / w, p % w, i)));
        }
    }
    CHECK(error < 2e-5);
}

void turned(int n, int channels, int positions) {
    const std::vector<float> x = made(n * channels * positions);
    std::vector<float>       out(x.size());
    CHECK(vad_channels_last(x.data(), n, channels, positions, out.data(), {2, nullptr}) == VAD_OK);
    bool same = true;
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < channels; c++) {
            for (int p = 0; p < positions; p++) {
                same = same && out[(i * positions + p) * channels + c] == x[(i * channels + c) * positions + p];
            }
        }
    }
    CHECK(same);
}

void refused() {
    const std::vector<float>    x(64, 1.0f);
    std::vector<float>          y(64, 7.0f), state(64, 7.0f);
    const vad_images            images{x.data(), {0, 4, 2}};
    const vad_criss_cross_input good{1, 2, 2, 2, 2, images, images, images};
    const auto                  memory = lent::scratch_of<float>(vad_criss_cross_scratch(2, 2, 2, 2, 1));
    vad_criss_cross_input       bad    = good;
    bad.width                          = 0;
    CHECK(vad_criss_cross(&bad, y.data(), state.data(), memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    bad        = good;
    bad.q.data = nullptr;
    CHECK(vad_criss_cross(&bad, y.data(), state.data(), memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_criss_cross(nullptr, y.data(), state.data(), memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_criss_cross(&good, y.data(), state.data(), memory.get(), {0, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_criss_cross(&good, y.data(), state.data(), memory.get() + 1, {1, nullptr}) == VAD_E_ARGUMENT);
    bad             = good;
    bad.k.stride[1] = INT64_MAX;
    CHECK(vad_criss_cross(&bad, y.data(), state.data(), memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    bad.k.stride[1] = INT64_MIN;
    CHECK(vad_criss_cross(&bad, y.data(), state.data(), memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    bad   = good;
    bad.n = INT32_MAX;
    bad.q.stride[0] = bad.k.stride[0] = bad.v.stride[0] = 0;
    bad.height = bad.width = 1 << 10;
    CHECK(vad_criss_cross(&bad, y.data(), state.data(), memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_criss_cross_scratch(2, 2, 2, 2, VAD_MAX_THREADS) > 0);
    CHECK(vad_criss_cross_scratch(2, 2, 2, 2, INT32_MAX) == vad_criss_cross_scratch(2, 2, 2, 2, VAD_MAX_THREADS));
    CHECK(vad_criss_cross_scratch(INT32_MAX, 1, INT32_MAX, INT32_MAX, 256) == 0);
    CHECK(vad_channels_last(x.data(), 1, -1, 4, y.data(), {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_channels_last(x.data(), INT32_MAX, INT32_MAX, INT64_MAX, y.data(), {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(y == std::vector<float>(64, 7.0f) && state == std::vector<float>(64, 7.0f));
}

// More threads than are ever used, and a machine that has no memory for one.
void with_any_threads() {
    const std::vector<float> x = made(2 * 3 * 50);
    std::vector<float>       alone(x.size()), many(x.size()), poor(x.size());
    CHECK(vad_channels_last(x.data(), 2, 3, 50, alone.data(), {1, nullptr}) == VAD_OK);
    CHECK(vad_channels_last(x.data(), 2, 3, 50, many.data(), {1000000, nullptr}) == VAD_OK && many == alone);
    allocations::refused    = true;
    const vad_status status = vad_channels_last(x.data(), 2, 3, 50, poor.data(), {2, nullptr});
    allocations::refused    = false;
    CHECK(status == VAD_OK && poor == alone);
    const std::vector<float>    q = made(16 * 16 * 2);
    const vad_images            images{q.data(), {0, 32, 2}};
    const vad_criss_cross_input in{1, 16, 16, 2, 2, images, images, images};
    std::vector<float>          y(q.size()), state(q.size()), again(q.size());
    CHECK(vad_criss_cross(&in, y.data(), state.data(), lent::scratch_of<float>(vad_criss_cross_scratch(16, 16, 2, 2, 1)).get(), {1, nullptr}) == VAD_OK);
    const auto memory = lent::scratch_of<float>(vad_criss_cross_scratch(16, 16, 2, 2, 300));
    CHECK(vad_criss_cross(&in, again.data(), state.data(), memory.get(), {300, lent::one_after_the_other}) == VAD_OK && again == y);
}

}  // namespace

int main() {
    const int sizes[][4] = {{1, 1, 1, 1}, {1, 9, 4, 8}, {9, 1, 3, 5}, {11, 13, 5, 17}, {6, 16, 8, 16}, {7, 17, 16, 33}, {12, 32, 2, 48}};
    for (const auto & s : sizes) {
        values(s[0], s[1], s[2], s[3]);
    }
    for (int channels : {1, 7, 8, 9, 24}) {
        for (int positions : {1, 15, 16, 17, 50}) {
            turned(2, channels, positions);
        }
    }
    refused();
    with_any_threads();
    return check::done("operators");
}
