// One step of a live chain: what it remembers of the frames so far, and a block of frames run through it.

#pragma once

#include <vadfast/score.h>

#include <memory>

namespace vad {

constexpr int64_t CHAIN_BLOCK = 512;  // frames: a step's loops pay from some hundred on, and what they touch stays in the first-level cache

struct Step {
    vad_step                  rule;
    double                    gain;     // exponential mean
    double                    mean;
    bool                      started;
    int32_t                   length;   // of the window of a sliding step, else 0
    int32_t                   n_seen;   // of the length - 1 values before a block
    std::unique_ptr<double[]> window;   // [length - 1 + CHAIN_BLOCK + MARGIN]: those values, the block, and what slide_median may touch
    std::unique_ptr<double[]> weights;  // [length], oldest first
};

// Says what cannot be right about step i of a branch.
vad_status check_step(const vad_step & rule, int32_t branch, int32_t i);

// Makes a step of a rule that was checked; false where there is no memory.
bool make_step(const vad_step & rule, Step & step);

// Runs n <= CHAIN_BLOCK values through the step, in place.
void run_step(Step & step, double * y, int64_t n);

void reset_step(Step & step);

}  // namespace vad
