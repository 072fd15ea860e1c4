// vadfast_kernels._C: the score chain, calibration and hysteresis, on arrays of many frames.
//
// An object of a camera has a lock of its own: with the GIL released two threads could otherwise push at once.

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vadfast/score.h>

#include "../core/smoothing.h"
#include "array.h"

namespace py = pybind11;

namespace {

vad::Array values_of(py::handle x, const std::string & name, size_t n_dims, vad::Kind kind = vad::Kind::floating,
                     vad::Use use = vad::Use::input) {
    vad::Array array = vad::dense_array_of(x, name, kind, 64, use);
    if (array.on_cuda) {
        throw py::value_error(name + " must be in host memory, got " + vad::words(array) + "; copy it there");
    }
    if (array.shape.size() != n_dims) {
        throw py::value_error(name + " must have " + std::to_string(n_dims) + " dimension(s), got " + vad::words(array) + "; reshape it");
    }
    return array;
}

// Results go to a new array, or to `out`, which may be x.
template <typename Call>
py::object smooth(const std::string & function, py::handle x, const py::object & out, const Call & call) {
    const vad::Array from   = values_of(x, function + ": x", 1);
    const py::object result = out.is_none() ? py::object(py::array_t<double>(from.shape)) : out;
    const vad::Array to     = values_of(result, function + ": out", 1, vad::Kind::floating, vad::Use::result);
    if (to.shape != from.shape) {
        throw py::value_error(function + ": out must be " + vad::words(from) + " like x, got " + vad::words(to) + "; pass another");
    }
    vad_status status;
    {
        py::gil_scoped_release release;
        status = call(static_cast<const double *>(from.data), from.shape[0], static_cast<double *>(to.data));
    }
    vad::check(status);
    return result;
}

// ------------------------------------------------------------------------------------------------ chain

class Chain {
public:
    using StepTuple   = std::tuple<int32_t, int32_t, int32_t, double, double>;                       // kind, length, order, a, b
    using BranchTuple = std::tuple<int32_t, double, double, std::vector<StepTuple>>;                 // column, sign, weight, steps

    Chain(int32_t n_components, const std::vector<BranchTuple> & branches) : n_components_(n_components) {
        std::vector<std::vector<vad_step>> steps;
        std::vector<vad_branch>            made;
        for (const auto & [column, sign, weight, rules] : branches) {
            steps.emplace_back();
            for (const auto & [kind, length, order, a, b] : rules) {
                steps.back().push_back(vad_step{kind, length, order, a, b});
            }
            made.push_back(vad_branch{column, sign, weight, steps.back().data(), int32_t(rules.size())});
        }
        vad_chain * chain = nullptr;
        vad::check(vad_chain_create(n_components, made.data(), int32_t(made.size()), &chain));
        chain_.reset(chain);
    }

    py::array_t<double> push(py::handle components) {
        const vad::Array x = values_of(components, "Chain.push: components", 2);
        if (x.shape[1] != n_components_) {
            throw py::value_error("Chain.push: components must be [n, " + std::to_string(n_components_) + "], got " + vad::words(x) +
                                  "; pass one column for each component");
        }
        py::array_t<double> scores(x.shape[0]);
        double * const      to = scores.mutable_data();
        vad_status          status;
        {
            py::gil_scoped_release      release;
            std::lock_guard<std::mutex> lock(mutex_);
            status = vad_chain_push(chain_.get(), static_cast<const double *>(x.data), x.shape[0], to);
        }
        vad::check(status);
        return scores;
    }

    void reset() {
        std::lock_guard<std::mutex> lock(mutex_);
        vad::check(vad_chain_reset(chain_.get()));
    }

private:
    struct Free {
        void operator()(vad_chain * chain) const { vad_chain_free(chain); }
    };
    int32_t                          n_components_;
    std::unique_ptr<vad_chain, Free> chain_;
    std::mutex                       mutex_;
};

// ------------------------------------------------------------------------------------------------ calibrator

class Calibrator {
public:
    explicit Calibrator(const vad_calibrator_options & options) {
        vad_calibrator * calibrator = nullptr;
        vad::check(vad_calibrator_create(&options, &calibrator));
        calibrator_.reset(calibrator);
    }

    void push(py::handle scores, bool frozen) {
        const vad::Array x = values_of(scores, "Calibrator.push: scores", 1);
        vad_status       status;
        {
            py::gil_scoped_release      release;
            std::lock_guard<std::mutex> lock(mutex_);
            status = vad_calibrator_push(calibrator_.get(), static_cast<const double *>(x.data), x.shape[0], frozen);
        }
        vad::check(status);
    }

    std::pair<double, double> middle() {
        double                      median = 0, scale = 0;
        std::lock_guard<std::mutex> lock(mutex_);
        vad::check(vad_calibrator_middle(calibrator_.get(), &median, &scale));
        return {median, scale};
    }

