// Work handed out item by item to several threads: none waits for one whose core is busy with something else.
//
// Threads are made anew, about 20 us each: little for what is asked to be done by several, and one camera's frame is asked for with
// n_threads = 1, which makes none and allocates nothing.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>

namespace vad {

constexpr int32_t MAX_THREADS = 256;

// Calls work(thread, i) for every i in [0, n), each once; `thread` is below n_threads, and no two calls at a time have the same. Which
// thread has which item differs from run to run: a result must not depend on it. Where the machine has no thread left, fewer do it all.
template <typename Work>
void parallel(int32_t n_threads, int64_t n, const Work & work) {
    std::atomic<int64_t> next{0};
    const auto           take = [&](int32_t thread) {
        for (int64_t i = next++; i < n; i = next++) {
            work(thread, i);
        }
    };
    std::thread   others[MAX_THREADS];
    const int32_t n_others = int32_t(std::clamp<int64_t>(n, 1, std::clamp(n_threads, 1, MAX_THREADS))) - 1;
    for (int32_t i = 0; i < n_others; i++) {
        try {
            others[i] = std::thread(take, i + 1);
        } catch (const std::system_error &) {
            break;
        }
    }
    take(0);
    for (std::thread & other : others) {
        if (other.joinable()) {
            other.join();
        }
    }
}

}  // namespace vad
