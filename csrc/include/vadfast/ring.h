/* The last T frames of one camera, side by side in memory. */

#ifndef VADFAST_RING_H
#define VADFAST_RING_H

#include <vadfast/frame.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    VAD_MEMORY_HOST = 0,
    VAD_MEMORY_CUDA = 1,
};

/* What happened to a frame that was committed to a ring. */
enum {
    VAD_RING_WARMING = 0, /* kept; fewer than n_frames since the start or the last reset: no window yet */
    VAD_RING_WINDOW  = 1, /* kept, and there is a new window */
    VAD_RING_EARLY   = 2, /* not kept: it came before the next frame is due; the slot is free again */
    VAD_RING_RESET   = 3, /* kept as the first of a new window, which it completes if n_frames is 1: a gap, or time went backwards */
};

/*
 * A frame is due one stride after the last one was due, so that the average interval is the stride, and at least tolerance_ns after the
 * last one came, so that a camera which is a trace slower does not fall behind for ever. A frame that is later than due by more than a
 * stride comes after a gap.
 */
typedef struct {
    int32_t n_frames;      /* T of the model */
    int32_t height;
    int32_t width;
    int32_t memory;        /* VAD_MEMORY_*; CUDA: of the device that is current when the ring is created */
    int64_t stride_ns;     /* from frame to frame in training; 0: every frame is kept, whatever its time */
    int64_t tolerance_ns;  /* how much earlier than due a frame may come, 0 to stride_ns; half of it suits any camera as fast or faster */
} vad_ring_options;

typedef struct vad_ring vad_ring;

VAD_API vad_status vad_ring_create(const vad_ring_options * options, vad_ring ** ring);
VAD_API void       vad_ring_free(vad_ring * ring); /* NULL is allowed */

/* Writes where the next frame goes; valid until the next commit. */
VAD_API vad_status vad_ring_slot(vad_ring * ring, vad_image * slot);

/*
 * Takes the frame in the slot, of time time_ns. Writes what happened (VAD_RING_*) and the window: the last n_frames frames
 * [n_frames, height, width, 3], contiguous, oldest first, not copied; NULL without one. It stays whole while the next
 * n_frames + 1 frames are written, so that an engine may still be reading it.
 * `stream` is the CUDA stream that filled the slot; ignored on the host.
 */
VAD_API vad_status vad_ring_commit(vad_ring * ring, int64_t time_ns, void * stream, int32_t * what, const uint8_t ** window);

/* Forgets all frames: the scene changed, the decoder lost data, the picture has another size. */
VAD_API vad_status vad_ring_reset(vad_ring * ring);

#ifdef __cplusplus
}
#endif

#endif
