// preprocess on the CPU: each output row is blended from two source rows, of which only the samples that it needs are read.
//
// Those samples, two of each output column, are gathered into arrays on the stack, which are then converted and blended by loops over
// plain lanes: a picture that shrinks by four is read, converted and blended in half of its columns and half of its rows. A wide
// image is made in strips of columns, so that the arrays have a fixed size and nothing is allocated. A source row that two output rows
// share is gathered once.

#include "preprocess.h"

#include <algorithm>
#include <cstring>

namespace {

using vad::Resize;

constexpr int32_t STRIP = 256;        // output columns at a time: everything of a strip stays in the first-level cache
constexpr int32_t LANES = 4 * STRIP;  // a pixel is four lanes, the fourth unused: whole words move faster than three bytes

struct Strip {
    int32_t n;                 // columns of this strip
    int32_t first;             // its first column
    int32_t n_wide;            // of how many as much can be read as is read at once
    int64_t at[STRIP];         // where, in bytes from the start of a row, the left sample of each begins; the right one follows it
    uint32_t turn[STRIP];      // 16, where the right sample has a colour of its own
    uint8_t is_right[LANES];   // 255, where the right one has more weight
    int16_t step[LANES];       // -32 times the weight of the lesser one
    int16_t levels[2][LANES];  // two source rows, blended across; units of 1/128
    int32_t row[2];            // which rows these are, -1: none
};

// The two samples of each column, as pixels.
struct Samples {
    uint32_t left[STRIP];
    uint32_t right[STRIP];
};

// Where n bytes that need no alignment begin.
template <typename Word>
VAD_INLINE Word load(const uint8_t * p) {
    Word word;
    std::memcpy(&word, p, sizeof word);
    return word;
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "pixels are read and written as little-endian words");

// ------------------------------------------------------------------------------------------------ samples of a row

// Reading is one column at a time and therefore does little else: the bytes that a sample is made of become a word. What is in the words
// is then taken apart by lanes.

// Words: the luma of both samples, and the colours from that of the left one on: u, v, and the next u and v. A colour is of two columns,
// so a right sample shares it where the left one is even, and has the next where it is odd.
VAD_INLINE void read_nv12(const Resize & p, int32_t y, const Strip & strip, Samples & words) {
    const uint8_t * luma = p.plane[0] + y * p.pitch[0];
    const uint8_t * uv   = p.plane[1] + (y >> 1) * p.pitch[1];
    VAD_UNROLL
    for (int32_t i = 0; i < strip.n_wide; i++) {
        words.left[i]  = load<uint16_t>(luma + strip.at[i]);
        words.right[i] = load<uint32_t>(uv + (strip.at[i] & ~1));
    }
    for (int32_t i = strip.n_wide; i < strip.n; i++) {  // in the last two columns there is no next colour
        words.left[i]  = load<uint16_t>(luma + strip.at[i]);
        words.right[i] = load<uint16_t>(uv + (strip.at[i] & ~1));
    }
}

VAD_INLINE void read_i420(const Resize & p, int32_t y, const Strip & strip, Samples & words) {
    const uint8_t * luma = p.plane[0] + y * p.pitch[0];
    const uint8_t * u    = p.plane[1] + (y >> 1) * p.pitch[1];
    const uint8_t * v    = p.plane[2] + (y >> 1) * p.pitch[2];
    VAD_UNROLL
    for (int32_t i = 0; i < strip.n; i++) {
        const int64_t x = strip.at[i], left = x >> 1, right = (x + 1) >> 1;
        words.left[i]  = load<uint16_t>(luma + x);
        words.right[i] = uint32_t(u[left] | v[left] << 8) | uint32_t(u[right] | v[right] << 8) << 16;
    }
}

VAD_INLINE void convert_yuv(int32_t n, const uint32_t * __restrict turn, Samples & samples) {
    for (int32_t i = 0; i < n; i++) {
        const uint32_t luma = samples.left[i], colour = samples.right[i], next = colour >> turn[i];
        samples.left[i]  = vad::pixel_of_yuv(luma & 255, colour & 255, colour >> 8 & 255);
        samples.right[i] = vad::pixel_of_yuv(luma >> 8, next & 255, next >> 8 & 255);
    }
}

// Words: both samples.
VAD_INLINE void read_gray(const Resize & p, int32_t y, const Strip & strip, Samples & words) {
    const uint8_t * row = p.plane[0] + y * p.pitch[0];
    VAD_UNROLL
    for (int32_t i = 0; i < strip.n; i++) {
        words.left[i] = load<uint16_t>(row + strip.at[i]);
    }
}

VAD_INLINE void spread_gray(int32_t n, Samples & samples) {
    for (int32_t i = 0; i < n; i++) {
        const uint32_t both = samples.left[i];
        samples.left[i]     = (both & 255) * 0x010101u;
        samples.right[i]    = (both >> 8) * 0x010101u;
    }
}

// Words of eight bytes: both samples, which lie together. At the end of a row, where there are no eight, two halves that meet.
VAD_INLINE void read_rgb(const Resize & p, int32_t y, const Strip & strip, uint64_t * words) {
    const uint8_t * row = p.plane[0] + y * p.pitch[0];
    VAD_UNROLL
    for (int32_t i = 0; i < strip.n_wide; i++) {
        words[i] = load<uint64_t>(row + strip.at[i]);
    }
    for (int32_t i = strip.n_wide; i < strip.n; i++) {
        words[i] = load<uint32_t>(row + strip.at[i]) | uint64_t(load<uint32_t>(row + strip.at[i] + 2)) << 16;
    }
}

VAD_INLINE void split_rgb(const uint64_t * words, int32_t n, Samples & samples) {
    for (int32_t i = 0; i < n; i++) {
        samples.left[i]  = uint32_t(words[i]);
        samples.right[i] = uint32_t(words[i] >> 24);
    }
}

// The samples of source row y. Those of BGR are left in that order: it is cheaper to turn round what comes out.
VAD_SIMD void gather(const Resize & p, int32_t y, const Strip & strip, Samples & samples) {
    uint64_t words[STRIP];
    switch (p.format) {
        case VAD_FORMAT_NV12: read_nv12(p, y, strip, samples); return convert_yuv(strip.n, strip.turn, samples);
        case VAD_FORMAT_I420: read_i420(p, y, strip, samples); return convert_yuv(strip.n, strip.turn, samples);
        case VAD_FORMAT_GRAY: read_gray(p, y, strip, samples); return spread_gray(strip.n, samples);
        default: read_rgb(p, y, strip, words); return split_rgb(words, strip.n, samples);
    }
}

// A picture of one column has no two neighbours to read.
void repeat(const Resize & p, int32_t y, const Strip & strip, Samples & samples) {
    const uint8_t * only = p.plane[0] + y * p.pitch[0];
    const bool      gray = p.format == VAD_FORMAT_GRAY;
    std::fill_n(samples.left, strip.n, vad::pixel_of(only[0], only[gray ? 0 : 1], only[gray ? 0 : 2]));
    std::fill_n(samples.right, strip.n, samples.left[0]);
}

// ------------------------------------------------------------------------------------------------ blending

// vad::across in 16 bits: from the nearer sample towards the farther one, whose weight is 1024 at most. The step from one to the other,
// times 128, and that weight, times -32, are int16 both, and 16 bits further down in their product is what is missing.
VAD_INLINE int16_t from_nearer(uint8_t near, uint8_t far, int16_t step) {
    const int16_t apart = int16_t((near - far) * 128);
    return int16_t(near * 128 + int16_t((int32_t(apart) * step) >> 16));
}

VAD_SIMD void blend_columns(const Samples & samples, const Strip & strip, int16_t * levels) {
    const auto * left  = reinterpret_cast<const uint8_t *>(samples.left);
    const auto * right = reinterpret_cast<const uint8_t *>(samples.right);
    for (int32_t lane = 0; lane < 4 * strip.n; lane++) {
        const uint8_t exchanged = (left[lane] ^ right[lane]) & strip.is_right[lane];
        levels[lane]            = from_nearer(left[lane] ^ exchanged, right[lane] ^ exchanged, strip.step[lane]);
    }
}

// Between two rows, all lanes by the same weight, and rounded to n pixels.
VAD_SIMD void blend_rows(const int16_t * low, const int16_t * high, int32_t weight, int32_t n, uint32_t * pixels) {
    auto *        samples    = reinterpret_cast<uint8_t *>(pixels);
    const int16_t low_weight = int16_t(vad::ONE - weight), high_weight = int16_t(weight);
    for (int32_t lane = 0; lane < 4 * n; lane++) {
        samples[lane] = vad::down(low[lane], high[lane], low_weight, high_weight);
    }
}

VAD_SIMD void turn_round(uint32_t * pixels, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        pixels[i] = vad::pixel_of(pixels[i] >> 16 & 255, pixels[i] >> 8 & 255, pixels[i] & 255);
    }
}

