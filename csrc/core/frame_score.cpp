// Squared errors of frames on the CPU, read once and gathered in columns.
//
// The one decision to know: the errors of up to ROWS rows are added column by column in float32, each column by itself, and only then
// along the columns, in float64 and LANES lanes. So the order of every sum is written here, whatever the width of the vectors, and the
// work for grids of any size is a part of 1 / ROWS. Rows are added together only within one cell of every grid.

#include <algorithm>
#include <cstdint>

#include "error.h"
#include "frame_score.h"
#include "frame_values.h"
#include "parallel.h"
#include "simd.h"

namespace {

using vad::Comparison;
using vad::Cuts;
using vad::Grid;
using vad::Side;

constexpr int ROWS  = 8;
constexpr int LANES = 8;
constexpr int LINE  = 2048;  // values of a row at a time: sums, two converted rows and the weights stay in the first cache

// How a row is read: plane after plane; planes of `a` against pixels of three bytes in `b`; or all channels of both as one line.
enum class Layout { planes, pixels, line };

// The memory of one frame's work, on the stack.
struct Room {
    float   sum[LINE];
    float   a[LINE];
    float   b[LINE];
    float   weight[LINE];
    uint8_t pixels[vad::RGB][LINE / vad::RGB];
    double  patches[VAD_MAX_GRID_COLUMNS];
    double  heatmap[VAD_MAX_GRID_COLUMNS];
};

// A cell after the other, from the one at `place`: its end without a division each.
struct Cursor {
    int64_t cell;
    int64_t end;
    int64_t rest;  // of (cell + 1) * size over cells
    int64_t step;
    int64_t step_rest;
    int64_t cells;

    VAD_INLINE Cursor(const Cuts & cuts, int64_t place)
        : cell(cuts.cell_at(place)),
          end((cell + 1) * cuts.size / cuts.cells),
          rest((cell + 1) * cuts.size % cuts.cells),
          step(cuts.size / cuts.cells),
          step_rest(cuts.size % cuts.cells),
          cells(cuts.cells) {}

    VAD_INLINE void next() {
        cell++;
        end += step;
        rest += step_rest;
        if (rest >= cells) {
            rest -= cells;
            end++;
        }
    }
};

// ------------------------------------------------------------------------------------------------ adding

// The weights of n columns from `column` on, each `repeat` times.
VAD_INLINE void spread_weights(const Comparison & p, int64_t frame, int64_t row, int64_t column, int n, int repeat, float * out) {
    const float * weights = p.weight + (frame * p.weights.rows.cells + row) * p.weights.columns.cells;
    Cursor        cell(p.weights.columns, column);
    for (int64_t x = 0; x < n; cell.next()) {
        const int64_t end = std::min<int64_t>(n, cell.end - column);
        std::fill(out + x * repeat, out + end * repeat, weights[cell.cell]);
        x = end;
    }
}

template <bool WEIGHTED, typename B>
VAD_INLINE void add_errors(const Comparison & p, const float * __restrict a, const B * __restrict b, const float * __restrict weight, int n,
                           float * __restrict sum) {
    for (int i = 0; i < n; i++) {
        const float d = vad::difference(a[i], float(b[i]), p.a.scale, p.b.scale, p.offset);
        sum[i] += WEIGHTED ? weight[i] * (d * d) : d * d;
    }
}

template <typename B>
VAD_INLINE void add_errors(const Comparison & p, const float * a, const B * b, Room & room, int n, float * sum) {
    if (p.weight != nullptr) {
        add_errors<true>(p, a, b, room.weight, n, sum);
    } else {
        add_errors<false>(p, a, b, room.weight, n, sum);
    }
}

// What is read of a row at a time, and where it lies: `n` columns and all their channels as one line where the layout is one.
struct Piece {
    int64_t frame;
    int64_t channel;
    int64_t row;
    int64_t column;
    int     n;
};

VAD_INLINE void add_piece(const Comparison & p, Layout layout, Piece at, Room & room) {
    if (layout == Layout::pixels) {
        vad::split_pixels(p.b.at(at.frame, 0, at.row, at.column), at.n, room.pixels[0], room.pixels[1], room.pixels[2]);
        for (int k = 0; k < vad::RGB; k++) {
            const float * a = vad::floats_of(p.a.dtype, p.a.at(at.frame, k, at.row, at.column), p.a.step[3], at.n, room.a);
            add_errors(p, a, room.pixels[k], room, at.n, room.sum + k * at.n);
        }
        return;
    }
    const bool      line   = layout == Layout::line;
    const int       n      = line ? at.n * p.channels : at.n;
    const int64_t   step_a = line ? p.a.bytes : p.a.step[3];
    const int64_t   step_b = line ? p.b.bytes : p.b.step[3];
    const float *   a      = vad::floats_of(p.a.dtype, p.a.at(at.frame, at.channel, at.row, at.column), step_a, n, room.a);
    const uint8_t * b      = p.b.at(at.frame, at.channel, at.row, at.column);
    if (p.b.dtype == VAD_DTYPE_U8 && step_b == 1) {
        add_errors(p, a, b, room, n, room.sum);
    } else {
        add_errors(p, a, vad::floats_of(p.b.dtype, b, step_b, n, room.b), room, n, room.sum);
    }
}

// Of n values `step` apart, in float64 and always in this order.
template <int STEP>
VAD_INLINE double sum_of(const float * x, int64_t n, int64_t step) {
    const int64_t stride      = STEP > 0 ? STEP : step;
    double        lane[LANES] = {};
    int64_t       i           = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            lane[l] += double(x[(i + l) * stride]);
        }
    }
    for (int l = 0; i + l < n; l++) {
        lane[l] += double(x[(i + l) * stride]);
    }
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

