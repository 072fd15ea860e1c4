// Frame score through the C API: against sums in the order of the definition, in every layout, at random sizes; its refusals; and that
// one thread allocates nothing.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include <vadfast/frame.h>

#include "allocations.h"
#include "check.h"

namespace {

std::mt19937 random_bits(7);

int upto(int most) {
    return int(random_bits() % uint32_t(most)) + 1;
}

// Random frames in exactly as much memory as they need, so that a sanitizer sees every read beside them.
struct Frames {
    std::vector<float>   floats;
    std::vector<uint8_t> bytes;
    vad_frames           view;

    Frames(const int32_t (&size)[4], bool is_bytes, bool pixels) : view{} {
        const int64_t c = size[1], h = size[2], w = size[3];
        const size_t  n = size_t(size[0] * c * h * w);
        if (is_bytes) {
            bytes.resize(n);
            for (uint8_t & x : bytes) {
                x = uint8_t(random_bits());
            }
            view.data = bytes.data();
        } else {
            floats.resize(n);
            for (float & x : floats) {
                x = float(random_bits() % 2001) / 1000 - 1;
            }
            view.data = floats.data();
        }
        view.dtype = is_bytes ? VAD_DTYPE_U8 : VAD_DTYPE_F32;
        view.black = is_bytes ? 0.0f : -1.0f;
        view.white = is_bytes ? 255.0f : 1.0f;
        const int64_t planes[4] = {c * h * w, h * w, w, 1}, interleaved[4] = {h * w * c, 1, w * c, c};
        std::memcpy(view.stride, pixels ? interleaved : planes, sizeof view.stride);
    }

    double at(int64_t f, int64_t c, int64_t y, int64_t x) const {
        const int64_t i     = f * view.stride[0] + c * view.stride[1] + y * view.stride[2] + x * view.stride[3];
        const double  value = bytes.empty() ? double(floats[size_t(i)]) : double(bytes[size_t(i)]);
        return (value - view.black) / (double(view.white) - view.black);
    }
};

struct Case {
    int32_t            size[4];
    Frames             predicted;
    Frames             truth;
    std::vector<float> weight;
    vad_frame_pair     pair;

    Case(const int32_t (&s)[4], int kind)
        : size{s[0], s[1], s[2], s[3]},
          predicted(size, (kind & 1) != 0, (kind & 2) != 0),
          truth(size, (kind & 4) != 0, (kind & 8) != 0),
          pair{} {
        pair.n               = size[0];
        pair.channels        = size[1];
        pair.height          = size[2];
        pair.width           = size[3];
        pair.predicted       = predicted.view;
        pair.truth           = truth.view;
        pair.patch_rows      = upto(size[2]);
        pair.patch_columns   = upto(size[3]);
        pair.heatmap_rows    = upto(size[2]);
        pair.heatmap_columns = upto(size[3]);
        if ((kind & 16) != 0) {
            pair.weight_rows    = upto(size[2]);
            pair.weight_columns = upto(size[3]);
            weight.resize(size_t(size[0] * pair.weight_rows * pair.weight_columns));
            for (float & x : weight) {
                x = float(random_bits() % 1000) / 500;
            }
            pair.weight = weight.data();
        }
    }

    // The mean of e over rows [y, y_end) and columns [x, x_end) of channels [c, c_end).
    double mean(int64_t f, int64_t c, int64_t c_end, int64_t y, int64_t y_end, int64_t x, int64_t x_end) const {
        double sum = 0;
        for (int64_t k = c; k < c_end; k++) {
            for (int64_t i = y; i < y_end; i++) {
                for (int64_t j = x; j < x_end; j++) {
                    const double d = predicted.at(f, k, i, j) - truth.at(f, k, i, j);
                    sum += weight_at(f, i, j) * d * d;
                }
            }
        }
        return sum / double((c_end - c) * (y_end - y) * (x_end - x));
    }

    double weight_at(int64_t f, int64_t y, int64_t x) const {
        if (weight.empty()) {
            return 1;
        }
        int64_t i = 0, j = 0;
        while ((i + 1) * size[2] / pair.weight_rows <= y) {
            i++;
        }
        while ((j + 1) * size[3] / pair.weight_columns <= x) {
            j++;
        }
        return double(weight[size_t((f * pair.weight_rows + i) * pair.weight_columns + j)]);
    }

    double mean_of_cell(int64_t f, int64_t rows, int64_t columns, int64_t i, int64_t j) const {
        return mean(f, 0, size[1], i * size[2] / rows, (i + 1) * size[2] / rows, j * size[3] / columns, (j + 1) * size[3] / columns);
    }
};

struct Results {
    std::vector<double> error, psnr_db, channel, worst;
    std::vector<float>  heatmap;