// Four bytes at a time, the fourth written over by the next pixel; the last pixel has no next.
void store(const uint32_t * pixels, int32_t n, uint8_t * out) {
    VAD_UNROLL
    for (int32_t i = 0; i < n - 1; i++) {
        std::memcpy(out + 3 * i, pixels + i, 4);
    }
    std::memcpy(out + 3 * (n - 1), pixels + n - 1, 3);
}

// ------------------------------------------------------------------------------------------------ rows and strips

// Source row y, blended across; `kept` is the other row that is needed now.
const int16_t * levels_of(const Resize & p, int32_t y, int32_t kept, Strip & strip) {
    for (int32_t i = 0; i < 2; i++) {
        if (strip.row[i] == y) {
            return strip.levels[i];
        }
    }
    const int32_t i = strip.row[0] == kept ? 1 : 0;
    Samples       samples;
    (p.width == 1 ? repeat : gather)(p, y, strip, samples);
    blend_columns(samples, strip, strip.levels[i]);
    strip.row[i] = y;
    return strip.levels[i];
}

void resize_strip(const Resize & p, Strip & strip) {
    uint32_t pixels[STRIP];
    for (int32_t y = 0; y < p.out_height; y++) {
        const vad::Tap tap = vad::tap_of(y, p.height, p.out_height);
        // A row without weight is not read: half of the work where a picture shrinks by an odd whole number.
        const int32_t   high        = tap.weight == 0 ? tap.low : tap.high;
        const int16_t * low_levels  = levels_of(p, tap.low, high, strip);
        const int16_t * high_levels = levels_of(p, high, tap.low, strip);
        blend_rows(low_levels, high_levels, tap.weight, strip.n, pixels);
        if (p.format == VAD_FORMAT_BGR) {
            turn_round(pixels, strip.n);
        }
        store(pixels, strip.n, p.out + y * p.out_pitch + 3 * int64_t(strip.first));
    }
}

