// From scores to events: raised by k of the last n, cleared by m low ones in a row; then it rests, and an hour holds so many and no more.
//
// Times are compared as unsigned differences, exact for any two int64. A moment that lies after now counts as long gone: the clock was
// set back, and an alarm must not stay silent until it has caught up.

#include <vadfast/score.h>

#include <algorithm>
#include <memory>
#include <new>

#include "error.h"
#include "smoothing.h"

struct vad_alert {
    vad_alert_rule             rule;
    std::unique_ptr<double[]>  recent;      // [raise_window], a ring: scores since the last end
    int64_t                    n_recent;    // that came; the newest is at (n_recent - 1) % raise_window
    int32_t                    n_high;      // of those in the ring
    bool                       is_active;
    bool                       is_silent;   // the cap keeps the running event back
    double                     peak;
    int32_t                    n_low;       // in a row
    int64_t                    last_ns;
    bool                       has_ended;
    int64_t                    end_ns;
    std::unique_ptr<int64_t[]> starts_ns;   // [max_per_hour], a ring of the starts that were reported
    int64_t                    n_starts;
    int32_t                    n_suppressed;
};

namespace {

constexpr int64_t HOUR_NS     = 3600LL * 1000 * 1000 * 1000;
constexpr int32_t MAX_WINDOW  = 1 << 20;  // scores, and starts an hour: memory for more is a mistake
constexpr int32_t MANY        = INT32_MAX;

bool is_gone(int64_t then_ns, int64_t now_ns, int64_t span_ns) {
    return now_ns < then_ns || uint64_t(now_ns) - uint64_t(then_ns) >= uint64_t(span_ns);
}

vad_status check_rule(const vad_alert_rule & rule) {
    const auto refuse = [](const char * what, double got) {
        return vad::fail(VAD_E_ARGUMENT, "vad_alert_create: %s, got %g; correct the rule", what, got);
    };
    const auto refuse_count = [](const char * name, int32_t least, int32_t most, int32_t got) {
        return vad::fail(VAD_E_ARGUMENT, "vad_alert_create: %s must be %d ... %d, got %d; correct the rule", name, least, most, got);
    };
    if (!vad::is_finite(rule.threshold)) {
        return refuse("threshold must be finite", rule.threshold);
    }
    if (!vad::is_finite(rule.clear_threshold) || rule.clear_threshold > rule.threshold) {
        return refuse("clear_threshold must be finite and not exceed threshold: it would clear while it raises", rule.clear_threshold);
    }
    if (rule.raise_window < 1 || rule.raise_window > MAX_WINDOW) {
        return refuse_count("raise_window", 1, MAX_WINDOW, rule.raise_window);
    }
    if (rule.raise_count < 1 || rule.raise_count > rule.raise_window) {
        return refuse("raise_count must be 1 ... raise_window: it could never raise", rule.raise_count);
    }
    if (rule.clear_count < 1) {
        return refuse("clear_count must be at least 1", rule.clear_count);
    }
    if (rule.max_per_hour < 0 || rule.max_per_hour > MAX_WINDOW) {
        return refuse_count("max_per_hour", 0, MAX_WINDOW, rule.max_per_hour);
    }
    if (rule.cool_down_ns < 0) {
        return refuse("cool_down_ns must be 0 or more", double(rule.cool_down_ns));
    }
    return VAD_OK;
}

// Takes a score into the ring and says whether its high ones suffice.
bool is_raised(vad_alert & alert, double score) {
    const int32_t window = alert.rule.raise_window;
    double &      place  = alert.recent[alert.n_recent % window];
    if (alert.n_recent >= window && place > alert.rule.threshold) {
        alert.n_high--;
    }
    place = score;
    alert.n_recent++;
    alert.n_high += score > alert.rule.threshold;
    return alert.n_high >= alert.rule.raise_count;
}

// An hour's cap: keeps this start back and counts it, or reports it and remembers when.
bool is_capped(vad_alert & alert, int64_t time_ns) {
    const int32_t cap = alert.rule.max_per_hour;
    if (cap == 0) {
        return false;
    }
    int64_t & oldest = alert.starts_ns[alert.n_starts % cap];
    if (alert.n_starts >= cap && !is_gone(oldest, time_ns, HOUR_NS)) {
        alert.n_suppressed += alert.n_suppressed < MANY;
        return true;
    }
    oldest = time_ns;
    alert.n_starts++;
    return false;
}

vad_event start(vad_alert & alert, int64_t time_ns) {
    alert.is_active = true;
    alert.n_low     = 0;
    alert.peak      = *std::max_element(&alert.recent[0], &alert.recent[0] + std::min<int64_t>(alert.n_recent, alert.rule.raise_window));
    alert.is_silent = is_capped(alert, time_ns);
    if (alert.is_silent) {
        return vad_event{VAD_EVENT_NONE, 0, 0};
    }
    const vad_event event{VAD_EVENT_START, alert.n_suppressed, alert.peak};
    alert.n_suppressed = 0;
    return event;
}

vad_event end(vad_alert & alert) {
    alert.is_active = false;
    alert.has_ended = true;
    alert.end_ns    = alert.last_ns;
    // The old scores are evidence for the old event only.
    alert.n_recent = alert.n_high = 0;
    return alert.is_silent ? vad_event{VAD_EVENT_NONE, 0, 0} : vad_event{VAD_EVENT_END, 0, alert.peak};
}

}  // namespace

