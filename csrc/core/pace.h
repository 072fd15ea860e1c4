// Which frames of a camera a window is made of: those that come when one is due, so that they lie as far apart as in training, whatever
// the camera's rate.
//
// A frame is due one stride after the last one was due, not after it came: what comes a little late makes the next interval shorter,
// and the average is the stride exactly. It is due at least `tolerance` after the last came, though: a camera that is a trace slower
// than the stride would otherwise fall behind a little with every frame, until that looked like a gap.
//
// Sums of times have 128 bits, where none of int64 is too far away.

#pragma once

#include <algorithm>
#include <cstdint>

namespace vad {

class Pace {
public:
    enum class Verdict { keep, early, restart };

    Pace(int64_t stride_ns, int64_t tolerance_ns) : stride_ns_(stride_ns), tolerance_ns_(tolerance_ns) {}

    Verdict take(int64_t time_ns) {
        if (stride_ns_ == 0) {
            return Verdict::keep;
        }
        const bool is_first = !started_;
        const bool is_break = started_ && (time_ns < last_ns_ || time_ns > due_ns_ + stride_ns_);
        started_            = true;
        last_ns_            = time_ns;
        if (is_first || is_break) {
            due_ns_ = Wide(time_ns) + stride_ns_;
            return is_first ? Verdict::keep : Verdict::restart;
        }
        if (time_ns < due_ns_ - tolerance_ns_) {
            return Verdict::early;
        }
        due_ns_ = std::max(due_ns_ + stride_ns_, Wide(time_ns) + tolerance_ns_);
        return Verdict::keep;
    }

    void forget() { started_ = false; }

private:
    using Wide = __int128;

    int64_t stride_ns_;
    int64_t tolerance_ns_;
    int64_t last_ns_ = 0;  // when the last frame came, kept or not
    Wide    due_ns_  = 0;
    bool    started_ = false;
};

}  // namespace vad