    double ask(vad_status (*question)(const vad_calibrator *, double, double *), double about) {
        double                      answer = 0;
        std::lock_guard<std::mutex> lock(mutex_);
        vad::check(question(calibrator_.get(), about, &answer));
        return answer;
    }

    py::bytes save() {
        int64_t                     size = 0;
        std::lock_guard<std::mutex> lock(mutex_);
        vad::check(vad_calibrator_save(calibrator_.get(), nullptr, &size));
        std::vector<uint8_t> bytes(size);
        vad::check(vad_calibrator_save(calibrator_.get(), bytes.data(), &size));
        return py::bytes(reinterpret_cast<const char *>(bytes.data()), size);
    }

    void restore(const py::buffer & saved) {
        const py::buffer_info       bytes = saved.request();
        std::lock_guard<std::mutex> lock(mutex_);
        if (bytes.itemsize != 1 || bytes.ndim != 1 || bytes.strides[0] != 1) {
            throw py::value_error("Calibrator.restore: saved must be bytes, got a buffer of another shape; pass what save() returned");
        }
        vad::check(vad_calibrator_restore(calibrator_.get(), static_cast<const uint8_t *>(bytes.ptr), int64_t(bytes.size)));
    }

private:
    struct Free {
        void operator()(vad_calibrator * calibrator) const { vad_calibrator_free(calibrator); }
    };
    std::unique_ptr<vad_calibrator, Free> calibrator_;
    std::mutex                            mutex_;
};

// ------------------------------------------------------------------------------------------------ alert

class Alert {
public:
    using EventTuple = std::tuple<int64_t, int32_t, int32_t, double>;  // index of the frame, kind, n_suppressed, peak

    explicit Alert(const vad_alert_rule & rule) {
        vad_alert * alert = nullptr;
        vad::check(vad_alert_create(&rule, &alert));
        alert_.reset(alert);
    }

    std::vector<EventTuple> push(py::handle scores, py::handle times_ns) {
        const vad::Array x = values_of(scores, "Alert.push: scores", 1);
        const vad::Array t = values_of(times_ns, "Alert.push: times_ns", 1, vad::Kind::signed_int);
        if (t.shape != x.shape) {
            throw py::value_error("Alert.push: times_ns must be as many as scores, " + vad::words(x) + ", got " + vad::words(t) +
                                  "; pass one time for each score");
        }
        const auto *            score = static_cast<const double *>(x.data);
        const auto *            time  = static_cast<const int64_t *>(t.data);
        std::vector<EventTuple> events;
        int64_t                 i      = 0;
        vad_status              status = VAD_OK;
        {
            py::gil_scoped_release      release;
            std::lock_guard<std::mutex> lock(mutex_);
            // All or nothing: a bad score further on must not leave the alert halfway.
            const int64_t bad = vad::first_not_finite(score, x.shape[0]);
            for (i = bad < x.shape[0] ? bad : 0; i < x.shape[0] && status == VAD_OK; i++) {
                vad_event event{};
                status = vad_alert_push(alert_.get(), score[i], time[i], &event);
                if (status == VAD_OK && event.kind != VAD_EVENT_NONE) {
                    events.emplace_back(i, event.kind, event.n_suppressed, event.peak);
                }
            }
        }
        vad::check(status);
        return events;
    }

    py::object finish() {
        vad_event                   event{};
        std::lock_guard<std::mutex> lock(mutex_);
        vad::check(vad_alert_finish(alert_.get(), &event));
        return event.kind == VAD_EVENT_NONE ? py::none() : py::object(py::make_tuple(event.kind, event.n_suppressed, event.peak));
    }

    bool is_active() {
        int32_t                     active = 0;
        std::lock_guard<std::mutex> lock(mutex_);
        vad::check(vad_alert_active(alert_.get(), &active));
        return active != 0;
    }

private:
    struct Free {
        void operator()(vad_alert * alert) const { vad_alert_free(alert); }
    };
    std::unique_ptr<vad_alert, Free> alert_;
    std::mutex                       mutex_;
};

constexpr const char * CHAIN_DOC = R"(One camera's way from components to a score: vadfast_kernels.score_chain.native has the words.

branches are (column, sign, weight, steps), steps (kind, length, order, a, b), kind one of STEP_*: the fields of vad_branch and vad_step in
csrc/include/vadfast/score.h. Raises ValueError for a chain that cannot be right.)";

