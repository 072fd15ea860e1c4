// The ring against a list of the frames that belong together, with clocks that drift, jitter, stop and jump.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <vadfast/ring.h>

#include "allocations.h"
#include "check.h"

namespace {

constexpr int64_t MS = 1000000;

std::mt19937 generator(5);

int64_t random_int(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(generator);
}

struct Ring {
    explicit Ring(const vad_ring_options & o) : options(o) { CHECK(vad_ring_create(&options, &ring) == VAD_OK); }
    ~Ring() { vad_ring_free(ring); }
    Ring(const Ring &) = delete;

    // Writes `number` into every byte of the slot.
    void write(uint8_t number) {
        vad_image slot{};
        CHECK(vad_ring_slot(ring, &slot) == VAD_OK);
        CHECK(slot.pitch == 3 * options.width && slot.width == options.width && slot.height == options.height);
        std::memset(slot.data, number, frame_bytes());
    }

    int32_t commit(int64_t time_ns) {
        int32_t what = -1;
        CHECK(vad_ring_commit(ring, time_ns, nullptr, &what, &window) == VAD_OK);
        return what;
    }

    size_t frame_bytes() const { return size_t(3 * options.width * options.height); }

    // Whether the frames of `w` are these numbers.
    bool holds(const uint8_t * w, const std::vector<uint8_t> & numbers) const {
        for (size_t i = 0; i < numbers.size(); i++) {
            for (size_t j = 0; j < frame_bytes(); j++) {
                if (w[i * frame_bytes() + j] != numbers[i]) {
                    return false;
                }
            }
        }
        return true;
    }

