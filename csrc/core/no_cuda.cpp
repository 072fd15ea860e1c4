// The CUDA functions of a build without CUDA: they say so.

#include <vadfast/frame.h>

#include "error.h"
#include "ring_memory.h"

namespace {

vad_status refuse(const char * function) {
    return vad::fail(VAD_E_DEVICE, "%s: this build has no CUDA (vad_build_info says what it has); build with nvcc, or call the CPU form",
                     function);
}

}  // namespace

vad_status vad_preprocess_cuda(const vad_picture *, const vad_image *, int32_t, void *) {
    return refuse("vad_preprocess_cuda");
}

vad_status vad_frame_score_cuda(const vad_frame_pair *, const vad_frame_scores *, void *, int64_t, void *) {
    return refuse("vad_frame_score_cuda");
}

vad_status vad::device_allocate(const char * function, int64_t, uint8_t **) {
    return refuse(function);
}

void vad::device_free(uint8_t *) {}

vad_status vad::device_copy(const char * function, uint8_t *, const uint8_t *, int64_t, void *) {
    return refuse(function);
}

int32_t vad::device_of(const uint8_t *) {
    return 0;
}
