// Each score moves the middle a little towards itself, cut off at `clip` scales, so that a wild one counts no more than a high one. In a
// skewed distribution such a mean would leave the median even if nothing changed; so what counts is how much more the scores pull than
// those of the start did, which is nothing while they are like them, and turns into the same where they are shifted and stretched.

#include "drift.h"

#include <algorithm>
#include <cmath>

#include "elementary.h"
#include "smoothing.h"

namespace {

constexpr double MAD_TO_SIGMA = 1.4826;

double cut_off(double x, const vad::Middle & middle, double clip) {
    return std::clamp((x - middle.median) / middle.scale, -clip, clip);
}

// What x about one middle is about another; x itself, to the last digit, where nothing has moved.
double moved(double x, const vad::Middle & from, const vad::Middle & to) {
    if (from.median == to.median && from.scale == to.scale) {
        return x;
    }
    return to.median + (x - from.median) * (to.scale / from.scale);
}

// Half the width of what holds half of all values, bisected down to neighbouring doubles.
double half_width(const vad::TDigest & digest, double median) {
    double low = 0, high = std::max(digest.max - median, median - digest.min);
    if (vad::digest_share_up_to(digest, median) - vad::digest_share_below(digest, median) >= 0.5) {
        return 0;
    }
    for (double mid = high / 2; mid > low && mid < high; mid = low + (high - low) / 2) {
        const double share = vad::digest_share_up_to(digest, median + mid) - vad::digest_share_below(digest, median - mid);
        (share >= 0.5 ? high : low) = mid;
    }
    return high;
}

}  // namespace

vad::Middle vad::middle_of(const TDigest & digest) {
    const double median = digest_quantile(digest, 0.5);
    const double scale  = MAD_TO_SIGMA * half_width(digest, median);
    return Middle{median, scale < LEAST_SCALE ? 0 : scale};
}

vad::Spread vad::spread_of(const TDigest & digest, const Middle & start, const vad_calibrator_options & options) {
    if (options.half_life_frames == 0 || start.scale == 0) {
        return Spread{0, 0, 1};
    }
    Spread spread{-elementary::expm1(-elementary::log(2) / options.half_life_frames), 0, 0};
    for (int32_t i = 0; i < digest.n_clusters; i++) {
        const double share = double(digest.weight[i]) / double(digest.n);
        const double z     = cut_off(digest.mean[i], start, options.clip);
        spread.position += share * z;
        spread.distance += share * std::fabs(z);
    }
    return spread.distance > 0 ? spread : Spread{0, 0, 1};
}

void vad::drift_push(Drift & drift, const Spread & spread, const vad_calibrator_options & options, double x) {
    if (spread.gain == 0) {
        return;
    }
    const double z      = cut_off(x, drift.now, options.clip);
    const double median = drift.now.median + spread.gain * drift.now.scale * (z - spread.position);
    const double scale  = drift.now.scale * (1 + spread.gain * (std::fabs(z) / spread.distance - 1));
    const double reach  = options.max_drift * drift.start.scale;
    drift.now.median    = std::clamp(median, drift.anchor.median - reach, drift.anchor.median + reach);
    drift.now.scale     = std::clamp(scale, drift.anchor.scale / (1 + options.max_drift), drift.anchor.scale + reach);
    drift.now.median    = std::clamp(drift.now.median, -MAX_VALUE, MAX_VALUE);
    drift.now.scale     = std::clamp(drift.now.scale, LEAST_OF_START * drift.start.scale, MOST_SCALE);
    drift.n_frames++;
    if (double(drift.n_frames) >= options.half_life_frames) {
        drift.anchor   = drift.now;
        drift.n_frames = 0;
    }
}

double vad::to_start(const Drift & drift, double x) {
    return moved(x, drift.now, drift.start);
}

double vad::from_start(const Drift & drift, double x) {
    return moved(x, drift.start, drift.now);
}
