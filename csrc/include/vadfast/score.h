/* From a model's components to a score, to what is normal for this camera, and to events. */

#ifndef VADFAST_SCORE_H
#define VADFAST_SCORE_H

#include <vadfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VAD_MAX_VALUE 1e300 /* larger counts as not finite, in all of this header: so a difference and a weighted sum stay finite */
#define VAD_MAX_LENGTH 1023 /* of a window, in frames */
#define VAD_MAX_ORDER 9     /* of a polynomial: more follows every wiggle */

/* ------------------------------------------------------------------------------------------------ score chain, whole videos */

/*
 * All of n values in order; `out` [n] is `x` itself or does not overlap it. A value that is not finite is an argument that cannot be right.
 */

/* (x - min) / (max - min); 0 where all are equal. */
VAD_API vad_status vad_minmax(const double * x, int64_t n, double * out);

/* n_taps (odd) weights exp(-(i / sigma)^2 / 2) over their sum; the first and last value repeated beyond the ends. */
VAD_API vad_status vad_gaussian(const double * x, int64_t n, int32_t n_taps, double sigma, double * out);

/*
 * Least squares of a polynomial over `length` (odd) values, read in the middle; at the ends read from the outermost fit (scipy "interp"),
 * so n is at least `length`.
 */
VAD_API vad_status vad_savgol(const double * x, int64_t n, int32_t length, int32_t order, double * out);

/* Median of `length` (odd) values about each; the first and last value repeated beyond the ends. */
VAD_API vad_status vad_median(const double * x, int64_t n, int32_t length, double * out);

/* ------------------------------------------------------------------------------------------------ score chain, live */

enum {
    VAD_STEP_ROBUST_Z         = 0, /* (x - a) / b: median and scale of normal video */
    VAD_STEP_EXPONENTIAL_MEAN = 1, /* y += (x - y) (1 - 2^(-1 / a)), started at the first x: half-life of a frames */
    VAD_STEP_SAVGOL           = 2, /* least squares of a polynomial of `order` over the last `length` values, read at the newest */
    VAD_STEP_MEDIAN           = 3, /* of the last `length` values */
    VAD_STEP_GAUSSIAN         = 4, /* the newer half of `length` (odd) weights of width a, over their sum */
};

typedef struct {
    int32_t kind;    /* VAD_STEP_* */
    int32_t length;  /* frames */
    int32_t order;
    double  a;
    double  b;
} vad_step;

/* One component's part of the score: weight * steps(sign * component). */
typedef struct {
    int32_t          column;  /* of the component among those that are pushed */
    double           sign;    /* 1, or -1 where high is normal */
    double           weight;
    const vad_step * steps;
    int32_t          n_steps;
} vad_branch;

typedef struct vad_chain vad_chain;

/*
 * Before `length` values came, a step uses those that did (a polynomial of a lower order where they are too few). A result of a step
 * beyond VAD_MAX_VALUE is cut to it.
 */
VAD_API vad_status vad_chain_create(int32_t n_components, const vad_branch * branches, int32_t n_branches, vad_chain ** chain);
VAD_API void       vad_chain_free(vad_chain * chain);

/* Writes the scores [n] of n successive frames' components [n, n_components], high = abnormal. The two must not overlap. */
VAD_API vad_status vad_chain_push(vad_chain * chain, const double * components, int64_t n, double * scores);
VAD_API vad_status vad_chain_reset(vad_chain * chain);

/* ------------------------------------------------------------------------------------------------ calibration */

/*
 * What scores of normal video look like, in bounded memory: quantiles of all of them (a t-digest), the tail above tail_quantile (a
 * generalised Pareto fitted to the largest excesses), and where the middle has drifted to.
 *
 * A new calibrator learns from every score. A restored one watches: quantiles and tail keep the shape that was learned, and move and
 * stretch with the median and scale, which alone follow the camera. So an intruder who stays just below the threshold cannot raise it
 * but by max_drift, and a restart in the middle of an incident learns nothing new.
 */
