// What criss-cross attention takes: sizes and strides that cannot overflow.

#pragma once

#include <cstdint>

#include <vadfast/operators.h>

namespace vad {

constexpr int64_t MAX_SIZE = int64_t(1) << 40;  // of a product of sizes: far below overflow, far above memory

inline bool is_product_small(int64_t a, int64_t b) {
    return a <= MAX_SIZE / b;
}

// Refuses what cannot be right, with a sentence that opens with `function`.
vad_status check_criss_cross(const char * function, const vad_criss_cross_input & input, vad_threads threads);

}  // namespace vad
