/* From a camera's picture to the model's input, and from a prediction to its error. */

#ifndef VADFAST_FRAME_H
#define VADFAST_FRAME_H

#include <vadfast/threads.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ preprocess */

enum {
    VAD_FORMAT_NV12 = 0, /* planes Y and UV (interleaved, half size) */
    VAD_FORMAT_I420 = 1, /* planes Y, U, V (half size) */
    VAD_FORMAT_BGR  = 2,
    VAD_FORMAT_RGB  = 3,
    VAD_FORMAT_GRAY = 4,
};

/* A picture of 8 bits a sample. YUV is BT.601, limited range, as cv2.cvtColor reads it. */
typedef struct {
    int32_t         format;    /* VAD_FORMAT_* */
    int32_t         width;     /* of the whole picture; NV12 and I420: even */
    int32_t         height;
    const uint8_t * plane[3];
    int64_t         pitch[3];  /* bytes from one row of a plane to the next */
    int32_t         crop_x;    /* the region that is resized; NV12 and I420: even; all four 0: everything */
    int32_t         crop_y;
    int32_t         crop_width;
    int32_t         crop_height;
} vad_picture;

/* Where a picture goes: RGB, 8 bits, interleaved; usually a slot of a ring. */
typedef struct {
    uint8_t * data;
    int64_t   pitch;  /* bytes from row to row, at least 3 * width */
    int32_t   width;
    int32_t   height;
} vad_image;

/*
 * Resizes pictures[i] into images[i], i < n: bilinear with pixel centres at (i + 1/2) * in / out - 1/2 and borders repeated, which is
 * cv2.resize(INTER_LINEAR) after cv2.cvtColor, bit for bit: models are trained with it. No image may overlap a picture or another image.
 */
VAD_API vad_status vad_preprocess(const vad_picture * pictures, const vad_image * images, int32_t n);

/*
 * The same on the CUDA stream, 64 pictures a launch; planes and images are memory of the current device, `pictures` and `images`
 * themselves are on the host.
 */
VAD_API vad_status vad_preprocess_cuda(const vad_picture * pictures, const vad_image * images, int32_t n, void * stream);

/* ------------------------------------------------------------------------------------------------ frame score */

enum {
    VAD_DTYPE_U8   = 0,
    VAD_DTYPE_F16  = 1,
    VAD_DTYPE_BF16 = 2,
    VAD_DTYPE_F32  = 3,
};

/* Frames [n, channels, height, width], in any order in memory. */
typedef struct {
    const void * data;
    int32_t      dtype;      /* VAD_DTYPE_* */
    int64_t      stride[4];  /* of frame, channel, row, column, in elements */
    float        black;      /* the value that means 0, and the one that means 1: 0 and 255, 0 and 1, or -1 and 1 */
    float        white;
} vad_frames;

#define VAD_MAX_GRID_COLUMNS 4096 /* of patches and heat map: sums of a row of cells are kept on the stack */

/* What is compared, and how it is gathered. */
typedef struct {
    int32_t       n;
    int32_t       channels;
    int32_t       height;
    int32_t       width;
    vad_frames    predicted;
    vad_frames    truth;
    const float * weight;  /* [n, weight_rows, weight_columns], contiguous: errors are multiplied by it (STD); NULL: by 1 */
    int32_t       weight_rows;
    int32_t       weight_columns;
    int32_t       patch_rows;  /* grids: cell (i, j) is rows [i H / rows, (i + 1) H / rows), columns alike, rounded down */
    int32_t       patch_columns;
    int32_t       heatmap_rows;
    int32_t       heatmap_columns;
} vad_frame_pair;

/*
 * Where results go; NULL: not wanted. With e = weight * (predicted - truth)^2 in units of white - black, means over the channels too:
 */
typedef struct {
    double * error;     /* [n]                                   mean of e */
    double * psnr_db;   /* [n]                                   10 log10(1 / max(error, 1e-10)) */
    double * channel;   /* [n, channels]                         mean of e in a channel */
    double * worst;     /* [n]                                   largest mean of e over the patches */
    float *  heatmap;   /* [n, heatmap_rows, heatmap_columns]    mean of e in a cell */
} vad_frame_scores;

/*
 * One pass over both, float32 differences, sums in float64: the same bits however many threads and whatever the CPU. A value that is
 * not finite makes every mean that it is part of not finite, so error, psnr_db and worst of its frame, and nothing of another frame.
 * Threads take whole frames: more of them than frames are not used. Results must not overlap each
 * other, nor lie between the first and the last value of what is read.
 */
VAD_API vad_status vad_frame_score(const vad_frame_pair * pair, const vad_frame_scores * scores, vad_threads threads);

/* Writes how many bytes of device memory vad_frame_score_cuda wants for its partial sums. */
VAD_API vad_status vad_frame_score_scratch(const vad_frame_pair * pair, const vad_frame_scores * scores, int64_t * bytes);

/*
 * The same on the CUDA stream, the same bits each time; every pointer inside and `scratch` is memory of the current device, `pair` and
 * `scores` are not.
 */
VAD_API vad_status vad_frame_score_cuda(const vad_frame_pair * pair, const vad_frame_scores * scores, void * scratch, int64_t scratch_bytes,
                                        void * stream);

#ifdef __cplusplus
}
#endif

#endif
