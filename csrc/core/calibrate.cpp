// What scores of normal video look like: learned by a new calibrator, watched by a restored one. Once it watches, quantiles and tail keep
// the shape that was learned and move with the middle alone: if they took in new scores, a patient intruder could raise the threshold by
// staying just below it.

#include <vadfast/score.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>

#include "calibrator.h"
#include "error.h"
#include "smoothing.h"

namespace {

constexpr int32_t MAX_EXCESSES = 1 << 14;

vad_status check_options(const vad_calibrator_options & options) {
    const auto refuse = [](const char * what, double got) {
        return vad::fail(VAD_E_ARGUMENT, "vad_calibrator_create: %s, got %g; correct the options", what, got);
    };
    if (!(options.tail_quantile >= 0.5 && options.tail_quantile < 1)) {
        return refuse("tail_quantile must be 0.5 or more and below 1", options.tail_quantile);
    }
    if (options.max_excesses < vad::MIN_EXCESSES || options.max_excesses > MAX_EXCESSES) {
        return vad::fail(VAD_E_ARGUMENT, "vad_calibrator_create: max_excesses must be %d ... %d, got %d; correct the options",
                         vad::MIN_EXCESSES, MAX_EXCESSES, options.max_excesses);
    }
    const double half_life = options.half_life_frames;
    if (half_life != 0 && !(half_life >= 1 && half_life <= double(vad::MAX_COUNT))) {
        return refuse("half_life_frames must be 0 (no drift), or 1 ... 2^53", half_life);
    }
    if (!(options.clip > 0 && options.clip <= 1e6)) {
        return refuse("clip must be above 0 scales, at most 1e6", options.clip);
    }
    if (!(options.max_drift >= 0 && options.max_drift <= 1e6)) {
        return refuse("max_drift must be 0 ... 1e6 scales per half-life", options.max_drift);
    }
    return VAD_OK;
}

vad_status check_asked(const char * function, const vad_calibrator * calibrator, const void * result) {
    if (calibrator == nullptr || result == nullptr) {
        return vad::missing(function, calibrator == nullptr ? "calibrator" : "the result");
    }
    if (calibrator->learned.digest.n + calibrator->learned.digest.n_waiting == 0) {
        return vad::fail(VAD_E_ARGUMENT, "%s: the calibrator must have seen scores, got none; push normal video or restore a state",
                         function);
    }
    return VAD_OK;
}

// Returns what the calibrator knows now. One that learns works it out in `room` and keeps its waiting scores, so that asking changes
// nothing.
const vad::Learned & learned_of(const vad_calibrator & calibrator, vad::Learned & room) {
    if (calibrator.is_watching) {
        return calibrator.learned;
    }
    room.digest = calibrator.learned.digest;
    vad::digest_merge(room.digest);
    const vad::Middle middle = vad::middle_of(room.digest);
    room.tail                = vad::fit_tail(calibrator.largest, room.digest.n, calibrator.options.tail_quantile);
    room.drift               = vad::Drift{middle, middle, middle, 0};
    return room;
}

vad_status check_tail(const char * function, const vad::Learned & learned) {
    if (learned.tail.n_excesses == 0) {
        return vad::fail(VAD_E_ARGUMENT,
                         "%s: the tail must have at least %d scores above tail_quantile, got %lld scores in all; push more normal video",
                         function, vad::MIN_EXCESSES, (long long)learned.digest.n);
    }
    return VAD_OK;
}

}  // namespace

vad_status vad_calibrator_create(const vad_calibrator_options * options, vad_calibrator ** calibrator) {
    if (options == nullptr || calibrator == nullptr) {
        return vad::missing("vad_calibrator_create", options == nullptr ? "options" : "calibrator");
    }
    const vad_status status = check_options(*options);
    if (status != VAD_OK) {
        return status;
    }
    std::unique_ptr<vad_calibrator> made(new (std::nothrow) vad_calibrator());
    if (made != nullptr) {
        made->options          = *options;
        made->largest.capacity = options->max_excesses + 1;  // the threshold is one of them
        made->largest.value.reset(new (std::nothrow) double[made->largest.capacity]);
    }
    if (made == nullptr || made->largest.value == nullptr) {
        return vad::fail(VAD_E_MEMORY, "vad_calibrator_create: the machine has no memory left for %d scores; free some",
                         options->max_excesses);
    }
    *calibrator = made.release();
    return VAD_OK;
}

void vad_calibrator_free(vad_calibrator * calibrator) {
    delete calibrator;
}

vad_status vad_calibrator_push(vad_calibrator * calibrator, const double * scores, int64_t n, int32_t frozen) {
    if (calibrator == nullptr || (n > 0 && scores == nullptr)) {
        return vad::missing("vad_calibrator_push", calibrator == nullptr ? "calibrator" : "scores");
    }
    const int64_t n_learned = calibrator->learned.digest.n + calibrator->learned.digest.n_waiting;
    if (n < 0 || n > std::min<int64_t>(vad::MAX_COUNT - n_learned, INT64_MAX / sizeof *scores)) {
        return vad::fail(VAD_E_ARGUMENT,
                         "vad_calibrator_push: n must be 0 or more, and %lld in all at most, got %lld; pass how many scores",
                         (long long)vad::MAX_COUNT, (long long)n);
    }
    const int64_t bad = vad::first_not_finite(scores, n);
    if (bad < n) {
        return vad::fail(VAD_E_ARGUMENT, "vad_calibrator_push: scores[%lld] must be finite (%g at most), got %g; leave that frame out",
                         (long long)bad, vad::MAX_VALUE, scores[bad]);
    }
    for (int64_t i = 0; i < n && frozen == 0; i++) {
        if (calibrator->is_watching) {
            vad::drift_push(calibrator->learned.drift, calibrator->spread, calibrator->options, scores[i]);
        } else {
            vad::digest_add(calibrator->learned.digest, scores[i]);
            vad::largest_add(calibrator->largest, scores[i]);
        }
    }
    return VAD_OK;
}

