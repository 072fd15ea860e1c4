// What a calibrator is: it learns while it is new, and watches once it was restored.

#pragma once

#include <vadfast/score.h>

#include "drift.h"
#include "pareto.h"
#include "tdigest.h"

namespace vad {

// All that a calibrator knows of scores, and what is saved of it.
struct Learned {
    TDigest digest;
    Tail    tail;
    Drift   drift;
};

constexpr int64_t MAX_STATE_BYTES = 8 * (18 + 2 * TDigest::MAX_CLUSTERS);

// Writes the state, returns its size.
int64_t write_state(const Learned & learned, uint8_t bytes[MAX_STATE_BYTES]);

// Returns VAD_OK with the state, or VAD_E_STATE with the reason.
vad_status read_state(const uint8_t * bytes, int64_t size, Learned & learned);

}  // namespace vad

struct vad_calibrator {
    vad_calibrator_options options;
    bool                   is_watching;  // restored: digest and tail stay, the middle drifts
    vad::Learned           learned;      // tail and drift: once it watches
    vad::Largest           largest;      // while it learns
    vad::Spread            spread;       // once it watches
};
