// The score chain of one camera: blocks of frames run through the steps of each branch, and summed.

#include <vadfast/score.h>

#include <algorithm>
#include <memory>
#include <new>

#include "chain_step.h"
#include "error.h"
#include "simd.h"
#include "smoothing.h"

namespace {

using vad::CHAIN_BLOCK;
using vad::Step;

constexpr int32_t MAX_STEPS = 64;  // of a branch, and branches of a chain: more is a mistake

struct Branch {
    int32_t                 column;
    double                  sign;
    double                  weight;
    int32_t                 n_steps;
    std::unique_ptr<Step[]> steps;
};

}  // namespace

struct vad_chain {
    int32_t                   n_components;
    int32_t                   n_branches;
    std::unique_ptr<Branch[]> branches;
};

namespace {

vad_status check_branch(const vad_branch & branch, int32_t i, int32_t n_components) {
    const auto refuse = [&](const char * what, double got) {
        return vad::fail(VAD_E_ARGUMENT, "vad_chain_create: branch %d: %s, got %g; correct the chain", i, what, got);
    };
    if (branch.column < 0 || branch.column >= n_components) {
        return vad::fail(VAD_E_ARGUMENT, "vad_chain_create: branch %d: column must be 0 ... %d, got %d; name a component that is pushed", i,
                         n_components - 1, branch.column);
    }
    if (branch.sign != 1 && branch.sign != -1) {
        return refuse("sign must be 1, or -1 where high is normal", branch.sign);
    }
    if (!vad::is_finite(branch.weight)) {
        return refuse("weight must be finite", branch.weight);
    }
    if (branch.n_steps < 0 || branch.n_steps > MAX_STEPS) {
        return vad::fail(VAD_E_ARGUMENT, "vad_chain_create: branch %d: n_steps must be 0 ... %d, got %d; correct the chain", i, MAX_STEPS,
                         branch.n_steps);
    }
    if (branch.n_steps > 0 && branch.steps == nullptr) {
        return vad::missing("vad_chain_create", "steps of a branch that has some");
    }
    for (int32_t k = 0; k < branch.n_steps; k++) {
        const vad_status status = vad::check_step(branch.steps[k], i, k);
        if (status != VAD_OK) {
            return status;
        }
    }
    return VAD_OK;
}

// Two loops in one, because with a stride that is known to be 1 it is a copy.
VAD_SIMD void take(const double * __restrict column, int64_t stride, double sign, int64_t n, double * __restrict y) {
    if (stride == 1) {
        for (int64_t i = 0; i < n; i++) {
            y[i] = sign * column[i];
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        y[i] = sign * column[i * stride];
    }
}

VAD_SIMD void add(const double * __restrict y, double weight, int64_t n, double * __restrict score) {
    for (int64_t i = 0; i < n; i++) {
        score[i] += weight * y[i];
    }
}

}  // namespace

vad_status vad_chain_create(int32_t n_components, const vad_branch * branches, int32_t n_branches, vad_chain ** chain) {
    if (chain == nullptr) {
        return vad::missing("vad_chain_create", "chain");
    }
    if (n_components < 1) {
        return vad::fail(VAD_E_ARGUMENT, "vad_chain_create: n_components must be at least 1, got %d; pass how many are pushed a frame",
                         n_components);
    }
    if (n_branches < 0 || n_branches > MAX_STEPS) {
        return vad::fail(VAD_E_ARGUMENT, "vad_chain_create: n_branches must be 0 ... %d, got %d; correct the chain", MAX_STEPS, n_branches);
    }
    if (n_branches > 0 && branches == nullptr) {
        return vad::missing("vad_chain_create", "branches");
    }
    for (int32_t i = 0; i < n_branches; i++) {
        const vad_status status = check_branch(branches[i], i, n_components);
        if (status != VAD_OK) {
            return status;
        }
    }
    std::unique_ptr<vad_chain> made(new (std::nothrow) vad_chain{n_components, n_branches, nullptr});
    bool                       enough = made != nullptr;
    if (enough) {
        made->branches.reset(new (std::nothrow) Branch[n_branches]());
        enough = made->branches != nullptr;
    }
    for (int32_t i = 0; enough && i < n_branches; i++) {
        const vad_branch & from = branches[i];
        Branch &           to   = made->branches[i];
        to                      = Branch{from.column, from.sign, from.weight, from.n_steps, nullptr};
        to.steps.reset(new (std::nothrow) Step[from.n_steps]());
        enough = to.steps != nullptr;
        for (int32_t k = 0; enough && k < from.n_steps; k++) {
            enough = vad::make_step(from.steps[k], to.steps[k]);
        }
    }
    if (!enough) {
        return vad::fail(VAD_E_MEMORY, "vad_chain_create: the machine has no memory left for %d branches; free some", n_branches);
    }
    *chain = made.release();
    return VAD_OK;
}

void vad_chain_free(vad_chain * chain) {
    delete chain;
}

vad_status vad_chain_push(vad_chain * chain, const double * components, int64_t n, double * scores) {
    if (chain == nullptr || (n > 0 && (components == nullptr || scores == nullptr))) {
        return vad::missing("vad_chain_push", chain == nullptr ? "chain" : components == nullptr ? "components" : "scores");
    }
    if (n < 0 || n > INT64_MAX / int64_t(sizeof *components) / chain->n_components) {
        return vad::fail(VAD_E_ARGUMENT,
                         "vad_chain_push: n must be 0 or more and its components must fit in memory, got %lld; pass how many frames",
                         (long long)n);
    }
    const int64_t n_values = n * chain->n_components;
    if (vad::overlap(components, n_values, scores, n)) {
        return vad::fail(VAD_E_ARGUMENT,
                         "vad_chain_push: scores must not overlap components, got them %lld bytes from there; pass other memory",
                         (long long)(reinterpret_cast<uintptr_t>(scores) - reinterpret_cast<uintptr_t>(components)));
    }
    const int64_t bad = vad::first_not_finite(components, n_values);
    if (bad < n_values) {
        return vad::fail(VAD_E_ARGUMENT, "vad_chain_push: components[%lld, %d] must be finite (%g at most), got %g; leave that frame out",
                         (long long)(bad / chain->n_components), int(bad % chain->n_components), vad::MAX_VALUE, components[bad]);
    }
    double y[CHAIN_BLOCK];
    for (int64_t begin = 0; begin < n; begin += CHAIN_BLOCK) {
        const int64_t n_block = std::min(CHAIN_BLOCK, n - begin);
        double *      score   = scores + begin;
        std::fill_n(score, n_block, 0.0);
        for (int32_t b = 0; b < chain->n_branches; b++) {
            Branch & branch = chain->branches[b];
            take(components + begin * chain->n_components + branch.column, chain->n_components, branch.sign, n_block, y);
            for (int32_t k = 0; k < branch.n_steps; k++) {
                vad::run_step(branch.steps[k], y, n_block);
            }
            add(y, branch.weight, n_block, score);
        }
    }
    return VAD_OK;
}

vad_status vad_chain_reset(vad_chain * chain) {
    if (chain == nullptr) {
        return vad::missing("vad_chain_reset", "chain");
    }
    for (int32_t b = 0; b < chain->n_branches; b++) {
        for (int32_t k = 0; k < chain->branches[b].n_steps; k++) {
            vad::reset_step(chain->branches[b].steps[k]);
        }
    }
    return VAD_OK;
}
