// STA's attention, forward: sums of the keys' waves over rows and columns, then at each element the queries' waves times K times them.
//
// Everything is float64 between the float32 that comes and goes: the softmax takes its own element out of two sums again, and the gradients
// of the weights nearly cancel.

#include "sta_attention.h"

#include "error.h"
#include "sta_panels.h"

namespace vad::sta {

VAD_SIMD void sum_keys(const Call & call, int64_t bag, int64_t at, int64_t block, const Scratch & own) {
    const Sizes & is    = call.is;
    const Block   to    = call.block(at, block);
    Strip &       strip = *own.strip;
    std::fill(to.columns, to.columns + is.columns(), 0.0);
    for (int64_t row = 0; row < is.height; row += ROWS) {
        const Piece piece(is, bag, block, row);
        piece.read(call.in.f, strip.f);
        piece.mark(row, strip.live);
        point(strip.f, call.in.planes + 3, strip.key);
        scatter(strip.key, strip.f, strip.live, call.in.n_harmonics, strip, to.rows + row, is.pitch, to.columns);
    }
}

VAD_SIMD void join_rows(const Call & call, int64_t at, const double * kernel, double * sums, const Scratch & own) {
    const Sizes & is = call.is;
    std::fill(sums, sums + is.rows(), 0.0);
    for (int64_t block = 0; block < is.n_blocks; block++) {
        const double * part = call.block(at, block).rows;
        for (int64_t i = 0; i < 2 * is.n_features; i++) {
            for (int64_t row = 0; row < is.height; row++) {
                sums[i * is.pitch + row] += part[i * is.pitch + row];
            }
        }
    }
    product(kernel, is.n_features, sums, own.rows, is.pitch);
    double * const gains = call.rows(at).gains;
    for (int64_t i = 0; i < 2 * is.n_features; i++) {
        for (int64_t row = 0; row < is.pitch; row++) {
            gains[row * 2 * is.n_features + i] = own.rows[i * is.pitch + row];
        }
    }
}

}  // namespace vad::sta

namespace {

using namespace vad::sta;

VAD_SIMD void average(const Call & call, int64_t bag, int64_t at, int64_t block, const Scratch & own, float * y) {
    const Sizes &  is     = call.is;
    const float *  planes = call.in.planes;
    const double * gains  = call.rows(at).gains;
    Strip &        strip  = *own.strip;
    product(call.kernel, is.n_features, call.block(at, block).columns, own.columns, BLOCK);
    for (int64_t row = 0; row < is.height; row += ROWS) {
        const Piece piece(is, bag, block, row);
        piece.read(call.in.f, strip.f);
        point(strip.f, planes, strip.query);
        point(strip.f, planes + 3, strip.key);
        match(planes + 6, strip);
        for (int i = 0; i < STRIP; i += LANES) {
            const Gathered sum  = gather(load(strip.query.cosine + i), load(strip.query.sine + i), call.in.n_harmonics,
                                         gains + (row + i / BLOCK) * 2 * is.n_features, own.columns + i % BLOCK);
            const Vector   once = load(strip.own + i), f = load(strip.f + i);
            store(strip.out + i, (sum.value[0] - once * f) / (sum.value[1] - once) + f);
        }
        piece.write(strip.out, y);
    }
}

}  // namespace

vad_status vad_sta_attention(const vad_sta_attention_input * input, float * y, double * scratch, vad_threads threads) {
    constexpr const char * FUNCTION = "vad_sta_attention";
    if (input == nullptr || y == nullptr) {
        return vad::missing(FUNCTION, input == nullptr ? "input" : "y");
    }
    if (vad_status status = check(FUNCTION, *input, scratch, threads); status != VAD_OK) {
        return status;
    }
    const Call call(*input, scratch, threads);
    const auto inputs = {part("f", input->f, call.n_values), part("planes", input->planes, PLANES),
                         part("kernel", input->kernel, call.n_squares)};
    if (vad_status status = check_apart(FUNCTION, {part("y", y, call.n_values)}, inputs); status != VAD_OK) {
        return status;
    }
    for (int64_t first = 0; first < input->n; first += call.is.n_bags) {
        const int64_t n_bags = std::min(call.is.n_bags, input->n - first), n_blocks = call.is.n_blocks;
        vad::parallel(threads, n_bags * n_blocks, [&](int32_t thread, int64_t i) {
            sum_keys(call, first + i / n_blocks, i / n_blocks, i % n_blocks, call.scratch(thread));
        });
        vad::parallel(threads, n_bags, [&](int32_t thread, int64_t i) {
            join_rows(call, i, call.kernel, call.rows(i).sums, call.scratch(thread));
        });
        vad::parallel(threads, n_bags * n_blocks, [&](int32_t thread, int64_t i) {
            average(call, first + i / n_blocks, i / n_blocks, i % n_blocks, call.scratch(thread), y);
        });
    }
    return VAD_OK;
}