typedef struct {
    double  tail_quantile;     /* 0.98: above it the fitted tail speaks, below it the quantiles */
    int32_t max_excesses;      /* how many of the largest scores the tail is fitted to, at most: 32 ... 16384 */
    double  half_life_frames;  /* of the median and scale of a calibrator that watches; 0: they do not move */
    double  clip;              /* one score moves them as if it were at most this many scales away */
    double  max_drift;         /* per half-life, in scales of the start: how far the median may move, and how far the scale may grow; it
                                  shrinks by a factor of 1 + max_drift at most, and never below a quarter of the start's */
} vad_calibrator_options;

typedef struct vad_calibrator vad_calibrator;

VAD_API vad_status vad_calibrator_create(const vad_calibrator_options * options, vad_calibrator ** calibrator);
VAD_API void       vad_calibrator_free(vad_calibrator * calibrator);

/* Takes n scores. `frozen` (not 0: an alarm is on, vad_alert_active) leaves all as it is: an incident is not learned as normal. */
VAD_API vad_status vad_calibrator_push(vad_calibrator * calibrator, const double * scores, int64_t n, int32_t frozen);

/* Writes the running median and scale (1.4826 x median absolute deviation). */
VAD_API vad_status vad_calibrator_middle(const vad_calibrator * calibrator, double * median, double * scale);

/* Writes the value below which a share `quantile` in [0, 1] of the scores lies. */
VAD_API vad_status vad_calibrator_quantile(const vad_calibrator * calibrator, double quantile, double * value);

/*
 * Writes how likely a score of normal video is above `score`; beyond all that was seen by the fitted tail, which needs 32 scores above
 * tail_quantile.
 */
VAD_API vad_status vad_calibrator_tail(const vad_calibrator * calibrator, double score, double * probability);

/*
 * Writes the score that one in 1 / `probability` scores of normal video exceeds: for n false alarms a day, n / (86400 x frames a
 * second).
 */
VAD_API vad_status vad_calibrator_threshold(const vad_calibrator * calibrator, double probability, double * score);

/* The state as bytes, the same on every machine. `size` is the room at `bytes`, and becomes what is needed; bytes NULL: only that. */
VAD_API vad_status vad_calibrator_save(const vad_calibrator * calibrator, uint8_t * bytes, int64_t * size);
VAD_API vad_status vad_calibrator_restore(vad_calibrator * calibrator, const uint8_t * bytes, int64_t size);

/* ------------------------------------------------------------------------------------------------ hysteresis */

enum {
    VAD_EVENT_NONE  = 0,
    VAD_EVENT_START = 1,
    VAD_EVENT_END   = 2,
};

/* Raised by raise_count of the last raise_window scores above threshold, cleared by clear_count in a row below clear_threshold. */
typedef struct {
    double  threshold;
    double  clear_threshold;
    int32_t raise_count;
    int32_t raise_window;
    int32_t clear_count;
    int32_t max_per_hour;   /* starts in any 3600 s; what is beyond is counted, not reported; 0: no cap */
    int64_t cool_down_ns;   /* after an end nothing starts for so long */
} vad_alert_rule;

typedef struct {
    int32_t kind;          /* VAD_EVENT_* */
    int32_t n_suppressed;  /* of a start: how many starts the cap has kept back since the last */
    double  peak;          /* highest score of the event so far, from the first of those that raised it */
} vad_event;

typedef struct vad_alert vad_alert;

VAD_API vad_status vad_alert_create(const vad_alert_rule * rule, vad_alert ** alert);
VAD_API void       vad_alert_free(vad_alert * alert);

/*
 * Takes the next score and writes the event that it starts or ends, with the frame that completes the evidence. A start that the cap
 * keeps back has no end either. Where time goes backwards, what lies after it counts as long gone.
 */
VAD_API vad_status vad_alert_push(vad_alert * alert, double score, int64_t time_ns, vad_event * event);

/* Ends a running event: the film is over. */
VAD_API vad_status vad_alert_finish(vad_alert * alert, vad_event * event);

/* Writes 1 while an event runs, reported or kept back by the cap, else 0: what a calibrator is frozen by. */
VAD_API vad_status vad_alert_active(const vad_alert * alert, int32_t * active);

#ifdef __cplusplus
}
#endif

#endif
