// Where the middle of a camera's scores is now: its median and scale follow slow changes of light and season, so slowly that nobody can
// lead them to an incident.

#pragma once

#include <vadfast/score.h>

#include "tdigest.h"

namespace vad {

struct Middle {
    double median;
    double scale;  // 1.4826 x median absolute deviation
};

// Returns the median and scale of the values in a digest.
Middle middle_of(const TDigest & digest);

constexpr double LEAST_OF_START = 0.25;    // of the scale: after a night of still pictures the morning must not be an alarm
constexpr double LEAST_SCALE    = 1e-300;  // less is none: a quarter of it is still a number to divide by
constexpr double MOST_SCALE     = 3e300;   // 1.4826 times the distance of two scores is less: what drifts stays finite too

struct Drift {
    Middle  start;    // of the video that was learned from
    Middle  now;
    Middle  anchor;   // at the begin of this half-life: `now` keeps within max_drift of it
    int64_t n_frames; // of this half-life
};

// How scores spread about the start, cut off at `clip` scales: what they should do now, too.
struct Spread {
    double gain;      // of one frame
    double position;  // mean of the cut-off (x - median) / scale
    double distance;  // mean of its size
};

Spread spread_of(const TDigest & digest, const Middle & start, const vad_calibrator_options & options);

// Takes one score. Nothing moves where the half-life is 0, or where the start has no scale.
void drift_push(Drift & drift, const Spread & spread, const vad_calibrator_options & options, double x);

// A score of now in terms of the start, and back.
double to_start(const Drift & drift, double x);
double from_start(const Drift & drift, double x);

}  // namespace vad