vad_status vad_alert_create(const vad_alert_rule * rule, vad_alert ** alert) {
    if (rule == nullptr || alert == nullptr) {
        return vad::missing("vad_alert_create", rule == nullptr ? "rule" : "alert");
    }
    const vad_status status = check_rule(*rule);
    if (status != VAD_OK) {
        return status;
    }
    std::unique_ptr<vad_alert> made(new (std::nothrow) vad_alert());
    if (made != nullptr) {
        made->rule = *rule;
        made->recent.reset(new (std::nothrow) double[rule->raise_window]());
        made->starts_ns.reset(new (std::nothrow) int64_t[rule->max_per_hour]());
    }
    if (made == nullptr || made->recent == nullptr || made->starts_ns == nullptr) {
        return vad::fail(VAD_E_MEMORY, "vad_alert_create: the machine has no memory left for %d scores and %d starts; free some",
                         rule->raise_window, rule->max_per_hour);
    }
    *alert = made.release();
    return VAD_OK;
}

void vad_alert_free(vad_alert * alert) {
    delete alert;
}

vad_status vad_alert_push(vad_alert * alert, double score, int64_t time_ns, vad_event * event) {
    if (alert == nullptr || event == nullptr) {
        return vad::missing("vad_alert_push", alert == nullptr ? "alert" : "event");
    }
    if (!vad::is_finite(score)) {
        return vad::fail(VAD_E_ARGUMENT, "vad_alert_push: score must be finite (%g at most), got %g; leave that frame out", vad::MAX_VALUE,
                         score);
    }
    *event         = vad_event{VAD_EVENT_NONE, 0, 0};
    alert->last_ns = time_ns;
    if (!alert->is_active) {
        const bool rests = alert->has_ended && !is_gone(alert->end_ns, time_ns, alert->rule.cool_down_ns);
        if (is_raised(*alert, score) && !rests) {
            *event = start(*alert, time_ns);
        }
        return VAD_OK;
    }
    alert->peak  = std::max(alert->peak, score);
    alert->n_low = score < alert->rule.clear_threshold ? alert->n_low + 1 : 0;
    if (alert->n_low >= alert->rule.clear_count) {
        *event = end(*alert);
    }
    return VAD_OK;
}

vad_status vad_alert_finish(vad_alert * alert, vad_event * event) {
    if (alert == nullptr || event == nullptr) {
        return vad::missing("vad_alert_finish", alert == nullptr ? "alert" : "event");
    }
    *event = alert->is_active ? end(*alert) : vad_event{VAD_EVENT_NONE, 0, 0};
    return VAD_OK;
}

vad_status vad_alert_active(const vad_alert * alert, int32_t * active) {
    if (alert == nullptr || active == nullptr) {
        return vad::missing("vad_alert_active", alert == nullptr ? "alert" : "active");
    }
    *active = alert->is_active;
    return VAD_OK;
}