void bind_smoothing(py::module_ & m) {
    m.def("minmax", [](py::handle x, const py::object & out) { return smooth("minmax", x, out, vad_minmax); }, py::arg("x"),
          py::arg("out") = py::none(), "Returns x [n], float64, between 0 and 1, in `out` if one is given.");
    m.def("gaussian", [](py::handle x, int32_t n_taps, double sigma, const py::object & out) {
        return smooth("gaussian", x, out, [=](const double * from, int64_t n, double * to) {
            return vad_gaussian(from, n, n_taps, sigma, to);
        });
    }, py::arg("x"), py::arg("n_taps"), py::arg("sigma"), py::arg("out") = py::none(),
       "Returns x [n], float64, under a Gaussian of n_taps (odd) weights and width sigma in frames.");
    m.def("savgol", [](py::handle x, int32_t length, int32_t order, const py::object & out) {
        return smooth("savgol", x, out, [=](const double * from, int64_t n, double * to) {
            return vad_savgol(from, n, length, order, to);
        });
    }, py::arg("x"), py::arg("length"), py::arg("order"), py::arg("out") = py::none(),
       "Returns x [n], float64, fitted by polynomials over length (odd) frames.");
    m.def("median", [](py::handle x, int32_t length, const py::object & out) {
        return smooth("median", x, out, [=](const double * from, int64_t n, double * to) { return vad_median(from, n, length, to); });
    }, py::arg("x"), py::arg("length"), py::arg("out") = py::none(),
       "Returns the median of length (odd) frames about each of x [n], float64.");
}

}  // namespace

void bind_score(py::module_ & m) {
    bind_smoothing(m);
    m.attr("STEP_ROBUST_Z")         = int(VAD_STEP_ROBUST_Z);
    m.attr("STEP_EXPONENTIAL_MEAN") = int(VAD_STEP_EXPONENTIAL_MEAN);
    m.attr("STEP_SAVGOL")           = int(VAD_STEP_SAVGOL);
    m.attr("STEP_MEDIAN")           = int(VAD_STEP_MEDIAN);
    m.attr("STEP_GAUSSIAN")         = int(VAD_STEP_GAUSSIAN);
    m.attr("EVENT_START")           = int(VAD_EVENT_START);
    m.attr("EVENT_END")             = int(VAD_EVENT_END);
    py::class_<Chain>(m, "Chain", CHAIN_DOC)
        .def(py::init<int32_t, const std::vector<Chain::BranchTuple> &>(), py::arg("n_components"), py::arg("branches"))
        .def("push", &Chain::push, py::arg("components"),
             "Returns the scores [n] of the next frames' components [n, n_components], float64.")
        .def("reset", &Chain::reset, py::call_guard<py::gil_scoped_release>(), "Forgets all frames.");
    py::class_<Calibrator>(m, "Calibrator", "What scores of normal video look like: vadfast_kernels.score_chain.watch has the words.")
        .def(py::init([](double tail_quantile, int32_t max_excesses, double half_life_frames, double clip, double max_drift) {
                 return std::make_unique<Calibrator>(
                     vad_calibrator_options{tail_quantile, max_excesses, half_life_frames, clip, max_drift});
             }), py::kw_only(), py::arg("tail_quantile"), py::arg("max_excesses"), py::arg("half_life_frames"), py::arg("clip"),
             py::arg("max_drift"))
        .def("push", &Calibrator::push, py::arg("scores"), py::arg("frozen") = false, "Takes scores [n], float64; frozen: none of them.")
        .def("middle", &Calibrator::middle, "Returns (median, scale).")
        .def("quantile", [](Calibrator & c, double q) { return c.ask(vad_calibrator_quantile, q); }, py::arg("quantile"),
             "Returns the value below which that share of the scores lies.")
        .def("tail", [](Calibrator & c, double score) { return c.ask(vad_calibrator_tail, score); }, py::arg("score"),
             "Returns how likely a score of normal video is above this one.")
        .def("threshold", [](Calibrator & c, double p) { return c.ask(vad_calibrator_threshold, p); }, py::arg("probability"),
             "Returns the score that one in 1 / probability scores of normal video exceeds.")
        .def("save", &Calibrator::save, "Returns the state as bytes, the same on every machine.")
        .def("restore", &Calibrator::restore, py::arg("saved"), "Takes a saved state, and watches from now on.");
    py::class_<Alert>(m, "Alert", "From scores to events: vadfast_kernels.score_chain.watch has the words.")
        .def(py::init([](double threshold, double clear_threshold, int32_t raise_count, int32_t raise_window, int32_t clear_count,
                         int32_t max_per_hour, int64_t cool_down_ns) {
                 return std::make_unique<Alert>(
                     vad_alert_rule{threshold, clear_threshold, raise_count, raise_window, clear_count, max_per_hour, cool_down_ns});
             }), py::kw_only(), py::arg("threshold"), py::arg("clear_threshold"), py::arg("raise_count"), py::arg("raise_window"),
             py::arg("clear_count"), py::arg("max_per_hour") = 0, py::arg("cool_down_ns") = 0)
        .def("push", &Alert::push, py::arg("scores"), py::arg("times_ns"),
             "Takes scores [n], float64, and their times [n], int64; returns a list of (index of the frame, EVENT_*, n_suppressed, peak).")
        .def("finish", &Alert::finish, "Ends a running event; returns (EVENT_END, n_suppressed, peak), or None without one.")
        .def_property_readonly("active", &Alert::is_active, "Whether an event runs, reported or kept back.");
}