VAD_INLINE double sum_of(const float * x, int64_t n, int64_t step) {
    return n == 1 ? double(x[0]) : step == 1 ? sum_of<1>(x, n, 1) : sum_of<0>(x, n, step);
}

// Adds n column sums of one channel to the cells of a row of a grid; returns their sum.
VAD_INLINE double gather(const Cuts & cuts, const float * sum, int64_t step, int64_t column, int n, double * cells) {
    if (cuts.cells == cuts.size) {
        for (int i = 0; i < n; i++) {
            cells[column + i] += double(sum[i * step]);
        }
        return sum_of(sum, n, step);
    }
    Cursor cell(cuts, column);
    double total = 0;
    for (int64_t x = 0; x < n; cell.next()) {
        const int64_t end = std::min<int64_t>(n, cell.end - column);
        const double  s   = sum_of(sum + x * step, end - x, step);
        total += s;
        cells[cell.cell] += s;
        x = end;
    }
    return total;
}

// ------------------------------------------------------------------------------------------------ one frame

// Adds rows [begin, end), which lie in one row of cells of every grid; returns their sum.
VAD_INLINE double add_rows(const Comparison & p, Layout layout, int64_t frame, int64_t begin, int64_t end, int64_t weight_row, Room & room,
                           double * channels) {
    const int group = layout == Layout::planes ? 1 : p.channels;  // channels at a time
    double    total = 0;
    for (int64_t column = 0; column < p.width; column += LINE / group) {
        const int n = int(std::min<int64_t>(LINE / group, p.width - column));
        if (p.weight != nullptr) {
            spread_weights(p, frame, weight_row, column, n, layout == Layout::line ? group : 1, room.weight);
        }
        for (int channel = 0; channel < p.channels; channel += group) {
            std::fill(room.sum, room.sum + group * n, 0.0f);
            for (int64_t row = begin; row < end; row++) {
                add_piece(p, layout, {frame, channel, row, column, n}, room);
            }
            for (int k = 0; k < group; k++) {
                const float * sum  = room.sum + (layout == Layout::line ? k : k * n);
                const int     step = layout == Layout::line ? group : 1;
                const double  s    = gather(p.patches.columns, sum, step, column, n, room.patches);
                gather(p.heatmap.columns, sum, step, column, n, room.heatmap);
                total += s;
                if (channels != nullptr) {
                    channels[channel + k] += s;
                }
            }
        }
    }
    return total;
}

