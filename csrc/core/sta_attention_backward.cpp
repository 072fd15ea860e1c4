// The gradients of STA's attention; the mean is made anew, and with it the gradient of each weight.
//
//     y = (top - own f) / (bottom - own) + f,    top, bottom = psi(theta)^T K (sums of psi(phi) f, psi(phi) 1 over the cross)
//
// The transpose of a sum over the cross is a sum over the cross: queries scatter their gradients a, b of top and bottom, keys gather.

#include "sta_attention.h"

#include "error.h"
#include "sta_panels.h"

namespace {

using namespace vad::sta;

// z G for the cosine and sine of queries; G^T makes it that of keys.
struct Turned {
    Vector cosine;
    Vector sine;
};

VAD_INLINE Turned toward(Vector c, Vector s, double cc, double cs, double sc, double ss) {
    return {c * cc + s * sc, c * cs + s * ss};
}

// Sums of what the three numbers of a line are moved by, and the derivative by f: dx = d(f w along w) of an angle's gradient.
VAD_INLINE Vector pull(Vector dangle, const Direction & z, int i, Vector f, Vector * sums) {
    dangle *= load(z.inverse + i);
    const Vector dx = -dangle * load(z.sine + i);
    sums[0] += dx * f;
    sums[1] += dx;
    sums[2] += dangle * load(z.cosine + i);
    return dx;
}

VAD_INLINE double sum_of(Vector x) {
    return (x[0] + x[1]) + (x[2] + x[3]);
}

// What comes to an element as a query, and the sums of all queries' waves; leaves `direct` and `turn` for `finish`.
VAD_SIMD void sum_queries(const Call & call, int64_t bag, int64_t at, int64_t block, const Scratch & own, const float * dy) {
    const Sizes &  is     = call.is;
    const float *  planes = call.in.planes;
    const double   cc = planes[6], cs = planes[7], sc = planes[8], ss = planes[9];
    const Block    to     = call.block(at, block);
    const double * gains  = call.rows(at).gains;
    Strip &        strip  = *own.strip;
    Vector         sums[3] = {}, products[4] = {};
    product(call.kernel, is.n_features, to.columns, own.columns, BLOCK);
    std::fill(own.dcolumns, own.dcolumns + is.columns(), 0.0);
    for (int64_t row = 0; row < is.height; row += ROWS) {
        const Piece piece(is, bag, block, row);
        piece.read(call.in.f, strip.f);
        piece.read(dy, strip.out);
        piece.mark(row, strip.live);
        point(strip.f, planes, strip.query);
        point(strip.f, planes + 3, strip.key);
        match(planes + 6, strip);
        for (int i = 0; i < STRIP; i += LANES) {
            const Vector   qc = load(strip.query.cosine + i), qs = load(strip.query.sine + i);
            const Vector   kc = load(strip.key.cosine + i), ks = load(strip.key.sine + i);
            const Vector   f = load(strip.f + i), above = load(strip.out + i), once = load(strip.own + i);
            const double * gain    = gains + (row + i / BLOCK) * 2 * is.n_features;
            const Gathered sum     = gather(qc, qs, call.in.n_harmonics, gain, own.columns + i % BLOCK);
            const Vector   rest    = sum.value[1] - once;
            const Vector   total   = load(strip.live + i) == 0 ? Vector{} + 1.0 : rest;  // beyond the matrix it may be 0
            const Vector   mean    = (sum.value[0] - once * f) / total;
            const Vector   a       = above / total, b = -a * mean;
            const Vector   dcosine = a * (mean - f) * once;
            const Turned   key = toward(kc, ks, cc, sc, cs, ss), query = toward(qc, qs, cc, cs, sc, ss);
            const Vector   dtheta  = a * sum.slope[0] + b * sum.slope[1] + dcosine * (qc * key.sine - qs * key.cosine);
            const Vector   dx      = pull(dtheta, strip.query, i, f, sums);
            products[0] += dcosine * qc * kc;
            products[1] += dcosine * qc * ks;
            products[2] += dcosine * qs * kc;
            products[3] += dcosine * qs * ks;
            store(strip.a + i, a);
            store(strip.b + i, b);
            store(to.direct + row * BLOCK + i, above - a * once + dx * double(planes[0]));
            store(to.turn + row * BLOCK + i, dcosine * (kc * query.sine - ks * query.cosine));
        }
        scatter(strip.query, strip.a, strip.b, call.in.n_harmonics, strip, to.rows + row, is.pitch, own.dcolumns);
    }
    outer(own.dcolumns, to.columns, is.n_features, BLOCK, to.dkernel);
    product(call.transposed, is.n_features, own.dcolumns, to.columns, BLOCK);
    for (int i = 0; i < 4; i++) {
        to.dplanes[6 + i] = sum_of(products[i]);
        if (i < 3) {
            to.dplanes[i] = sum_of(sums[i]);
        }
    }
}

VAD_SIMD void join_queries(const Call & call, int64_t at, const Scratch & own) {
    const Rows rows = call.rows(at);
    join_rows(call, at, call.transposed, rows.dsums, own);
    outer(rows.dsums, rows.sums, call.is.n_features, call.is.pitch, rows.dkernel);
}

// What comes to an element as a key.
VAD_SIMD void finish(const Call & call, int64_t bag, int64_t at, int64_t block, const Scratch & own, float * df) {
    const Sizes &  is     = call.is;
    const float *  planes = call.in.planes;
    const Block    to     = call.block(at, block);
    const double * gains  = call.rows(at).gains;
    Strip &        strip  = *own.strip;
    Vector         sums[3] = {};
    for (int64_t row = 0; row < is.height; row += ROWS) {
        const Piece piece(is, bag, block, row);
        piece.read(call.in.f, strip.f);
        piece.mark(row, strip.live);
        point(strip.f, planes + 3, strip.key);
        for (int i = 0; i < STRIP; i += LANES) {
            const Vector   c = load(strip.key.cosine + i), s = load(strip.key.sine + i), f = load(strip.f + i);
            const double * gain = gains + (row + i / BLOCK) * 2 * is.n_features;
            const Gathered sum  = gather(c, s, call.in.n_harmonics, gain, to.columns + i % BLOCK);
            const Vector   dphi = (f * sum.slope[0] + sum.slope[1] + load(to.turn + row * BLOCK + i)) * load(strip.live + i);
            const Vector   dx   = pull(dphi, strip.key, i, f, sums);
            store(strip.out + i, load(to.direct + row * BLOCK + i) + sum.value[0] + dx * double(planes[3]));
        }
        piece.write(strip.out, df);
    }
    for (int i = 0; i < 3; i++) {
        to.dplanes[3 + i] = sum_of(sums[i]);
    }
}

}  // namespace

