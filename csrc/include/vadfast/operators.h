/* Operators of the models that are faster here than as a sequence of tensor operations: on CPUs, float32. */

#ifndef VADFAST_OPERATORS_H
#define VADFAST_OPERATORS_H

#include <vadfast/threads.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Writes x [n, channels, positions] as out [n, positions, channels], both contiguous: images as a product of lines wants them.
 */
VAD_API vad_status vad_channels_last(const float * x, int32_t n, int32_t channels, int64_t positions, float * out, vad_threads threads);

/* Images [n, height, width, channels], the channels of a position side by side. */
typedef struct {
    const float * data;
    int64_t       stride[3];  /* of image, row, column, in elements */
} vad_images;

/*
 * Criss-cross attention: for every position the mean of v over its row and its column (itself once), weighted by exp(q . k).
 * q, k have d channels, v has c.
 */
typedef struct {
    int32_t    n;
    int32_t    height;
    int32_t    width;
    int32_t    d;
    int32_t    c;
    vad_images q;
    vad_images k;
    vad_images v;
} vad_criss_cross_input;

/* Returns how many floats of scratch memory a call with n_threads needs; 0 for sizes that cannot be right, or that no memory holds. */
VAD_API int64_t vad_criss_cross_scratch(int32_t height, int32_t width, int32_t d, int32_t c, int32_t n_threads);

/*
 * Writes y [n, height, width, c] and state [n, height, width, 2], contiguous: the largest score of each position in units of log 2,
 * and the sum of its weights below it. `scratch` is aligned to 64 bytes. Neither overlaps the other or the input. The same bits however
 * many threads.
 */
VAD_API vad_status vad_criss_cross(const vad_criss_cross_input * input, float * y, float * state, float * scratch, vad_threads threads);

/*
 * STA's attention, y = f + the mean of f over each element's row and column (itself once), weighted by exp of the cosine of q = f wq + bq
 * and k = f wk + bk, by the Fourier series of that exp: time linear in the number of elements.
 */
typedef struct {
    int32_t       n;           /* bags */
    int32_t       height;      /* segments */
    int32_t       width;       /* features */
    int32_t       n_harmonics; /* of the series, up to VAD_STA_MAX_HARMONICS: 9 are float32 round-off */
    const float * f;           /* [n, height, width], contiguous */
    const float * planes;      /* [10]: |w|, b along w, b across it, for q and for k; then their planes' axes' products by rows */
    const float * kernel;      /* [2 n_harmonics + 1, 2 n_harmonics + 1]: the series, by 1, cos t, sin t, cos 2t, ... of q and of k */
} vad_sta_attention_input;

#define VAD_STA_MAX_HARMONICS 40

/* Returns how many doubles of scratch memory a call of either function needs; 0 for sizes that cannot be right, or that no memory holds. */
VAD_API int64_t vad_sta_attention_scratch(int32_t n, int32_t height, int32_t width, int32_t n_harmonics, int32_t n_threads);

/* Writes y [n, height, width], contiguous. `scratch` is aligned to 64 bytes. The same bits however many threads. */
VAD_API vad_status vad_sta_attention(const vad_sta_attention_input * input, float * y, double * scratch, vad_threads threads);

/* Writes df, the gradient of f, and those of planes [10] and of kernel for dy, that of y, like f. The same bits however many threads. */
VAD_API vad_status vad_sta_attention_backward(const vad_sta_attention_input * input, const float * dy, float * df, double * dplanes,
                                              double * dkernel, double * scratch, vad_threads threads);

#ifdef __cplusplus
}
#endif

#endif