    vad_ring_options options;
    vad_ring *       ring   = nullptr;
    const uint8_t *  window = nullptr;
};

// Any clock: what is kept is what the ring says it kept, and older windows stay whole for as long as the header says.
void test_windows_are_the_last_frames() {
    struct Handed {
        const uint8_t *      window;
        std::vector<uint8_t> numbers;
    };
    for (int32_t t = 1; t <= 7; t++) {
        Ring                 ring({t, 3, 5, VAD_MEMORY_HOST, 100, 40});
        std::vector<uint8_t> kept;
        std::vector<Handed>  handed;
        int64_t              time = 0;
        for (int i = 0; i < 2000; i++) {
            time += random_int(0, 999) < 5 ? random_int(-500, 500) : random_int(20, 130);
            ring.write(uint8_t(i));
            for (const Handed & old : handed) {
                CHECK(ring.holds(old.window, old.numbers));
            }
            const int32_t what = ring.commit(time);
            if (what == VAD_RING_EARLY) {
                CHECK(ring.window == nullptr);
                continue;
            }
            if (what == VAD_RING_RESET) {
                kept.clear();
            }
            kept.push_back(uint8_t(i));
            kept.erase(kept.begin(), kept.end() - std::min<int64_t>(t, int64_t(kept.size())));
            CHECK((ring.window != nullptr) == (int32_t(kept.size()) == t));
            CHECK(what == VAD_RING_RESET || what == (ring.window != nullptr ? VAD_RING_WINDOW : VAD_RING_WARMING));
            handed.push_back({ring.window, ring.window != nullptr ? kept : std::vector<uint8_t>()});
            handed.erase(handed.begin(), handed.end() - std::min<int64_t>(t + 1, int64_t(handed.size())));
        }
    }
}

void test_every_frame_without_a_stride() {
    Ring ring({2, 1, 1, VAD_MEMORY_HOST, 0, 0});
    CHECK(ring.commit(5) == VAD_RING_WARMING);
    for (int64_t time : {int64_t(5), INT64_MIN, INT64_MAX, int64_t(0)}) {
        CHECK(ring.commit(time) == VAD_RING_WINDOW);
    }
}

// What is kept of n frames, `interval` apart with so much jitter; none may look like a gap.
struct Sampled {
    int64_t n_kept;
    int64_t first;
    int64_t last;
    int64_t widest;
};

Sampled sample(vad_ring_options options, double interval_ns, int64_t jitter_ns, int64_t n) {
    Ring    ring(options);
    Sampled s{0, 0, 0, 0};
    for (int64_t i = 0; i < n; i++) {
        const int64_t time = int64_t(double(i) * interval_ns) + random_int(-jitter_ns, jitter_ns);
        const int32_t what = ring.commit(time);
        CHECK(what != VAD_RING_RESET);
        if (what != VAD_RING_EARLY) {
            s.widest = s.n_kept > 0 ? std::max(s.widest, time - s.last) : 0;
            s.first  = s.n_kept > 0 ? s.first : time;
            s.last   = time;
            s.n_kept++;
        }
    }
    return s;
}

// Where no two frames are further apart than the stride, the average interval is the stride, whatever their ratio and jitter.
void test_the_average_interval_is_the_stride() {
    for (double fps : {25.0, 30.0, 12.5, 29.97, 15.0, 60.0}) {
        for (int64_t jitter : {int64_t(0), 3 * MS, 8 * MS}) {
            const Sampled s    = sample({5, 1, 1, VAD_MEMORY_HOST, 100 * MS, 50 * MS}, 1e9 / fps, jitter, 50000);
            const double  mean = double(s.last - s.first) / double(s.n_kept - 1);
            CHECK(mean > 0.9999 * 100 * MS && mean < 1.0001 * 100 * MS);
            CHECK(s.widest <= 200 * MS);
        }
    }
}

// A camera that is slower by less than the tolerance: every frame is kept, and it never looks like a gap.
void test_a_slower_camera_does_not_fall_behind() {
    for (double fps : {9.99, 9.5, 8.0}) {
        CHECK(sample({5, 1, 1, VAD_MEMORY_HOST, 100 * MS, 50 * MS}, 1e9 / fps, 10 * MS, 20000).n_kept == 20000);
    }
}

void test_gaps() {
    const vad_ring_options options{3, 1, 1, VAD_MEMORY_HOST, 100, 20};
    Ring                   ring(options);
    CHECK(ring.commit(1000) == VAD_RING_WARMING);
    CHECK(ring.commit(1079) == VAD_RING_EARLY);
    CHECK(ring.commit(1080) == VAD_RING_WARMING);
    CHECK(ring.commit(1300) == VAD_RING_WINDOW);  // due at 1200, and just not too late
    CHECK(ring.commit(1421) == VAD_RING_RESET);   // due at 1320
    CHECK(ring.commit(1521) == VAD_RING_WARMING);
    CHECK(ring.commit(1580) == VAD_RING_EARLY);
    CHECK(ring.commit(1579) == VAD_RING_RESET);  // backwards, even if only against a frame that was not kept
    CHECK(ring.commit(1579) == VAD_RING_EARLY);  // the same time again is not backwards
    CHECK(ring.commit(1679) == VAD_RING_WARMING);
    CHECK(ring.commit(1779) == VAD_RING_WINDOW);
    CHECK(vad_ring_reset(ring.ring) == VAD_OK);
    CHECK(ring.commit(7) == VAD_RING_WARMING);  // after a reset no time is early, late or backwards
}

void test_ends_of_time() {
    const vad_ring_options options{2, 1, 1, VAD_MEMORY_HOST, INT64_MAX, INT64_MAX};
    for (int64_t start : {INT64_MIN, INT64_MIN + 1, int64_t(0), INT64_MAX}) {
        Ring ring(options);
        CHECK(ring.commit(start) == VAD_RING_WARMING);
        CHECK(ring.commit(INT64_MAX) != VAD_RING_WARMING);
        CHECK(ring.commit(INT64_MIN) == VAD_RING_RESET);
        CHECK(ring.commit(INT64_MIN) != VAD_RING_RESET);
    }
    Ring ring({2, 1, 1, VAD_MEMORY_HOST, 100, 0});
    CHECK(ring.commit(INT64_MIN) == VAD_RING_WARMING);
    CHECK(ring.commit(INT64_MAX - 1) == VAD_RING_RESET);  // the difference does not fit in int64
    CHECK(ring.commit(INT64_MAX) == VAD_RING_EARLY);  // due after the end of time
}

void refuses(const vad_ring_options & options, vad_status status, const char * word) {
    vad_ring * ring = nullptr;
    CHECK(vad_ring_create(&options, &ring) == status);
    CHECK(ring == nullptr);
    CHECK(std::string(vad_last_error()).find(word) != std::string::npos);
}

void test_bad_input() {
    refuses({0, 1, 1, 0, 0, 0}, VAD_E_ARGUMENT, "n_frames");
    refuses({1, -1, 1, 0, 0, 0}, VAD_E_ARGUMENT, "got 1, -1, 1");
    refuses({1, 1, INT32_MIN, 0, 0, 0}, VAD_E_ARGUMENT, "width");
    refuses({1, 1, 1, 2, 0, 0}, VAD_E_ARGUMENT, "memory");
    refuses({1, 1, 1, 0, -1, 0}, VAD_E_ARGUMENT, "stride_ns");
    refuses({1, 1, 1, 0, 10, 11}, VAD_E_ARGUMENT, "tolerance_ns");
    refuses({1, 1, 1, 0, 10, -1}, VAD_E_ARGUMENT, "got -1");
    refuses({INT32_MAX, INT32_MAX, INT32_MAX, 0, 0, 0}, VAD_E_MEMORY, "2^63");
    refuses({1 << 19, 1 << 20, 1 << 20, 0, 0, 0}, VAD_E_MEMORY, "no room");

    vad_ring_options options{1, 1, 1, 0, 0, 0};
    vad_ring *       ring = nullptr;
    CHECK(vad_ring_create(nullptr, &ring) == VAD_E_ARGUMENT);
    CHECK(vad_ring_create(&options, nullptr) == VAD_E_ARGUMENT);
    CHECK(vad_ring_slot(nullptr, nullptr) == VAD_E_ARGUMENT);
    CHECK(vad_ring_reset(nullptr) == VAD_E_ARGUMENT);
    vad_ring_free(nullptr);

    Ring            good(options);
    int32_t         what   = 9;
    const uint8_t * window = nullptr;
    CHECK(vad_ring_slot(good.ring, nullptr) == VAD_E_ARGUMENT);
    CHECK(vad_ring_commit(nullptr, 0, nullptr, &what, &window) == VAD_E_ARGUMENT);
    CHECK(vad_ring_commit(good.ring, 0, nullptr, nullptr, &window) == VAD_E_ARGUMENT);
    CHECK(vad_ring_commit(good.ring, 0, nullptr, &what, nullptr) == VAD_E_ARGUMENT);
    CHECK(what == 9 && window == nullptr);
}

void test_allocates_nothing() {
    Ring       ring({5, 64, 64, VAD_MEMORY_HOST, 100, 50});
    const long before = allocations::count();
    for (int64_t i = 0; i < 100; i++) {
        ring.write(uint8_t(i));
        ring.commit(40 * i);
    }
    CHECK(allocations::count() == before);
    CHECK(allocations::works());
}

}  // namespace

// The sanitizer's own refusal of too much memory would end the test of ours.
extern "C" const char * __asan_default_options() {
    return "allocator_may_return_null=1";
}

extern "C" const char * __tsan_default_options() {
    return "allocator_may_return_null=1";
}

int main() {
    test_windows_are_the_last_frames();
    test_every_frame_without_a_stride();
    test_the_average_interval_is_the_stride();
    test_a_slower_camera_does_not_fall_behind();
    test_gaps();
    test_ends_of_time();
    test_bad_input();
    test_allocates_nothing();
    return check::done("ring");
}
