// A test is a main(): CHECK says what is wrong and goes on, done() says how many were and is what main returns.

#pragma once

#include <cstdio>

namespace check {

inline int n_checked = 0;
inline int n_failed  = 0;

inline int done(const char * name) {
    std::printf("%s: %d checks, %d failed\n", name, n_checked, n_failed);
    return n_failed == 0 && n_checked > 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition)                                                          \
    do {                                                                          \
        check::n_checked++;                                                       \
        if (!(condition)) {                                                       \
            check::n_failed++;                                                    \
            std::printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
        }                                                                         \
    } while (false)
