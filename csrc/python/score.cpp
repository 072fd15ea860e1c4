// vadfast_kernels._C: the score chain, calibration and hysteresis, on arrays of many frames.
//
// An object of a camera has a lock of its own: with the GIL released two threads could otherwise push at once.

#include <cmath>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vadfast/score.h>

#include "array.h"

namespace py = pybind11;

namespace {

vad::Array values_of(py::handle x, const std::string & name, size_t n_dims) {
    vad::Array array = vad::array_of(x, name.c_str());
    if (!array.is(vad::Kind::floating, 64) || array.on_cuda) {
        throw py::type_error(name + " must be float64 in host memory, got " + vad::words(array) + "; convert it");
    }
    if (array.shape.size() != n_dims || !array.is_contiguous()) {
        throw py::value_error(name + " must be contiguous and have " + std::to_string(n_dims) + " dimension(s), got " + vad::words(array) +
                              "; pass a contiguous copy");
    }
    return array;
}

// The array that results go to: a new one, or `out`, which may be x.
py::object room_for(const vad::Array & x, const py::object & out, const std::string & function) {
    if (out.is_none()) {
        return py::array_t<double>(x.shape);
    }
    const vad::Array room = values_of(out, function + ": out", 1);
    if (!room.writable || room.shape != x.shape) {
        throw py::value_error(function + ": out must be writable and " + vad::words(x) + " like x, got " + vad::words(room) + "; pass another");
    }
    return out;
}

template <typename Call>
py::object smooth(const std::string & function, py::handle x, const py::object & out, const Call & call) {
    const vad::Array from   = values_of(x, function + ": x", 1);
    py::object       result = room_for(from, out, function);
    const vad::Array to     = vad::array_of(result, "out");
    vad_status       status;
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

    void restore(const py::bytes & saved) {
        const std::string_view      bytes(saved);
        std::lock_guard<std::mutex> lock(mutex_);
        vad::check(vad_calibrator_restore(calibrator_.get(), reinterpret_cast<const uint8_t *>(bytes.data()), int64_t(bytes.size())));
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
        const vad::Array x = values_of(scores, "Alert.push: scores", 1), t = vad::array_of(times_ns, "Alert.push: times_ns");
        if (!t.is(vad::Kind::signed_int, 64) || t.on_cuda || t.shape != x.shape || !t.is_contiguous()) {
            throw py::value_error("Alert.push: times_ns must be contiguous int64 of the shape of scores, got " + vad::words(t) + " for " +
                                  vad::words(x) + "; pass one time for each score");
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
            for (; i < x.shape[0] && std::fabs(score[i]) <= 1e300; i++) {
            }
            const bool all = i == x.shape[0];
            for (i = all ? 0 : i; i < x.shape[0] && status == VAD_OK; i++) {
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

void bind_smoothing(py::module_ & m) {
    m.def("minmax", [](py::handle x, const py::object & out) { return smooth("minmax", x, out, vad_minmax); }, py::arg("x"),
          py::arg("out") = py::none());
    m.def("gaussian", [](py::handle x, int32_t n_taps, double sigma, const py::object & out) {
        return smooth("gaussian", x, out, [=](const double * from, int64_t n, double * to) { return vad_gaussian(from, n, n_taps, sigma, to); });
    }, py::arg("x"), py::arg("n_taps"), py::arg("sigma"), py::arg("out") = py::none());
    m.def("savgol", [](py::handle x, int32_t length, int32_t order, const py::object & out) {
        return smooth("savgol", x, out, [=](const double * from, int64_t n, double * to) { return vad_savgol(from, n, length, order, to); });
    }, py::arg("x"), py::arg("length"), py::arg("order"), py::arg("out") = py::none());
    m.def("median", [](py::handle x, int32_t length, const py::object & out) {
        return smooth("median", x, out, [=](const double * from, int64_t n, double * to) { return vad_median(from, n, length, to); });
    }, py::arg("x"), py::arg("length"), py::arg("out") = py::none());
}

}  // namespace

void bind_score(py::module_ & m) {
    bind_smoothing(m);
    py::class_<Chain>(m, "Chain")
        .def(py::init<int32_t, const std::vector<Chain::BranchTuple> &>(), py::arg("n_components"), py::arg("branches"))
        .def("push", &Chain::push, py::arg("components"))
        .def("reset", &Chain::reset, py::call_guard<py::gil_scoped_release>());
    py::class_<Calibrator>(m, "Calibrator")
        .def(py::init([](double tail_quantile, int32_t max_excesses, double half_life_frames, double clip, double max_drift) {
                 return std::make_unique<Calibrator>(vad_calibrator_options{tail_quantile, max_excesses, half_life_frames, clip, max_drift});
             }), py::kw_only(), py::arg("tail_quantile"), py::arg("max_excesses"), py::arg("half_life_frames"), py::arg("clip"), py::arg("max_drift"))
        .def("push", &Calibrator::push, py::arg("scores"), py::arg("frozen") = false)
        .def("middle", &Calibrator::middle)
        .def("quantile", [](Calibrator & c, double q) { return c.ask(vad_calibrator_quantile, q); }, py::arg("quantile"))
        .def("tail", [](Calibrator & c, double score) { return c.ask(vad_calibrator_tail, score); }, py::arg("score"))
        .def("threshold", [](Calibrator & c, double p) { return c.ask(vad_calibrator_threshold, p); }, py::arg("probability"))
        .def("save", &Calibrator::save)
        .def("restore", &Calibrator::restore, py::arg("saved"));
    py::class_<Alert>(m, "Alert")
        .def(py::init([](double threshold, double clear_threshold, int32_t raise_count, int32_t raise_window, int32_t clear_count,
                         int32_t max_per_hour, int64_t cool_down_ns) {
                 return std::make_unique<Alert>(
                     vad_alert_rule{threshold, clear_threshold, raise_count, raise_window, clear_count, max_per_hour, cool_down_ns});
             }), py::kw_only(), py::arg("threshold"), py::arg("clear_threshold"), py::arg("raise_count"), py::arg("raise_window"),
             py::arg("clear_count"), py::arg("max_per_hour") = 0, py::arg("cool_down_ns") = 0)
        .def("push", &Alert::push, py::arg("scores"), py::arg("times_ns"))
        .def("finish", &Alert::finish)
        .def_property_readonly("active", &Alert::is_active);
}
