// Work handed out item by item to several threads: none waits for one whose core is busy with something else.
//
// Threads are lent by the caller or made anew, about 20 us each: little for what is asked to be done by several, and one camera's frame is
// asked for with one thread, which makes none and allocates nothing.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>

#include <vadfast/threads.h>

namespace vad {

// Calls work(thread, i) for every i in [0, n), each once; `thread` is below threads.n, and no two calls at a time have the same. Which
// thread has which item differs from run to run: a result must not depend on it. Where the machine has no thread or no memory for one left,
// fewer do it all.
template <typename Work>
void parallel(vad_threads threads, int64_t n, const Work & work) {
    std::atomic<int64_t> next{0};
    std::atomic<int32_t> next_thread{0};
    auto                 take = [&] {
        const int32_t thread = next_thread++;
        for (int64_t i = next++; i < n; i = next++) {
            work(thread, i);
        }
    };
    const int32_t n_threads = int32_t(std::clamp<int64_t>(n, 1, std::clamp(threads.n, 1, VAD_MAX_THREADS)));
    if (n_threads > 1 && threads.run != nullptr) {
        threads.run([](void * data) { (*static_cast<decltype(take) *>(data))(); }, &take, unsigned(n_threads), 0);
        return;
    }
    std::thread others[VAD_MAX_THREADS];
    for (int32_t i = 1; i < n_threads; i++) {
        try {
            others[i] = std::thread(take);
        } catch (const std::exception &) {
            break;
        }
    }
    take();
    for (std::thread & other : others) {
        if (other.joinable()) {
            other.join();
        }
    }
}

}  // namespace vad