vad_status vad_calibrator_middle(const vad_calibrator * calibrator, double * median, double * scale) {
    const vad_status status = check_asked("vad_calibrator_middle", calibrator, median == nullptr ? nullptr : scale);
    if (status != VAD_OK) {
        return status;
    }
    vad::Learned         room;
    const vad::Learned & learned = learned_of(*calibrator, room);
    *median = learned.drift.now.median;
    *scale  = learned.drift.now.scale;
    return VAD_OK;
}

vad_status vad_calibrator_quantile(const vad_calibrator * calibrator, double quantile, double * value) {
    const vad_status status = check_asked("vad_calibrator_quantile", calibrator, value);
    if (status != VAD_OK) {
        return status;
    }
    if (!(quantile >= 0 && quantile <= 1)) {
        return vad::fail(VAD_E_ARGUMENT, "vad_calibrator_quantile: quantile must be in [0, 1], got %g; pass a share of the scores",
                         quantile);
    }
    vad::Learned         room;
    const vad::Learned & learned = learned_of(*calibrator, room);
    *value = vad::from_start(learned.drift, vad::digest_quantile(learned.digest, quantile));
    return VAD_OK;
}

vad_status vad_calibrator_tail(const vad_calibrator * calibrator, double score, double * probability) {
    vad_status status = check_asked("vad_calibrator_tail", calibrator, probability);
    if (status != VAD_OK) {
        return status;
    }
    if (!vad::is_finite(score)) {
        return vad::fail(VAD_E_ARGUMENT, "vad_calibrator_tail: score must be finite (%g at most), got %g; leave that frame out",
                         vad::MAX_VALUE, score);
    }
    vad::Learned         room;
    const vad::Learned & learned = learned_of(*calibrator, room);
    status = check_tail("vad_calibrator_tail", learned);
    if (status != VAD_OK) {
        return status;
    }
    const double x = vad::to_start(learned.drift, score);
    // Quantiles and tail meet at the tail's threshold, so that a higher score is never likelier.
    *probability = x < learned.tail.threshold ? std::max(learned.tail.share, 1 - vad::digest_share_up_to(learned.digest, x))
                                              : vad::tail_above(learned.tail, x);
    return VAD_OK;
}

vad_status vad_calibrator_threshold(const vad_calibrator * calibrator, double probability, double * score) {
    vad_status status = check_asked("vad_calibrator_threshold", calibrator, score);
    if (status != VAD_OK) {
        return status;
    }
    if (!(probability > 0 && probability <= 1)) {
        return vad::fail(VAD_E_ARGUMENT,
                         "vad_calibrator_threshold: probability must be above 0 and at most 1, got %g; pass false alarms per score",
                         probability);
    }
    vad::Learned         room;
    const vad::Learned & learned = learned_of(*calibrator, room);
    status = check_tail("vad_calibrator_threshold", learned);
    if (status != VAD_OK) {
        return status;
    }
    const double x = probability < learned.tail.share
                         ? vad::tail_value(learned.tail, probability)
                         : std::min(learned.tail.threshold, vad::digest_quantile(learned.digest, 1 - probability));
    *score         = vad::from_start(learned.drift, x);
    return VAD_OK;
}

vad_status vad_calibrator_save(const vad_calibrator * calibrator, uint8_t * bytes, int64_t * size) {
    const vad_status status = check_asked("vad_calibrator_save", calibrator, size);
    if (status != VAD_OK) {
        return status;
    }
    vad::Learned  room;
    uint8_t       state[vad::MAX_STATE_BYTES];
    const int64_t needed = vad::write_state(learned_of(*calibrator, room), state);
    if (bytes != nullptr && *size < needed) {
        return vad::fail(VAD_E_ARGUMENT,
                         "vad_calibrator_save: size must be the room at bytes, at least %lld, got %lld; ask with bytes NULL first",
                         (long long)needed, (long long)*size);
    }
    if (bytes != nullptr) {
        std::memcpy(bytes, state, needed);
    }
    *size = needed;
    return VAD_OK;
}

vad_status vad_calibrator_restore(vad_calibrator * calibrator, const uint8_t * bytes, int64_t size) {
    if (calibrator == nullptr || bytes == nullptr) {
        return vad::missing("vad_calibrator_restore", calibrator == nullptr ? "calibrator" : "bytes");
    }
    vad::Learned     learned = {};
    const vad_status status  = vad::read_state(bytes, size, learned);
    if (status != VAD_OK) {
        return status;
    }
    calibrator->learned     = learned;
    calibrator->spread      = vad::spread_of(learned.digest, learned.drift.start, calibrator->options);
    calibrator->is_watching = true;
    calibrator->largest.n   = 0;
    return VAD_OK;
}