vad_status vad_sta_attention_backward(const vad_sta_attention_input * input, const float * dy, float * df, double * dplanes,
                                      double * dkernel, double * scratch, vad_threads threads) {
    constexpr const char * FUNCTION = "vad_sta_attention_backward";
    if (input == nullptr || dy == nullptr || df == nullptr || dplanes == nullptr || dkernel == nullptr) {
        return vad::missing(FUNCTION, input == nullptr     ? "input"
                                      : dy == nullptr      ? "dy"
                                      : df == nullptr      ? "df"
                                      : dplanes == nullptr ? "dplanes"
                                                           : "dkernel");
    }
    if (vad_status status = check(FUNCTION, *input, scratch, threads); status != VAD_OK) {
        return status;
    }
    const Call call(*input, scratch, threads);
    const auto results = {part("df", df, call.n_values), part("dplanes", dplanes, PLANES), part("dkernel", dkernel, call.n_squares)};
    const auto inputs  = {part("f", input->f, call.n_values), part("planes", input->planes, PLANES),
                          part("kernel", input->kernel, call.n_squares), part("dy", dy, call.n_values)};
    if (vad_status status = check_apart(FUNCTION, results, inputs); status != VAD_OK) {
        return status;
    }
    std::fill(dplanes, dplanes + PLANES, 0.0);
    std::fill(dkernel, dkernel + call.n_squares, 0.0);
    const auto add = [&](const double * of_kernel) {
        for (int64_t i = 0; i < call.n_squares; i++) {
            dkernel[i] += of_kernel[i];
        }
    };
    for (int64_t first = 0; first < input->n; first += call.is.n_bags) {
        const int64_t n_bags = std::min(call.is.n_bags, input->n - first), n_blocks = call.is.n_blocks;
        const auto    over_blocks = [&](auto work) {
            vad::parallel(threads, n_bags * n_blocks, [&](int32_t thread, int64_t i) {
                work(first + i / n_blocks, i / n_blocks, i % n_blocks, call.scratch(thread));
            });
        };
        over_blocks([&](int64_t bag, int64_t at, int64_t block, const Scratch & own) { sum_keys(call, bag, at, block, own); });
        vad::parallel(threads, n_bags, [&](int32_t thread, int64_t i) {
            join_rows(call, i, call.kernel, call.rows(i).sums, call.scratch(thread));
        });
        over_blocks([&](int64_t bag, int64_t at, int64_t block, const Scratch & own) { sum_queries(call, bag, at, block, own, dy); });
        vad::parallel(threads, n_bags, [&](int32_t thread, int64_t i) { join_queries(call, i, call.scratch(thread)); });
        over_blocks([&](int64_t bag, int64_t at, int64_t block, const Scratch & own) { finish(call, bag, at, block, own, df); });
        for (int64_t bag = 0; bag < n_bags; bag++) {
            for (int64_t block = 0; block < n_blocks; block++) {
                const Block from = call.block(bag, block);
                for (int64_t i = 0; i < PLANES; i++) {
                    dplanes[i] += from.dplanes[i];
                }
                add(from.dkernel);
            }
            add(call.rows(bag).dkernel);
        }
    }
    return VAD_OK;
}
