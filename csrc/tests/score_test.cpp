// The score chain from C: random sizes, the edges of every argument, and the same bits as from Python.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <vadfast/score.h>

#include "../core/elementary.h"
#include "check.h"
#include "made.h"

namespace {

using made::NOT_A_NUMBER, made::says, made::sum_of, made::uniform, made::values, made::whole;

bool is_within_4_units(double found, double wanted) {
    return std::fabs(found - wanted) <= 4 * std::fabs(wanted) * std::numeric_limits<double>::epsilon();
}

void test_elementary() {
    for (int32_t i = 0; i < 200000; i++) {
        const double x = uniform(-700, 700), y = std::exp(uniform(-40, 40)) - 1, small = uniform(-0.5, 0.5);
        CHECK(is_within_4_units(vad::elementary::exp(x), std::exp(x)));
        CHECK(is_within_4_units(vad::elementary::expm1(x / 100), std::expm1(x / 100)));
        CHECK(is_within_4_units(vad::elementary::log(std::exp(x)), std::log(std::exp(x))));
        CHECK(is_within_4_units(vad::elementary::log(1 + small), std::log(1 + small)));
        CHECK(is_within_4_units(vad::elementary::log1p(y), std::log1p(y)));
        CHECK(is_within_4_units(vad::elementary::log1p(small), std::log1p(small)));
        CHECK(is_within_4_units(vad::elementary::expm1(small), std::expm1(small)));
    }
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK(vad::elementary::exp(-infinity) == 0 && vad::elementary::exp(infinity) == infinity && vad::elementary::exp(0) == 1);
    CHECK(vad::elementary::expm1(-infinity) == -1 && vad::elementary::log1p(infinity) == infinity);
    CHECK(std::isnan(vad::elementary::exp(NOT_A_NUMBER)) && std::isnan(vad::elementary::log1p(NOT_A_NUMBER)));
}

// ------------------------------------------------------------------------------------------------ whole videos

double median_about(const std::vector<double> & x, int64_t at, int32_t length) {
    std::vector<double> window(length);
    for (int32_t i = 0; i < length; i++) {
        window[i] = x[std::clamp<int64_t>(at + i - length / 2, 0, int64_t(x.size()) - 1)];
    }
    std::nth_element(window.begin(), window.begin() + length / 2, window.end());
    return window[length / 2];
}

void test_videos() {
    for (int32_t run = 0; run < 300; run++) {
        const int32_t       n = whole(1, run % 10 == 0 ? 5000 : 200), length = 2 * whole(0, run % 10 == 0 ? 511 : 30) + 1;
        std::vector<double> x = values(n), out(n, 7), again = x;
        CHECK(vad_median(x.data(), n, length, out.data()) == VAD_OK);
        for (int32_t k = 0; k < 20; k++) {
            const int32_t at = k == 0 ? 0 : k == 1 ? n - 1 : whole(0, n - 1);
            CHECK(out[at] == median_about(x, at, length));
        }
        CHECK(vad_median(again.data(), n, length, again.data()) == VAD_OK && again == out);
        CHECK(vad_minmax(x.data(), n, out.data()) == VAD_OK);
        CHECK(*std::min_element(out.begin(), out.end()) == 0 && *std::max_element(out.begin(), out.end()) <= 1);
        CHECK(vad_gaussian(x.data(), n, length, uniform(0.1, 30), out.data()) == VAD_OK);
        CHECK(std::fabs(out[n / 2]) <= 5.000001);
        CHECK(vad_savgol(x.data(), n, length, std::min(2, length - 1), out.data()) == (n < length ? VAD_E_ARGUMENT : VAD_OK));
    }
}

void test_videos_refuse() {
    std::vector<double> x(3000, 1), out(3000, 7);
    CHECK(vad_minmax(nullptr, 3000, out.data()) == VAD_E_ARGUMENT && says("x must not be NULL"));
    CHECK(vad_minmax(x.data(), 3000, nullptr) == VAD_E_ARGUMENT && says("out must not be NULL"));
    CHECK(vad_minmax(x.data(), -1, out.data()) == VAD_E_ARGUMENT && says("n must be 0 or more"));
    CHECK(vad_median(x.data(), INT64_MAX, 3, out.data()) == VAD_E_ARGUMENT && says("must fit in memory"));
    CHECK(vad_median(x.data() + 1, 2000, 3, x.data()) == VAD_E_ARGUMENT && says("out must be x itself or not overlap it"));
    CHECK(vad_gaussian(x.data(), 3000, INT32_MIN, 1, out.data()) == VAD_E_ARGUMENT && says("n_taps must be odd"));
    CHECK(vad_gaussian(x.data(), 3000, 3, NOT_A_NUMBER, out.data()) == VAD_E_ARGUMENT && says("sigma must be above 0"));
    CHECK(vad_savgol(x.data(), 3000, 1023, 10, out.data()) == VAD_E_ARGUMENT && says("order must be 0 ... 9"));
    x[2999] = NOT_A_NUMBER;
    CHECK(vad_minmax(x.data(), 3000, out.data()) == VAD_E_ARGUMENT && says("x[2999] must be finite"));
    CHECK(vad_savgol(x.data(), 3000, 21, 2, out.data()) == VAD_E_ARGUMENT && says("x[2999] must be finite"));
    CHECK(std::all_of(out.begin(), out.end(), [](double value) { return value == 7; }));
    CHECK(vad_minmax(nullptr, 0, nullptr) == VAD_OK);
}

// ------------------------------------------------------------------------------------------------ chain

const vad_step   STEPS[] = {{VAD_STEP_ROBUST_Z, 0, 0, 3.0, 0.7}, {VAD_STEP_SAVGOL, 21, 2, 0, 0}, {VAD_STEP_GAUSSIAN, 15, 0, 2.0, 0},
                            {VAD_STEP_MEDIAN, 17, 0, 0, 0}, {VAD_STEP_EXPONENTIAL_MEAN, 0, 0, 8.0, 0}};
const vad_branch BRANCH  = {0, 1, 1, STEPS, 4};

void test_chain() {
    for (int32_t run = 0; run < 60; run++) {
        vad_step steps[3] = {STEPS[whole(0, 4)], STEPS[whole(0, 4)], {VAD_STEP_MEDIAN, whole(1, 400), 0, 0, 0}};
        const vad_branch    branches[2] = {{1, -1, uniform(-2, 2), steps, 3}, {0, 1, 1, steps, whole(0, 2)}};
        vad_chain *         together = nullptr, * apart = nullptr;
        const int32_t       n = whole(1, 1500);
        std::vector<double> x = values(2 * n), wanted(n), found(n);
        CHECK(vad_chain_create(2, branches, 2, &together) == VAD_OK && vad_chain_create(2, branches, 2, &apart) == VAD_OK);
        CHECK(vad_chain_push(together, x.data(), n, wanted.data()) == VAD_OK);
        for (int32_t i = 0; i < n;) {
            const int32_t n_now = std::min(n - i, whole(1, 5));
            CHECK(vad_chain_push(apart, x.data() + 2 * i, n_now, found.data() + i) == VAD_OK);
            i += n_now;
        }
        CHECK(found == wanted);
        CHECK(vad_chain_reset(apart) == VAD_OK && vad_chain_push(apart, x.data(), n, found.data()) == VAD_OK && found == wanted);
        vad_chain_free(together);
        vad_chain_free(apart);
    }
}

void test_chain_survives_an_overflow() {
    const vad_step   steps[] = {{VAD_STEP_ROBUST_Z, 0, 0, 0, 1e-300}, {VAD_STEP_EXPONENTIAL_MEAN, 0, 0, 2, 0},
                                {VAD_STEP_MEDIAN, 9, 0, 0, 0}, {VAD_STEP_MEDIAN, 301, 0, 0, 0}, {VAD_STEP_SAVGOL, 9, 2, 0, 0}};
    const vad_branch branch  = {0, 1, 1, steps, 5};
    vad_chain *      chain   = nullptr;
    CHECK(vad_chain_create(1, &branch, 1, &chain) == VAD_OK);
    std::vector<double> x(2000), scores(2000);
    for (double & value : x) {
        value = uniform(-1e300, 1e300);
    }
    CHECK(vad_chain_push(chain, x.data(), 2000, scores.data()) == VAD_OK);
    CHECK(vad_chain_reset(chain) == VAD_OK);
    for (int32_t i = 0; i < 2000; i++) {
        double score = 0;
        CHECK(vad_chain_push(chain, &x[i], 1, &score) == VAD_OK);
        CHECK(score == scores[i] && std::fabs(score) <= 1e300);
    }
    vad_chain_free(chain);
}

void test_chain_refuses() {
    vad_chain * chain = nullptr;
    double      x[2] = {1, NOT_A_NUMBER}, scores[2] = {7, 7};
    vad_branch  branch = BRANCH;
    CHECK(vad_chain_create(1, &branch, 1, nullptr) == VAD_E_ARGUMENT && says("chain must not be NULL"));
    CHECK(vad_chain_create(0, &branch, 1, &chain) == VAD_E_ARGUMENT && says("n_components must be at least 1"));
    CHECK(vad_chain_create(1, nullptr, 1, &chain) == VAD_E_ARGUMENT && says("branches must not be NULL"));
    CHECK(vad_chain_create(1, &branch, -1, &chain) == VAD_E_ARGUMENT && vad_chain_create(1, &branch, INT32_MAX, &chain) == VAD_E_ARGUMENT);
    branch.steps = nullptr;
    CHECK(vad_chain_create(1, &branch, 1, &chain) == VAD_E_ARGUMENT && says("steps of a branch that has some must not be NULL"));
    vad_step step = {99, 0, 0, 0, 0};
    branch.steps = &step;
    branch.n_steps = 1;
    CHECK(vad_chain_create(1, &branch, 1, &chain) == VAD_E_ARGUMENT && says("kind must be one of"));
    CHECK(chain == nullptr);
    CHECK(vad_chain_create(1, &BRANCH, 1, &chain) == VAD_OK);
    CHECK(vad_chain_push(nullptr, x, 1, scores) == VAD_E_ARGUMENT && vad_chain_push(chain, nullptr, 1, scores) == VAD_E_ARGUMENT);
    CHECK(vad_chain_push(chain, x, 1, nullptr) == VAD_E_ARGUMENT && vad_chain_push(chain, x, -1, scores) == VAD_E_ARGUMENT);
    CHECK(vad_chain_push(chain, x, INT64_MAX, scores) == VAD_E_ARGUMENT && says("must fit in memory"));
    CHECK(vad_chain_push(chain, x, 2, scores) == VAD_E_ARGUMENT && says("components[1, 0] must be finite") && scores[0] == 7);
    double both[4] = {1, 2, 3, 4};
    CHECK(vad_chain_push(chain, both, 2, both) == VAD_E_ARGUMENT && says("scores must not overlap components") && both[0] == 1);
    CHECK(vad_chain_push(chain, both, 3, both + 2) == VAD_E_ARGUMENT && both[2] == 3);
    CHECK(vad_chain_push(chain, both + 1, 3, both) == VAD_E_ARGUMENT && both[0] == 1);
    CHECK(vad_chain_push(chain, both, 2, both + 2) == VAD_OK && vad_chain_push(chain, both + 2, 2, both) == VAD_OK);
    CHECK(vad_chain_push(chain, nullptr, 0, nullptr) == VAD_OK && vad_chain_reset(nullptr) == VAD_E_ARGUMENT);
    vad_chain_free(chain);
    vad_chain_free(nullptr);
}

void test_the_bits_are_those_of_python() {
    std::vector<double> x = made::of_integers(5000), video(5000), median(5000), live(5000);
    CHECK(vad_minmax(x.data(), 5000, video.data()) == VAD_OK && vad_gaussian(video.data(), 5000, 15, 2, video.data()) == VAD_OK);
    CHECK(vad_savgol(video.data(), 5000, 21, 2, video.data()) == VAD_OK && vad_median(video.data(), 5000, 17, median.data()) == VAD_OK);
    vad_chain * chain = nullptr;
    CHECK(vad_chain_create(1, &BRANCH, 1, &chain) == VAD_OK && vad_chain_push(chain, x.data(), 5000, live.data()) == VAD_OK);
    vad_chain_free(chain);
    CHECK(sum_of(video) == "f568f33dddceecc0");
    CHECK(sum_of(median) == "406e1b575a19b5f4");
    CHECK(sum_of(live) == "208e38d74e5abeaf");
}

}  // namespace

int main() {
    test_elementary();
    test_videos();
    test_videos_refuse();
    test_chain();
    test_chain_survives_an_overflow();
    test_chain_refuses();
    test_the_bits_are_those_of_python();
    return check::done("score_test");
}
