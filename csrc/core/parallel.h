// Work on slices of a range by several threads, each slice known before it starts.
//
// Threads are made anew, about 20 us each: nothing for thousands of frames, and one camera's frame is asked for with n_threads = 1,
// which makes none and allocates nothing.

#pragma once

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <thread>

#include "error.h"

namespace vad {

constexpr int32_t MAX_THREADS = 256;

// Calls work(begin, end) on n_threads slices of [0, n), one of them in this thread. Where the machine has no thread left the slices
// that have none are done in this one.
template <typename Work>
void parallel(int32_t n_threads, int64_t n, const Work & work) {
    const int64_t n_slices = std::min<int64_t>(std::clamp(n_threads, 1, MAX_THREADS), n);
    std::thread threads[MAX_THREADS];
    auto slice = [&](int64_t i) { work(i * n / n_slices, (i + 1) * n / n_slices); };
    for (int64_t i = 1; i < n_slices; i++) {
        try {
            threads[i] = std::thread(slice, i);
        } catch (const std::system_error &) {
            slice(i);
        }
    }
    if (n_slices > 0) {
        slice(0);
    }
    for (std::thread & thread : threads) {
        if (thread.joinable()) {
            thread.join();
        }
    }
}

}  // namespace vad
