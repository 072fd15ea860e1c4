// vadfast_kernels._C.Ring: slots and windows are views of the ring's own memory, NumPy's on the host, DLPack's on CUDA. A view keeps the
// ring alive, so that no order of deletion leaves one without memory.

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vadfast/ring.h>

#include "../core/ring_memory.h"
#include "array.h"
#include "dlpack.h"

namespace py = pybind11;

namespace {

// Memory of the GPU that other libraries take without copying: torch.from_dlpack(x), cupy.from_dlpack(x).
class DeviceView {
public:
    DeviceView(uint8_t * data, std::vector<int64_t> shape, py::object owner)
        : data_(data), device_(vad::device_of(data)), shape_(std::move(shape)), owner_(std::move(owner)) {}

    // The capsule owns a copy of this view, and with it the ring. Of DLPack's wishes a stream and a version are not refused: what comes is
    // the old form, which every version reads, and the ring's stream is the caller's to mind.
    py::capsule dlpack(const py::object & wanted_device, const std::optional<bool> & copy) const {
        if (copy.value_or(false)) {
            throw py::buffer_error("DeviceView.__dlpack__: copy must be False or None, for this is the ring's own memory, got True");
        }
        if (!wanted_device.is_none() && !device().equal(wanted_device)) {
            throw py::buffer_error("DeviceView.__dlpack__: dl_device must be " + std::string(py::str(device())) +
                                   " or None, for nothing is copied, got " + std::string(py::str(wanted_device)));
        }
        auto * view      = new DeviceView(*this);
        auto * managed   = new vad::DLManagedTensor{};
        auto & tensor    = managed->tensor;
        tensor           = {view->data_, vad::kCUDA, device_, int32_t(view->shape_.size()), vad::kUInt, 8, 1, view->shape_.data(),
                            nullptr, 0};
        managed->context = view;
        managed->deleter = [](vad::DLManagedTensor * tensor) {
            py::gil_scoped_acquire acquire;
            delete static_cast<DeviceView *>(tensor->context);
            delete tensor;
        };
        return py::reinterpret_steal<py::capsule>(PyCapsule_New(managed, "dltensor", [](PyObject * capsule) {
            if (PyCapsule_IsValid(capsule, "dltensor")) {  // nobody has taken it
                auto * tensor = static_cast<vad::DLManagedTensor *>(PyCapsule_GetPointer(capsule, "dltensor"));
                tensor->deleter(tensor);
            }
        }));
    }

    py::tuple device() const { return py::make_tuple(int(vad::kCUDA), device_); }
    py::tuple shape() const { return py::tuple(py::cast(shape_)); }

private:
    uint8_t *            data_;
    int32_t              device_;
    std::vector<int64_t> shape_;
    py::object           owner_;
};

class Ring {
public:
    explicit Ring(const vad_ring_options & options) : options_(options) {
        vad_ring * ring = nullptr;
        vad::check(vad_ring_create(&options_, &ring));
        ring_.reset(ring);
    }

    const vad_ring_options & options() const { return options_; }

    static py::object slot(const py::object & self) {
        auto &                      ring = self.cast<Ring &>();
        vad_image                   image{};
        std::lock_guard<std::mutex> lock(ring.mutex_);
        vad::check(vad_ring_slot(ring.ring_.get(), &image));
        return ring.view(image.data, {image.height, image.width, 3}, self);
    }

    static py::tuple commit(const py::object & self, int64_t time_ns, uintptr_t stream) {
        static const char * const words[] = {"warming", "window", "early", "reset"};
        auto &                    ring    = self.cast<Ring &>();
        int32_t                   what    = 0;
        const uint8_t *           window  = nullptr;
        vad_status                status;
        {
            py::gil_scoped_release      release;
            std::lock_guard<std::mutex> lock(ring.mutex_);
            status = vad_ring_commit(ring.ring_.get(), time_ns, reinterpret_cast<void *>(stream), &what, &window);
        }
        vad::check(status);
        if (window == nullptr) {
            return py::make_tuple(words[what], py::none());
        }
        const vad_ring_options & o = ring.options_;
        return py::make_tuple(words[what], ring.view(const_cast<uint8_t *>(window), {o.n_frames, o.height, o.width, 3}, self));
    }