Strip strip_of(const Resize & p, int32_t first) {
    const int64_t step = p.format == VAD_FORMAT_BGR || p.format == VAD_FORMAT_RGB ? 3 : 1;
    Strip         strip;
    strip.first  = first;
    strip.n      = std::min(STRIP, p.out_width - first);
    strip.n_wide = 0;
    for (int32_t i = 0; i < strip.n; i++) {
        const vad::Tap tap = vad::column_tap_of(first + i, p.width, p.out_width);
        strip.at[i]        = step * tap.low;
        strip.turn[i]      = tap.low % 2 == 0 ? 0 : 16;
        strip.n_wide += step == 3 ? strip.at[i] + 8 <= 3 * int64_t(p.width) : (tap.low & ~1) + 4 <= p.width;
        std::fill_n(strip.is_right + 4 * i, 4, uint8_t(tap.weight > vad::ONE / 2 ? 255 : 0));
        std::fill_n(strip.step + 4 * i, 4, int16_t(-32 * std::min(tap.weight, vad::ONE - tap.weight)));
    }
    std::fill_n(strip.row, 2, -1);
    return strip;
}

void resize(const Resize & p) {
    if (p.format == VAD_FORMAT_RGB && p.width == p.out_width && p.height == p.out_height) {
        for (int32_t y = 0; y < p.height; y++) {
            std::memcpy(p.out + y * p.out_pitch, p.plane[0] + y * p.pitch[0], 3 * size_t(p.width));
        }
        return;
    }
    for (int64_t first = 0; first < p.out_width; first += STRIP) {
        Strip strip = strip_of(p, int32_t(first));
        resize_strip(p, strip);
    }
}

}  // namespace

vad_status vad_preprocess(const vad_picture * pictures, const vad_image * images, int32_t n) {
    const vad_status status = vad::check_preprocess("vad_preprocess", pictures, images, n);
    for (int32_t i = 0; status == VAD_OK && i < n; i++) {
        resize(vad::resize_of(pictures[i], images[i]));
    }
    return status;
}
