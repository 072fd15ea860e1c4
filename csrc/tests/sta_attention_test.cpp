// STA's attention against its series written out in float64, gradients against differences of that; what cannot be right is refused and
// nothing is written.

#include <vadfast/operators.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <vector>

#include "allocations.h"
#include "check.h"
#include "lent.h"

namespace {

std::mt19937 generator(0);

template <typename T>
std::vector<T> made(size_t n, double low, double high) {
    std::uniform_real_distribution<double> uniform(low, high);
    std::vector<T>                         x(n);
    for (T & value : x) {
        value = T(uniform(generator));
    }
    return x;
}

using Numbers = std::vector<double>;

// 1, cos t, sin t, ..., of the angle of f w + b by its plane's three numbers, and cos t, sin t alone.
Numbers waves(double f, const double * line, int n_harmonics) {
    const double t   = std::atan2(line[2], f * line[0] + line[1]);
    Numbers      psi = {1};
    for (int m = 1; m <= n_harmonics; m++) {
        psi.push_back(std::cos(m * t));
        psi.push_back(std::sin(m * t));
    }
    return psi;
}

// What the sum of y dy is, in which every element of a cross weighs psi^T K psi; itself, twice in it, once as much as its exp less.
double above(const Numbers & f, const Numbers & planes, const Numbers & k, const Numbers & dy, int n, int h, int w, int harmonics,
             Numbers * y = nullptr) {
    const size_t         F = 2 * harmonics + 1;
    std::vector<Numbers> query, key;
    for (double value : f) {
        query.push_back(waves(value, planes.data(), harmonics));
        key.push_back(waves(value, planes.data() + 3, harmonics));
    }
    double total = 0;
    for (int p = 0; p < n * h * w; p++) {
        const int bag = p / (h * w) * h * w, row = p % (h * w) / w, column = p % w;
        Numbers   turned(F);
        for (size_t i = 0; i < F; i++) {
            for (size_t j = 0; j < F; j++) {
                turned[j] += query[p][i] * k[i * F + j];
            }
        }
        const double *q = &query[p][1], *u = &key[p][1];
        const double own    = std::exp(q[0] * (planes[6] * u[0] + planes[7] * u[1]) + q[1] * (planes[8] * u[0] + planes[9] * u[1]));
        double       top = -own * f[p], bottom = -own;
        for (int i = 0; i < h + w; i++) {
            const int other  = bag + (i < w ? row * w + i : (i - w) * w + column);
            double    weight = 0;
            for (size_t j = 0; j < F; j++) {
                weight += turned[j] * key[other][j];
            }
            top += weight * f[other];
            bottom += weight;
        }
        const double found = top / bottom + f[p];
        total += found * dy[p];
        if (y != nullptr) {
            (*y)[p] = found;
        }
    }
    return total;
}

void values_and_gradients(int n, int h, int w, int harmonics) {
    const size_t  size = size_t(n) * h * w, F = 2 * harmonics + 1;
    const auto    f = made<float>(size, 0, 1), dy = made<float>(size, -1, 1);
    const auto    planes = made<float>(10, 0.2, 0.6);
    auto          k      = made<float>(F * F, -0.05, 0.05);
    k[0]                 = 1.5f;  // sums far from 0
    const vad_sta_attention_input in{n, h, w, harmonics, f.data(), planes.data(), k.data()};
    std::vector<float>            y(size), df(size), y_again(size), df_again(size);
    Numbers                       dplanes(10), dk(F * F), dplanes_again(10), dk_again(F * F);
    const auto                    few = lent::scratch_of<double>(vad_sta_attention_scratch(n, h, w, harmonics, 1));
    allocations::refused    = true;  // with one thread it takes no memory
    const vad_status status = vad_sta_attention(&in, y.data(), few.get(), {1, nullptr});
    allocations::refused    = false;
    CHECK(status == VAD_OK);
    CHECK(vad_sta_attention_backward(&in, dy.data(), df.data(), dplanes.data(), dk.data(), few.get(), {1, nullptr}) == VAD_OK);
    for (const vad_threads threads : {vad_threads{300, lent::one_after_the_other}, vad_threads{3, nullptr}}) {
        const auto many = lent::scratch_of<double>(vad_sta_attention_scratch(n, h, w, harmonics, threads.n));
        CHECK(vad_sta_attention(&in, y_again.data(), many.get(), threads) == VAD_OK && y_again == y);
        CHECK(vad_sta_attention_backward(&in, dy.data(), df_again.data(), dplanes_again.data(), dk_again.data(), many.get(), threads) ==
              VAD_OK);
        CHECK(df_again == df && dplanes_again == dplanes && dk_again == dk);
    }

    Numbers       truth(size), wide_f(f.begin(), f.end()), wide_planes(planes.begin(), planes.end()), wide_k(k.begin(), k.end());
    const Numbers wide_dy(dy.begin(), dy.end());
    above(wide_f, wide_planes, wide_k, wide_dy, n, h, w, harmonics, &truth);
    double error = 0;
    for (size_t i = 0; i < size; i++) {
        error = std::max(error, std::abs(y[i] - truth[i]));
    }
    CHECK(error < 1e-6);
    const auto slope = [&](double & x) {
        const double kept = x, step = 1e-5;
        x                 = kept + step;
        const double more = above(wide_f, wide_planes, wide_k, wide_dy, n, h, w, harmonics);
        x                 = kept - step;
        const double less = above(wide_f, wide_planes, wide_k, wide_dy, n, h, w, harmonics);
        x                 = kept;
        return (more - less) / (2 * step);
    };
    // Some of many: a difference costs two whole sums.
    for (size_t i = 0; i < size; i += 1 + size / 20) {
        CHECK(std::abs(slope(wide_f[i]) - df[i]) < 1e-5);
    }
    for (size_t i = 0; i < 10; i++) {
        CHECK(std::abs(slope(wide_planes[i]) - dplanes[i]) < 1e-6);
    }
    for (size_t i = 0; i < F * F; i += 1 + F * F / 20) {
        CHECK(std::abs(slope(wide_k[i]) - dk[i]) < 1e-6);
    }
}

void refused() {
    const std::vector<float>      x(64, 1.0f);
    std::vector<float>            y(64, 7.0f);
    Numbers                       d(64, 7.0);
    const vad_sta_attention_input good{1, 2, 2, 2, x.data(), x.data(), x.data()};
    const auto                    memory = lent::scratch_of<double>(vad_sta_attention_scratch(1, 2, 2, 2, 1));
    const auto                    fails  = [&](const vad_sta_attention_input & in, double * scratch, int32_t n_threads) {
        const vad_threads threads = {n_threads, nullptr};
        return vad_sta_attention(&in, y.data(), scratch, threads) == VAD_E_ARGUMENT &&
               vad_sta_attention_backward(&in, x.data(), y.data(), d.data(), d.data(), scratch, threads) == VAD_E_ARGUMENT;
    };
    CHECK(fails(good, nullptr, 1) && fails(good, memory.get() + 1, 1) && fails(good, memory.get(), 0));
    for (int32_t vad_sta_attention_input::*size : {&vad_sta_attention_input::n, &vad_sta_attention_input::height,
                                                   &vad_sta_attention_input::width, &vad_sta_attention_input::n_harmonics}) {
        vad_sta_attention_input bad = good;
        bad.*size                   = 0;
        CHECK(fails(bad, memory.get(), 1));
    }
    for (const float * vad_sta_attention_input::*data :
         {&vad_sta_attention_input::f, &vad_sta_attention_input::planes, &vad_sta_attention_input::kernel}) {
        vad_sta_attention_input bad = good;
        bad.*data                   = nullptr;
        CHECK(fails(bad, memory.get(), 1));
    }
    CHECK(vad_sta_attention(nullptr, y.data(), memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_sta_attention(&good, nullptr, memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_sta_attention_backward(&good, x.data(), y.data(), nullptr, d.data(), memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    vad_sta_attention_input over = good;
    over.f                       = y.data() + 3;  // the last value of y is its first
    CHECK(vad_sta_attention(&over, y.data(), memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_sta_attention_backward(&good, y.data(), y.data(), d.data(), d.data(), memory.get(), {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(y == std::vector<float>(64, 7.0f) && d == Numbers(64, 7.0));
    CHECK(vad_sta_attention_scratch(1, 2, 2, VAD_STA_MAX_HARMONICS, 1) > 0);
    CHECK(vad_sta_attention_scratch(1, 2, 2, VAD_STA_MAX_HARMONICS + 1, 1) == 0);
    CHECK(vad_sta_attention_scratch(9, 2, 2, 2, INT32_MAX) == vad_sta_attention_scratch(9, 2, 2, 2, VAD_MAX_THREADS));
    CHECK(vad_sta_attention_scratch(INT32_MAX, INT32_MAX, INT32_MAX, 2, 1) == 0);
    CHECK(vad_sta_attention_scratch(1, 1, INT32_MAX, VAD_STA_MAX_HARMONICS, VAD_MAX_THREADS) > 0);
}

}  // namespace

int main() {
    const int sizes[][4] = {{1, 1, 1, 1}, {1, 1, 9, 3}, {2, 7, 1, 2}, {2, 5, 13, 9}, {1, 3, 64, 4}, {2, 4, 65, 2}, {1, 2, 130, 1}};
    for (const auto & s : sizes) {
        values_and_gradients(s[0], s[1], s[2], s[3]);
    }
    refused();
    return check::done("sta_attention");
}
