// A calibrator as bytes: 8-byte little-endian words, the same on every machine, with their checksum as the last one.
//
//   0 magic and version | 1 n, 2 min, 3 max, 4 n_clusters | 5 n_excesses, 6 threshold, 7 share, 8 shape, 9 scale of the tail |
//   10 n_frames, then median and scale of 11 start, 13 now, 15 anchor | 17 mean and weight of each cluster | checksum
//
// The checksum is FNV-1a of 64 bits: it finds every change of one byte, and misses one in 2^64 of the others. It is no signature; so every
// value is checked too, and no bytes whatever can make a calibrator that reads memory which is not its own or divides by 0.

#include <cmath>
#include <cstring>
#include <initializer_list>

#include "calibrator.h"
#include "error.h"
#include "smoothing.h"

namespace {

constexpr uint32_t MAGIC         = 0x43444156;  // "VADC"
constexpr uint32_t VERSION       = 1;
constexpr int64_t  N_HEAD        = 17;  // words before the clusters

uint64_t checksum_of(const uint8_t * bytes, int64_t n) {
    uint64_t sum = 0xcbf29ce484222325;
    for (int64_t i = 0; i < n; i++) {
        sum = (sum ^ bytes[i]) * 0x100000001b3;
    }
    return sum;
}

void put(uint8_t *& to, uint64_t word) {
    for (int32_t i = 0; i < 8; i++) {
        *to++ = uint8_t(word >> (8 * i));
    }
}

void put(uint8_t *& to, int64_t value) {
    put(to, uint64_t(value));
}

void put(uint8_t *& to, double value) {
    uint64_t word;
    std::memcpy(&word, &value, sizeof word);
    put(to, word);
}

uint64_t take_word(const uint8_t *& from) {
    uint64_t word = 0;
    for (int32_t i = 0; i < 8; i++) {
        word |= uint64_t(*from++) << (8 * i);
    }
    return word;
}

int64_t take_count(const uint8_t *& from) {
    return int64_t(take_word(from));
}

double take_number(const uint8_t *& from) {
    const uint64_t word = take_word(from);
    double         value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}

bool is_sound(const vad::TDigest & digest) {
    int64_t n    = 0;
    double  last = digest.min;
    for (int32_t i = 0; i < digest.n_clusters; i++) {
        const bool in_order = digest.mean[i] >= last && digest.mean[i] <= digest.max;
        if (!in_order || digest.weight[i] < 1 || digest.weight[i] > vad::MAX_COUNT - n) {
            return false;
        }
        n += digest.weight[i];
        last = digest.mean[i];
    }
    return n == digest.n && vad::is_finite(digest.min) && vad::is_finite(digest.max);
}

bool is_sound(const vad::Tail & tail) {
    if (tail.n_excesses == 0) {
        return tail.threshold == 0 && tail.share == 0 && tail.shape == 0 && tail.scale == 0;
    }
    return tail.n_excesses >= vad::MIN_EXCESSES && tail.n_excesses <= vad::MAX_COUNT && vad::is_finite(tail.threshold) && tail.share > 0 &&
           tail.share < 1 && tail.shape < 1 && vad::is_finite(tail.shape) && tail.scale >= 0 && std::isfinite(tail.scale);
}

bool is_sound(const vad::Drift & drift) {
    for (const vad::Middle & middle : {drift.start, drift.now, drift.anchor}) {
        const bool has_scale = drift.start.scale > 0 ? middle.scale > 0 : middle.scale == 0;
        if (!vad::is_finite(middle.median) || !(middle.scale <= vad::MOST_SCALE) || !has_scale) {
            return false;
        }
    }
    // What drifts keeps to that, so that a stretch to the start stays finite.
    const double start = drift.start.scale;
    return (start == 0 || start >= vad::LEAST_SCALE) && drift.now.scale >= vad::LEAST_OF_START * start && drift.n_frames >= 0 &&
           drift.n_frames <= vad::MAX_COUNT;
}

}  // namespace

int64_t vad::write_state(const Learned & learned, uint8_t bytes[MAX_STATE_BYTES]) {
    const TDigest & digest = learned.digest;
    uint8_t *       to     = bytes;
    put(to, uint64_t(MAGIC) | uint64_t(VERSION) << 32);
    put(to, digest.n);
    put(to, digest.min);
    put(to, digest.max);
    put(to, int64_t(digest.n_clusters));
    put(to, learned.tail.n_excesses);
    for (double number : {learned.tail.threshold, learned.tail.share, learned.tail.shape, learned.tail.scale}) {
        put(to, number);
    }
    put(to, learned.drift.n_frames);
    for (const Middle & middle : {learned.drift.start, learned.drift.now, learned.drift.anchor}) {
        put(to, middle.median);
        put(to, middle.scale);
    }
    for (int32_t i = 0; i < digest.n_clusters; i++) {
        put(to, digest.mean[i]);
        put(to, digest.weight[i]);
    }
    put(to, checksum_of(bytes, to - bytes));
    return to - bytes;
}

vad_status vad::read_state(const uint8_t * bytes, int64_t size, Learned & learned) {
    const auto refuse = [](const char * what) {
        return fail(VAD_E_STATE, "vad_calibrator_restore: bytes must be what vad_calibrator_save wrote, got bytes %s; calibrate again",
                    what);
    };
    const uint8_t * from = bytes;
    if (size < 8 * (N_HEAD + 1) || uint32_t(take_word(from)) != MAGIC) {
        return refuse("of something else");
    }
    const uint8_t * last    = bytes + size - 8;
    const uint32_t  version = uint32_t(bytes[4]) | uint32_t(bytes[5]) << 8 | uint32_t(bytes[6]) << 16 | uint32_t(bytes[7]) << 24;
    if (version != VERSION) {
        return fail(VAD_E_STATE, "vad_calibrator_restore: bytes must be of version %u, got version %u; calibrate again", VERSION, version);
    }
    if (take_word(last) != checksum_of(bytes, size - 8)) {
        return refuse("whose checksum is wrong");
    }
    TDigest & digest       = learned.digest;
    digest.n               = take_count(from);
    digest.min             = take_number(from);
    digest.max             = take_number(from);
    const int64_t n        = take_count(from);
    learned.tail           = Tail{};
    learned.tail.n_excesses = take_count(from);
    for (double * number : {&learned.tail.threshold, &learned.tail.share, &learned.tail.shape, &learned.tail.scale}) {
        *number = take_number(from);
    }
    learned.drift.n_frames = take_count(from);
    for (Middle * middle : {&learned.drift.start, &learned.drift.now, &learned.drift.anchor}) {
        middle->median = take_number(from);
        middle->scale  = take_number(from);
    }
    if (n < 1 || n > TDigest::MAX_CLUSTERS || size != 8 * (N_HEAD + 2 * n + 1)) {
        return refuse("of another length");
    }
    digest.n_clusters = int32_t(n);
    digest.n_waiting  = 0;
    for (int64_t i = 0; i < n; i++) {
        digest.mean[i]   = take_number(from);
        digest.weight[i] = take_count(from);
    }
    if (!is_sound(digest) || !is_sound(learned.tail) || !is_sound(learned.drift)) {
        return refuse("whose values cannot be right");
    }
    return VAD_OK;
}