    explicit Results(const vad_frame_pair & p)
        : error(size_t(p.n)), psnr_db(size_t(p.n)), channel(size_t(p.n * p.channels)), worst(size_t(p.n)),
          heatmap(size_t(p.n * p.heatmap_rows * p.heatmap_columns)) {}

    vad_frame_scores scores() { return {error.data(), psnr_db.data(), channel.data(), worst.data(), heatmap.data()}; }

    bool operator==(const Results & other) const {
        return error == other.error && psnr_db == other.psnr_db && channel == other.channel && worst == other.worst &&
               heatmap == other.heatmap;
    }
};

bool near(double found, double wanted) {
    // A float32 difference of numbers up to 1 is off by five roundings; the weights go up to 2.
    const double rounding = 5 * 0x1p-24;
    return std::fabs(found - wanted) <= 8 * 0x1p-24 * wanted + 3 * rounding * std::sqrt(wanted) + 2 * rounding * rounding;
}

void test_values() {
    for (int round = 0; round < 320; round++) {
        const int32_t    size[4] = {upto(3), round % 2 == 0 ? 3 : upto(5), upto(30), upto(60)};
        Case             one(size, round % 32);
        Results          results(one.pair), again(one.pair);
        vad_frame_scores scores = results.scores(), scores_again = again.scores();
        CHECK(vad_frame_score(&one.pair, &scores, {1, nullptr}) == VAD_OK);
        CHECK(vad_frame_score(&one.pair, &scores_again, {upto(5), nullptr}) == VAD_OK);
        CHECK(results == again);
        for (int64_t f = 0; f < one.pair.n; f++) {
            double worst = 0;
            for (int64_t i = 0; i < one.pair.patch_rows; i++) {
                for (int64_t j = 0; j < one.pair.patch_columns; j++) {
                    worst = std::fmax(worst, one.mean_of_cell(f, one.pair.patch_rows, one.pair.patch_columns, i, j));
                }
            }
            CHECK(near(results.worst[size_t(f)], worst));
            CHECK(near(results.error[size_t(f)], one.mean(f, 0, size[1], 0, size[2], 0, size[3])));
            CHECK(std::fabs(results.psnr_db[size_t(f)] + 10 * std::log10(std::fmax(results.error[size_t(f)], 1e-10))) < 1e-12);
            for (int64_t c = 0; c < size[1]; c++) {
                CHECK(near(results.channel[size_t(f * size[1] + c)], one.mean(f, c, c + 1, 0, size[2], 0, size[3])));
            }
            for (int64_t i = 0; i < one.pair.heatmap_rows; i++) {
                for (int64_t j = 0; j < one.pair.heatmap_columns; j++) {
                    const size_t at = size_t((f * one.pair.heatmap_rows + i) * one.pair.heatmap_columns + j);
                    CHECK(near(double(results.heatmap[at]), one.mean_of_cell(f, one.pair.heatmap_rows, one.pair.heatmap_columns, i, j)));
                }
            }
        }
    }
}

void test_one_thread_allocates_nothing() {
    const int32_t    size[4] = {4, 3, 64, 64};
    Case             one(size, 4 | 8 | 16);
    Results          results(one.pair);
    vad_frame_scores scores = results.scores();
    const long       before = allocations::count();
    for (int i = 0; i < 100; i++) {
        CHECK(vad_frame_score(&one.pair, &scores, {1, nullptr}) == VAD_OK);
    }
    CHECK(allocations::count() == before);
    CHECK(allocations::works());
}

// Whether the pair is refused with these words, and nothing is written.
bool is_refused(const vad_frame_pair & pair, const char * words) {
    double           error   = 7;
    double           worst   = 7;
    float            heatmap = 7;
    vad_frame_scores scores{&error, nullptr, nullptr, &worst, &heatmap};
    const vad_status status = vad_frame_score(&pair, &scores, {1, nullptr});
    if (status != VAD_E_ARGUMENT || std::strstr(vad_last_error(), words) == nullptr) {
        std::printf("status %d: %s\n", status, vad_last_error());
        return false;
    }
    return error == 7 && worst == 7 && heatmap == 7;
}

template <typename Change>
bool is_refused(const char * words, const Change & change) {
    const int32_t  size[4] = {1, 3, 4, 5};
    Case           one(size, 4);
    vad_frame_pair pair = one.pair;
    change(pair);
    return is_refused(pair, words);
}

void test_refusals() {
    using Pair = vad_frame_pair;
    CHECK(is_refused("n must be at least 0", [](Pair & p) { p.n = -1; }));
    CHECK(is_refused("channels, height and width at least 1", [](Pair & p) { p.channels = 0; }));
    CHECK(is_refused("fewer than 2^58", [](Pair & p) { p.n = p.channels = p.height = p.width = INT32_MAX; }));
    CHECK(is_refused("predicted.data must point to values", [](Pair & p) { p.predicted.data = nullptr; }));
    CHECK(is_refused("predicted.data must point to values aligned",
                     [](Pair & p) { p.predicted.data = static_cast<const char *>(p.predicted.data) + 1; }));
    CHECK(is_refused("truth.data must point to values", [](Pair & p) { p.truth.data = nullptr; }));
    CHECK(is_refused("truth.dtype must be a VAD_DTYPE_*", [](Pair & p) { p.truth.dtype = 4; }));
    CHECK(is_refused("predicted.dtype must be a VAD_DTYPE_*", [](Pair & p) { p.predicted.dtype = -1; }));
    CHECK(is_refused("predicted.black and white must be finite and differ", [](Pair & p) { p.predicted.black = p.predicted.white; }));
    CHECK(is_refused("truth.black and white must be finite and differ", [](Pair & p) { p.truth.black = NAN; }));
    CHECK(is_refused("truth.black and white must be finite and differ", [](Pair & p) { p.truth.white = 1e-44f; }));
    CHECK(is_refused("predicted.stride must span", [](Pair & p) { p.predicted.stride[2] = INT64_MAX; }));
    CHECK(is_refused("truth.stride must span", [](Pair & p) { p.truth.stride[0] = INT64_MIN; }));
    CHECK(is_refused("patches must be 1 x 1 to 4 x 5 cells, got 5 x 1", [](Pair & p) { p.patch_rows = 5, p.patch_columns = 1; }));
    CHECK(is_refused("patches must be 1 x 1", [](Pair & p) { p.patch_columns = 0; }));
    CHECK(is_refused("heatmap must be 1 x 1", [](Pair & p) { p.heatmap_rows = INT32_MIN; }));
    CHECK(is_refused("heatmap must be 1 x 1", [](Pair & p) { p.heatmap_columns = INT32_MAX; }));
    static const float weight = 1;
    CHECK(is_refused("weight must be 1 x 1", [](Pair & p) { p.weight = &weight, p.weight_rows = 0; }));
    CHECK(is_refused("weight must be 1 x 1", [](Pair & p) { p.weight = &weight, p.weight_rows = 1, p.weight_columns = 6; }));
}

void test_overlap() {
    const int32_t size[4] = {1, 1, 2, 2};
    Case          one(size, 0);
    double        error   = 7;
    const auto    refused = [&](const vad_frame_scores & scores, const char * words) {
        return vad_frame_score(&one.pair, &scores, {1, nullptr}) == VAD_E_ARGUMENT && std::strstr(vad_last_error(), words) != nullptr;
    };
    CHECK(refused({&error, &error, nullptr, nullptr, nullptr}, "scores.psnr_db must not overlap scores.error"));
    CHECK(error == 7);
    auto * inside = static_cast<double *>(const_cast<void *>(one.pair.truth.data));
    CHECK(refused({inside, nullptr, nullptr, nullptr, nullptr}, "scores.error must not overlap truth"));
}

void test_nothing_to_point_at() {
    const int32_t    size[4] = {1, 1, 2, 2};
    Case             one(size, 0);
    double           error = 7;
    int64_t          bytes = 7;
    vad_frame_scores scores{&error, nullptr, nullptr, nullptr, nullptr};
    CHECK(vad_frame_score(nullptr, &scores, {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_frame_score(&one.pair, nullptr, {1, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_frame_score(&one.pair, &scores, {0, nullptr}) == VAD_E_ARGUMENT);
    CHECK(vad_frame_score_scratch(&one.pair, nullptr, &bytes) == VAD_E_ARGUMENT);
    CHECK(vad_frame_score_scratch(&one.pair, &scores, nullptr) == VAD_E_ARGUMENT);
    CHECK(error == 7 && bytes == 7);
    CHECK(vad_frame_score_cuda(&one.pair, &scores, nullptr, 0, nullptr) != VAD_OK);
    CHECK(vad_frame_score_scratch(&one.pair, &scores, &bytes) == VAD_OK);
    CHECK(bytes == 2 * 3 * int64_t(sizeof(double)));  // rows, each of one channel and one cell of either grid
    one.pair.n = 0;
    CHECK(vad_frame_score(&one.pair, &scores, {4, nullptr}) == VAD_OK);
    CHECK(error == 7);
}

}  // namespace

int main() {
    test_values();
    test_one_thread_allocates_nothing();
    test_refusals();
    test_overlap();
    test_nothing_to_point_at();
    return check::done("frame_score");
}
