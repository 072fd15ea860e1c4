// What criss-cross attention takes: everything is looked at before the first value is read or written.

#include "criss_cross.h"

#include "error.h"

namespace {

// Whether there are so few values, and from the first to the last one so few bytes, that nothing overflows.
bool fits(const vad_criss_cross_input & in, const vad_images & images, int32_t channels) {
    const int64_t side[] = {in.n, in.height, in.width};
    int64_t       extent = channels, n_values = channels;
    for (int i = 0; i < 3; i++) {
        int64_t step;
        if (__builtin_mul_overflow(images.stride[i], side[i] - 1, &step) || step > vad::MAX_SIZE || step < -vad::MAX_SIZE) {
            return false;
        }
        extent += step < 0 ? -step : step;
        if (!vad::is_product_small(n_values, side[i])) {
            return false;
        }
        n_values *= side[i];
    }
    return extent <= vad::MAX_SIZE;
}

}  // namespace

vad_status vad::check_criss_cross(const char * function, const vad_criss_cross_input & in, vad_threads threads) {
    if (in.q.data == nullptr || in.k.data == nullptr || in.v.data == nullptr) {
        return missing(function, in.q.data == nullptr ? "q.data" : in.k.data == nullptr ? "k.data" : "v.data");
    }
    if (in.n < 1 || vad_criss_cross_scratch(in.height, in.width, in.d, in.c, threads.n) == 0) {
        return fail(VAD_E_ARGUMENT,
                    "%s: sizes and threads must be at least 1, and small enough for memory, got n %d, height %d, width %d, d %d, c %d, "
                    "threads %d",
                    function, in.n, in.height, in.width, in.d, in.c, threads.n);
    }
    const struct {
        const char * name;
        vad_images   images;
        int32_t      channels;
    } all[] = {{"q", in.q, in.d}, {"k", in.k, in.d}, {"v", in.v, in.c}};
    for (const auto & [name, images, channels] : all) {
        if (!fits(in, images, channels)) {
            return fail(VAD_E_ARGUMENT,
                        "%s: %s must have and span at most 2^40 values, got [%d, %d, %d, %d] with strides %lld, %lld, %lld; pass fewer",
                        function, name, in.n, in.height, in.width, channels, (long long)images.stride[0], (long long)images.stride[1],
                        (long long)images.stride[2]);
        }
    }
    return VAD_OK;
}
