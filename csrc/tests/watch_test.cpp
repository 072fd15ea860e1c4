// What watches a camera, from C: calibration with damaged states, hysteresis at any time, and the way of a frame through ring, chain, alert
// and calibrator, on which nothing is allocated and little time is spent.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <vadfast/ring.h>
#include <vadfast/score.h>

#include "allocations.h"
#include "check.h"
#include "made.h"

namespace {

using made::NOT_A_NUMBER, made::says, made::sum_of, made::whole;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool IS_SANITIZED = true;  // and slow
#else
constexpr bool IS_SANITIZED = false;
#endif

// ------------------------------------------------------------------------------------------------ calibration

const vad_calibrator_options WATCH = {0.98, 1000, 2000, 3, 0.5};

vad_calibrator * calibrator_of(const std::vector<double> & x) {
    vad_calibrator * calibrator = nullptr;
    CHECK(vad_calibrator_create(&WATCH, &calibrator) == VAD_OK);
    CHECK(vad_calibrator_push(calibrator, x.data(), int64_t(x.size()), 0) == VAD_OK);
    return calibrator;
}

std::vector<uint8_t> saved(const vad_calibrator * calibrator) {
    int64_t size = -5;
    CHECK(vad_calibrator_save(calibrator, nullptr, &size) == VAD_OK && size > 0);
    std::vector<uint8_t> bytes(size);
    CHECK(vad_calibrator_save(calibrator, bytes.data(), &size) == VAD_OK && size == int64_t(bytes.size()));
    return bytes;
}

std::string hexadecimal(double x) {
    char text[40];
    std::snprintf(text, sizeof text, "%a", x);
    return text;
}

void test_the_bits_are_those_of_python() {
    std::vector<double> x = made::of_integers(40000);
    vad_calibrator *           learner = calibrator_of(x), * watcher = nullptr;
    const std::vector<uint8_t> state = saved(learner);
    CHECK(vad_calibrator_create(&WATCH, &watcher) == VAD_OK);
    CHECK(vad_calibrator_restore(watcher, state.data(), int64_t(state.size())) == VAD_OK && saved(watcher) == state);
    for (int32_t i = 0; i < 10000; i++) {
        x[i] += 0.25;
    }
    CHECK(vad_calibrator_push(watcher, x.data(), 10000, 0) == VAD_OK);
    const std::vector<uint8_t> after = saved(watcher);
    CHECK(sum_of(after.data(), after.size() - 8) == "2de50d7d8c71e0c1");
    double threshold = 0, tail = 0, quantile = 0;
    CHECK(vad_calibrator_threshold(watcher, 1e-6, &threshold) == VAD_OK && hexadecimal(threshold) == "0x1.98933c1bf798ap+4");
    CHECK(vad_calibrator_tail(watcher, 24, &tail) == VAD_OK && hexadecimal(tail) == "0x1.ff263abbb73a4p-9");
    CHECK(vad_calibrator_quantile(watcher, 0.123, &quantile) == VAD_OK && hexadecimal(quantile) == "0x1.f71f676d03452p+1");
    vad_calibrator_free(learner);
    vad_calibrator_free(watcher);
}

// Changes of bytes, and changes of words whose checksum is made right again: refused without a trace, or a calibrator that answers.
void test_damaged_states() {
    vad_calibrator *           learner = calibrator_of(made::of_integers(3000)), * watcher = nullptr;
    const std::vector<uint8_t> state = saved(learner);
    const int64_t              size  = int64_t(state.size());
    for (int32_t run = 0; run < 2000; run++) {
        CHECK(vad_calibrator_create(&WATCH, &watcher) == VAD_OK);
        std::vector<uint8_t> bytes = state;
        const bool           mend  = run % 2 == 1;
        const int32_t        word  = whole(0, run % 4 < 2 ? 20 : int32_t(size / 8) - 2);
        bytes[8 * word + whole(0, 7)] ^= uint8_t(whole(1, 255));
        if (mend) {
            const uint64_t sum = std::stoull(sum_of(bytes.data(), size - 8), nullptr, 16);
            std::memcpy(&bytes[size - 8], &sum, 8);
        }
        const vad_status status = vad_calibrator_restore(watcher, bytes.data(), mend ? size : size - whole(0, 1) * whole(1, int32_t(size)));
        CHECK(status == VAD_E_STATE || (mend && status == VAD_OK));
        double answer = 0, other = 0;
        if (status == VAD_OK) {
            CHECK(vad_calibrator_push(watcher, made::of_integers(100).data(), 100, 0) == VAD_OK);
            CHECK(vad_calibrator_middle(watcher, &answer, &other) == VAD_OK && std::isfinite(answer) && std::isfinite(other));
            vad_calibrator_tail(watcher, 1e300, &answer);
            vad_calibrator_threshold(watcher, 1e-9, &answer);
            CHECK(int64_t(saved(watcher).size()) == size);
        } else {
            CHECK(says("calibrate again") && vad_calibrator_middle(watcher, &answer, &other) == VAD_E_ARGUMENT);
        }
        vad_calibrator_free(watcher);
    }
    CHECK(vad_calibrator_restore(learner, state.data(), -1) == VAD_E_STATE);
    CHECK(vad_calibrator_restore(learner, nullptr, 8) == VAD_E_ARGUMENT);
    vad_calibrator_free(learner);
}

void test_calibrator_refuses() {
    vad_calibrator * calibrator = nullptr;
    double           x[2] = {1, NOT_A_NUMBER}, answer = 7;
    int64_t          size = 3;
    uint8_t          bytes[3] = {9, 9, 9};
    CHECK(vad_calibrator_create(nullptr, &calibrator) == VAD_E_ARGUMENT && vad_calibrator_create(&WATCH, nullptr) == VAD_E_ARGUMENT);
    vad_calibrator_options options = WATCH;
    options.max_excesses           = INT32_MIN;
    CHECK(vad_calibrator_create(&options, &calibrator) == VAD_E_ARGUMENT && says("max_excesses must be 32 ... 16384"));
    CHECK(calibrator == nullptr);
    CHECK(vad_calibrator_create(&WATCH, &calibrator) == VAD_OK);
    CHECK(vad_calibrator_quantile(calibrator, 0.5, &answer) == VAD_E_ARGUMENT && says("must have seen scores") && answer == 7);
    CHECK(vad_calibrator_push(calibrator, x, 2, 0) == VAD_E_ARGUMENT && says("scores[1] must be finite"));
    CHECK(vad_calibrator_push(calibrator, x, INT64_MAX, 0) == VAD_E_ARGUMENT);
    CHECK(vad_calibrator_push(calibrator, x, -1, 0) == VAD_E_ARGUMENT);
    CHECK(vad_calibrator_push(calibrator, nullptr, 1, 0) == VAD_E_ARGUMENT && vad_calibrator_push(nullptr, x, 1, 0) == VAD_E_ARGUMENT);
    CHECK(vad_calibrator_push(calibrator, x, 1, 0) == VAD_OK);
    CHECK(vad_calibrator_quantile(calibrator, NOT_A_NUMBER, &answer) == VAD_E_ARGUMENT && answer == 7);
    CHECK(vad_calibrator_quantile(calibrator, 0.5, nullptr) == VAD_E_ARGUMENT);
    CHECK(vad_calibrator_middle(calibrator, nullptr, &answer) == VAD_E_ARGUMENT);
    CHECK(vad_calibrator_threshold(calibrator, 1e-3, &answer) == VAD_E_ARGUMENT && says("push more normal video") && answer == 7);
    CHECK(vad_calibrator_save(calibrator, bytes, &size) == VAD_E_ARGUMENT && says("got 3") && size == 3 && bytes[0] == 9);
    vad_calibrator_free(calibrator);
    vad_calibrator_free(nullptr);
}

// ------------------------------------------------------------------------------------------------ hysteresis

void test_alert_refuses() {
    vad_alert_rule rule  = {2, 1, 2, 3, 1, 0, 0};
    vad_alert *    alert = nullptr;
    vad_event      event = {7, 7, 7};
    int32_t        active = 7;
    CHECK(vad_alert_create(nullptr, &alert) == VAD_E_ARGUMENT && vad_alert_create(&rule, nullptr) == VAD_E_ARGUMENT);
    rule.raise_window = INT32_MAX;
    CHECK(vad_alert_create(&rule, &alert) == VAD_E_ARGUMENT && says("raise_window must be") && alert == nullptr);
    rule.raise_window = 3;
    CHECK(vad_alert_create(&rule, &alert) == VAD_OK);
    CHECK(vad_alert_push(alert, NOT_A_NUMBER, 0, &event) == VAD_E_ARGUMENT && event.kind == 7);
    CHECK(vad_alert_push(nullptr, 1, 0, &event) == VAD_E_ARGUMENT && vad_alert_push(alert, 1, 0, nullptr) == VAD_E_ARGUMENT);
    CHECK(vad_alert_finish(nullptr, &event) == VAD_E_ARGUMENT && vad_alert_finish(alert, &event) == VAD_OK && event.kind == VAD_EVENT_NONE);
    CHECK(vad_alert_active(alert, nullptr) == VAD_E_ARGUMENT && vad_alert_active(alert, &active) == VAD_OK && active == 0);
    vad_alert_free(alert);
    vad_alert_free(nullptr);
}

void test_alert_at_any_time() {
    const int64_t times[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, 3600000000000, INT64_MAX - 1, INT64_MAX};
    for (int32_t run = 0; run < 200; run++) {
        const vad_alert_rule rule  = {1, 1, 1, whole(1, 3), 1, whole(0, 2), run % 3 == 0 ? INT64_MAX : whole(0, 5)};
        vad_alert *          alert = nullptr;
        CHECK(vad_alert_create(&rule, &alert) == VAD_OK);
        int32_t n_open = 0;
        for (int32_t i = 0; i < 100; i++) {
            vad_event event;
            CHECK(vad_alert_push(alert, whole(0, 2), times[whole(0, 7)], &event) == VAD_OK);
            n_open += event.kind == VAD_EVENT_START ? 1 : event.kind == VAD_EVENT_END ? -1 : 0;
            CHECK(n_open == 0 || n_open == 1);
        }
        vad_alert_free(alert);
    }
}

// ------------------------------------------------------------------------------------------------ the way of a frame

void test_a_frame_allocates_nothing() {
    const vad_step       steps[] = {{VAD_STEP_ROBUST_Z, 0, 0, 3.0, 0.7}, {VAD_STEP_SAVGOL, 21, 2, 0, 0}, {VAD_STEP_GAUSSIAN, 15, 0, 2.0, 0},
                                    {VAD_STEP_MEDIAN, 17, 0, 0, 0}, {VAD_STEP_EXPONENTIAL_MEAN, 0, 0, 8.0, 0}};
    const vad_branch     branch = {0, 1, 1, steps, 5};
    const vad_alert_rule rule   = {3, 1, 3, 5, 10, 5, 0};
    vad_chain *          chain  = nullptr;
    vad_alert *          alert  = nullptr;
    vad_calibrator *     watcher = nullptr;
    CHECK(vad_chain_create(1, &branch, 1, &chain) == VAD_OK && vad_alert_create(&rule, &alert) == VAD_OK);
    vad_calibrator *           learner = calibrator_of(made::of_integers(5000));
    const std::vector<uint8_t> state   = saved(learner);
    CHECK(vad_calibrator_create(&WATCH, &watcher) == VAD_OK);
    CHECK(vad_calibrator_restore(watcher, state.data(), int64_t(state.size())) == VAD_OK);
    const vad_ring_options ring_options = {5, 256, 256, VAD_MEMORY_HOST, 40000000, 5000000};
    vad_ring *             ring         = nullptr;
    CHECK(vad_ring_create(&ring_options, &ring) == VAD_OK);
    constexpr int32_t         N = 20000;
    const std::vector<double> x = made::of_integers(N);
    std::vector<double>       out(N);

    const long before    = allocations::count();
    const auto begin     = std::chrono::steady_clock::now();
    bool       all_ok    = true;
    int32_t    n_windows = 0, n_events = 0;
    for (int32_t i = 0; i < N; i++) {
        const int64_t   time_ns = i * 40000000LL;
        vad_image       slot;
        const uint8_t * window = nullptr;
        double          score = 0, probability = 0;
        vad_event       event;
        int32_t         what = 0, active = 0;
        all_ok &= vad_ring_slot(ring, &slot) == VAD_OK && vad_ring_commit(ring, time_ns, nullptr, &what, &window) == VAD_OK;
        all_ok &= vad_chain_push(chain, &x[i], 1, &score) == VAD_OK && vad_alert_push(alert, score, time_ns, &event) == VAD_OK;
        all_ok &= vad_alert_active(alert, &active) == VAD_OK && vad_calibrator_push(watcher, &score, 1, active) == VAD_OK;
        all_ok &= vad_calibrator_tail(watcher, score, &probability) == VAD_OK;
        n_windows += window != nullptr;
        n_events += event.kind != VAD_EVENT_NONE;
    }
    const double us = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / N;
    CHECK(n_windows == N - 4 && n_events > 0);
    CHECK(us < 20 || IS_SANITIZED);
    all_ok &= vad_calibrator_push(learner, x.data(), N, 0) == VAD_OK && vad_chain_push(chain, x.data(), N, out.data()) == VAD_OK;
    all_ok &= vad_minmax(x.data(), N, out.data()) == VAD_OK && vad_gaussian(out.data(), N, 15, 2, out.data()) == VAD_OK;
    all_ok &= vad_savgol(out.data(), N, 21, 2, out.data()) == VAD_OK && vad_median(out.data(), N, 17, out.data()) == VAD_OK;
    CHECK(all_ok);
    const long n_allocated = allocations::count() - before;
    CHECK(n_allocated == 0 && allocations::works());
    std::printf("ring + chain of 5 steps + alert + calibrator: %.2f us a frame, %ld allocations\n", us, n_allocated);
    vad_ring_free(ring);
    vad_chain_free(chain);
    vad_alert_free(alert);
    vad_calibrator_free(learner);
    vad_calibrator_free(watcher);
}

}  // namespace

int main() {
    test_the_bits_are_those_of_python();
    test_damaged_states();
    test_calibrator_refuses();
    test_alert_refuses();
    test_alert_at_any_time();
    test_a_frame_allocates_nothing();
    return check::done("watch_test");
}