// Takes the means of a row of cells out of their sums.
template <typename Take>
VAD_INLINE void finish_cells(const Comparison & p, const Cuts & columns, int64_t n_rows, double * sums, const Take & take) {
    int64_t begin = 0;
    for (Cursor cell(columns, 0); cell.cell < columns.cells; cell.next()) {
        const double n_columns = double(cell.end - begin);
        take(cell.cell, vad::mean_of(sums[cell.cell], double(p.channels) * double(n_rows) * n_columns));
        sums[cell.cell] = 0;
        begin           = cell.end;
    }
}

VAD_SIMD void score_frame(const Comparison & p, const vad_frame_scores & scores, Layout layout, int64_t frame, Room & room) {
    const double pixels   = double(p.height) * double(p.width);
    double *     channels = scores.channel == nullptr ? nullptr : scores.channel + frame * p.channels;
    float *      heatmap  = scores.heatmap == nullptr ? nullptr : scores.heatmap + frame * p.heatmap.rows.cells * p.heatmap.columns.cells;
    double       total = 0, worst = -double(INFINITY);
    Cursor       patch(p.patches.rows, 0), cell(p.heatmap.rows, 0), weight(p.weights.rows, 0);
    std::fill(room.patches, room.patches + p.patches.columns.cells, 0.0);
    std::fill(room.heatmap, room.heatmap + p.heatmap.columns.cells, 0.0);
    if (channels != nullptr) {
        std::fill(channels, channels + p.channels, 0.0);
    }
    int64_t end;
    for (int64_t row = 0; row < p.height; row = end) {
        end = std::min({row + ROWS, patch.end, cell.end, weight.end});
        total += add_rows(p, layout, frame, row, end, weight.cell, room, channels);
        if (end == patch.end) {
            finish_cells(p, p.patches.columns, end - p.patches.rows.begin_of(patch.cell), room.patches,
                         [&](int64_t, double mean) { worst = vad::worse(worst, mean); });
            patch.next();
        }
        if (end == cell.end) {
            float * out = heatmap == nullptr ? nullptr : heatmap + cell.cell * p.heatmap.columns.cells;
            finish_cells(p, p.heatmap.columns, end - p.heatmap.rows.begin_of(cell.cell), room.heatmap, [&](int64_t i, double mean) {
                if (out != nullptr) {
                    out[i] = float(mean);
                }
            });
            cell.next();
        }
        if (end == weight.end) {
            weight.next();
        }
    }
    const double error = vad::mean_of(total, double(p.channels) * pixels);
    for (int c = 0; channels != nullptr && c < p.channels; c++) {
        channels[c] = vad::mean_of(channels[c], pixels);
    }
    vad::write_frame(scores, frame, error, worst);
}

// Whether channels lie beside each other and columns without a gap.
bool is_line(const Comparison & p, const Side & side) {
    return side.step[1] == side.bytes && side.step[3] == int64_t(side.bytes) * p.channels;
}

bool is_pixels(const Comparison & p, const Side & side) {
    return side.dtype == VAD_DTYPE_U8 && p.channels == vad::RGB && is_line(p, side);
}

}  // namespace

vad_status vad_frame_score(const vad_frame_pair * pair, const vad_frame_scores * scores, vad_threads threads) {
    if (vad_status status = vad::check_frame_score(__func__, pair, scores); status != VAD_OK) {
        return status;
    }
    if (threads.n < 1) {
        return vad::fail(VAD_E_ARGUMENT, "%s: n_threads must be at least 1, got %d", __func__, threads.n);
    }
    const Comparison p      = vad::comparison_of(*pair, *scores);
    Layout           layout = Layout::planes;
    if (is_line(p, p.a) && is_line(p, p.b) && p.channels > 1 && p.channels <= LINE / 64) {
        layout = Layout::line;
    } else if (is_pixels(p, p.b)) {
        layout = Layout::pixels;
    }
    vad::parallel(threads, p.n, [&](int32_t, int64_t frame) {
        Room room;
        score_frame(p, *scores, layout, frame, room);
    });
    return VAD_OK;
}