    void reset() {
        std::lock_guard<std::mutex> lock(mutex_);
        vad::check(vad_ring_reset(ring_.get()));
    }

private:
    py::object view(uint8_t * data, std::vector<int64_t> shape, const py::object & self) const {
        if (options_.memory == VAD_MEMORY_CUDA) {
            return py::cast(DeviceView(data, std::move(shape), self));
        }
        return py::array_t<uint8_t>(shape, data, self);
    }

    struct Free {
        void operator()(vad_ring * ring) const { vad_ring_free(ring); }
    };

    vad_ring_options                options_;
    std::unique_ptr<vad_ring, Free> ring_;
    std::mutex                      mutex_;  // Python has no rule that one object is for one thread; never held while the GIL is waited for
};

int32_t memory_of(const std::string & device) {
    if (device != "cpu" && device != "cuda") {
        throw py::value_error("Ring: device must be cpu or cuda, got " + device);
    }
    return device == "cuda" ? VAD_MEMORY_CUDA : VAD_MEMORY_HOST;
}

constexpr const char * RING_DOC = R"(The last n_frames frames of one camera, side by side: write into slot(), then commit(time_ns).

A frame is kept when one is due: stride_ns after the last was due, or up to tolerance_ns before that; so that the average interval is
the stride. One that is late by more than a stride, or of an earlier time, begins a new window. stride_ns 0: every frame is kept.

Raises ValueError for sizes or times that cannot be right, MemoryError where there is no room, RuntimeError without CUDA for "cuda".)";

constexpr const char * COMMIT_DOC = R"(Takes the frame in the slot. Returns (what, window).

what is "warming" (kept, no window yet), "window", "early" (not kept, the slot is free again) or "reset" (kept as the first of a new
window). window is a view uint8 [n_frames, height, width, 3], oldest first, or None; it stays whole while the next n_frames + 1 frames are
written. On CUDA `stream` is the stream that filled the slot, as an integer, and the view is for torch.from_dlpack or cupy.from_dlpack.)";

}  // namespace

void bind_ring(py::module_ & m) {
    py::class_<DeviceView>(m, "DeviceView", "Memory of the GPU, uint8, for torch.from_dlpack(x) and cupy.from_dlpack(x), not copied.")
        .def_property_readonly("shape", &DeviceView::shape)
        .def("__dlpack_device__", &DeviceView::device)
        .def(
            "__dlpack__",
            [](const DeviceView & view, const py::object & /*stream*/, const py::object & /*max_version*/, const py::object & dl_device,
               const std::optional<bool> & copy) { return view.dlpack(dl_device, copy); },
            py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
            py::arg("copy") = py::none(),
            R"(Returns the capsule, of DLPack before 1.0. The stream that the consumer names is not waited for: work on the one that was
given to commit(). Raises BufferError where a copy or another device is asked for.)");

    py::class_<Ring>(m, "Ring", RING_DOC)
        .def(py::init([](int32_t n_frames, int32_t height, int32_t width, int64_t stride_ns, int64_t tolerance_ns,
                         const std::string & device) {
                 return std::make_unique<Ring>(vad_ring_options{n_frames, height, width, memory_of(device), stride_ns, tolerance_ns});
             }),
             py::arg("n_frames"), py::arg("height"), py::arg("width"), py::kw_only(), py::arg("stride_ns") = 0, py::arg("tolerance_ns") = 0,
             py::arg("device") = "cpu")
        .def("slot", &Ring::slot, "Returns where the next frame goes: a view uint8 [height, width, 3], to be written before commit().")
        .def("commit", &Ring::commit, py::arg("time_ns"), py::arg("stream") = 0, COMMIT_DOC)
        .def("reset", &Ring::reset, "Forgets all frames: the scene changed, the decoder lost data.")
        .def_property_readonly("n_frames", [](const Ring & ring) { return ring.options().n_frames; })
        .def_property_readonly("height", [](const Ring & ring) { return ring.options().height; })
        .def_property_readonly("width", [](const Ring & ring) { return ring.options().width; });
}
