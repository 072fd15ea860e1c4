// What STA's attention takes: everything is looked at before the first value is read or written.

#include "sta_attention.h"

#include "error.h"

namespace {

constexpr int64_t MAX_VALUES = int64_t(1) << 40;  // far below overflow, far above memory

}  // namespace

int64_t vad_sta_attention_scratch(int32_t n, int32_t height, int32_t width, int32_t n_harmonics, int32_t n_threads) {
    if (n < 1 || height < 1 || width < 1 || n_harmonics < 1 || n_harmonics > VAD_STA_MAX_HARMONICS || n_threads < 1) {
        return 0;
    }
    // A padded row or column is at most BLOCK times as long, and 2^40 of them still fit.
    if (int64_t(height) > MAX_VALUES / width / n) {
        return 0;
    }
    return vad::sta::Sizes(n, height, width, n_harmonics, n_threads).total();
}

vad_status vad::sta::check(const char * function, const vad_sta_attention_input & in, const double * scratch, vad_threads threads) {
    if (in.f == nullptr || in.planes == nullptr || in.kernel == nullptr) {
        return missing(function, in.f == nullptr ? "f" : in.planes == nullptr ? "planes" : "kernel");
    }
    if (scratch == nullptr) {
        return missing(function, "scratch");
    }
    if (vad_sta_attention_scratch(in.n, in.height, in.width, in.n_harmonics, threads.n) == 0) {
        return fail(VAD_E_ARGUMENT,
                    "%s: sizes and threads must be at least 1, harmonics at most %d and values at most 2^40, got n %d, height %d, "
                    "width %d, harmonics %d, threads %d",
                    function, VAD_STA_MAX_HARMONICS, in.n, in.height, in.width, in.n_harmonics, threads.n);
    }
    if (reinterpret_cast<uintptr_t>(scratch) % 64 != 0) {
        return fail(VAD_E_ARGUMENT, "%s: scratch must be aligned to 64 bytes, got %p", function, static_cast<const void *>(scratch));
    }
    return VAD_OK;
}

vad_status vad::sta::check_apart(const char * function, std::initializer_list<Part> results, std::initializer_list<Part> inputs) {
    for (const Part * result = results.begin(); result != results.end(); result++) {
        for (const auto & others : {inputs, results}) {
            for (const Part & other : others) {
                if (&other != result && overlap(result->bytes, other.bytes)) {
                    return fail(VAD_E_ARGUMENT, "%s: %s must not overlap %s", function, result->name, other.name);
                }
            }
        }
    }
    return VAD_OK;
}
