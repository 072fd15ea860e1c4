// What a caller lends an operator: memory, and threads that are none.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

namespace lent {

struct Free {
    void operator()(void * memory) const { std::free(memory); }
};

// `n` numbers, aligned to 64 bytes.
template <typename T>
std::unique_ptr<T, Free> scratch_of(int64_t n) {
    return std::unique_ptr<T, Free>(static_cast<T *>(std::aligned_alloc(64, size_t(n) * sizeof(T))));
}

inline void one_after_the_other(void (*work)(void *), void * data, unsigned n_threads, unsigned) {
    for (unsigned i = 0; i < n_threads; i++) {
        work(data);
    }
}

}  // namespace lent
