// Squared errors of frames on the GPU: one kernel sums the rows, a second one the rows of each cell.
//
// The one decision to know: a row of a frame lies in one row of cells of every grid, so that a block which has a row to itself needs
// to know nothing of the others. What it leaves in the scratch is float64 sums, a fraction of what it reads; all sums are of a fixed
// order, and there are no atomics.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>

#include "device.h"
#include "error.h"
#include "frame_score.h"

namespace {

using vad::Comparison;
using vad::Cuts;
using vad::Side;

constexpr int LANES          = 8;     // threads that sum together
constexpr int ROW_THREADS    = 128;
constexpr int ROW_BLOCKS     = 8;     // on a multiprocessor: as many as 64 registers a thread let in, without a spill
constexpr int CELL_THREADS   = 256;
constexpr int N_GROUPS       = CELL_THREADS / LANES;
constexpr int TILE           = 1024;  // errors of a row at a time, in shared memory
constexpr int AT_ONCE        = 4;     // loads of a thread that are under way together: memory is far
constexpr int CELLS          = 256;   // of the heat map for a block
constexpr int MAX_ROW_BLOCKS = 1 << 30;

// What a row leaves: a sum for every channel, column of patches and column of the heat map.
__host__ __device__ int64_t n_slots(const Comparison & p) {
    return p.channels + p.patches.columns.cells + p.heatmap.columns.cells;
}

// The sum over the LANES threads of a group, in every one of them.
__device__ double sum_of_group(double x) {
    const unsigned group = ((1u << LANES) - 1) << (threadIdx.x % 32 / LANES * LANES);
    for (int step = LANES / 2; step > 0; step /= 2) {
        x += __shfl_xor_sync(group, x, step);
    }
    return x;
}

// ------------------------------------------------------------------------------------------------ rows

// A part of a row: `channels` channels and n columns, the errors of the k-th channel at k * n.
struct Tile {
    int frame;
    int row;
    int column;
    int channel;
    int channels;
    int n;
};

__device__ void read(const Side & side, const Tile & tile, int first, float (&out)[AT_ONCE]) {
    const uint8_t * start = side.at(tile.frame, tile.channel, tile.row, tile.column);
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
        const int value = min(first + i * ROW_THREADS, tile.channels * tile.n - 1);  // beyond the end what is read is not used
        const int k     = value / tile.n;
        out[i]          = vad::value_of(start + k * side.step[1] + (value - k * tile.n) * side.step[3], side.dtype);
    }
}

__device__ void fill(const Comparison & p, const Tile & tile, float * errors) {
    const int     total   = tile.channels * tile.n;
    const float * weights = p.weight;
    if (weights != nullptr) {
        weights += (tile.frame * p.weights.rows.cells + p.weights.rows.cell_at(tile.row)) * p.weights.columns.cells;
    }
    for (int first = threadIdx.x; first < total; first += AT_ONCE * ROW_THREADS) {
        float a[AT_ONCE], b[AT_ONCE];
        read(p.a, tile, first, a);
        read(p.b, tile, first, b);
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const int value = first + i * ROW_THREADS;
            if (value < total) {
                const float d = vad::difference(a[i], b[i], p.a.scale, p.b.scale, p.offset);
                errors[value] = weights == nullptr ? d * d : weights[p.weights.columns.cell_at(tile.column + value % tile.n)] * (d * d);
            }
        }
    }
}

// Adds the errors of one group's channels [k, k_end) and columns [x, x_end) of the frame, as far as they lie in the tile, to `slot`.
__device__ void gather(const Tile & tile, const float * errors, int k, int k_end, int x, int x_end, double * slot) {
    const int lane  = threadIdx.x % LANES;
    const int begin = max(x - tile.column, 0);
    const int end   = min(x_end - tile.column, tile.n);
    double    sum   = 0;
    for (; k < k_end; k++) {
        for (int i = begin + lane; i < end; i += LANES) {
            sum += double(errors[k * tile.n + i]);
        }
    }
    sum = sum_of_group(sum);
    if (lane == 0) {
        *slot += sum;
    }
}

// Takes a row of cells of a grid: those in the tile, a group each.
__device__ void gather_cells(const Cuts & cuts, const Tile & tile, const float * errors, double * slots) {
    const int end = int(cuts.cell_at(tile.column + tile.n - 1)) + 1;
    for (int cell = int(cuts.cell_at(tile.column)) + threadIdx.x / LANES; cell < end; cell += ROW_THREADS / LANES) {
        gather(tile, errors, 0, tile.channels, int(cuts.begin_of(cell)), int(cuts.begin_of(cell + 1)), slots + cell);
    }
}

__device__ void gather_all(const Comparison & p, const Tile & tile, const float * errors, double * slots) {
    for (int k = threadIdx.x / LANES; k < tile.channels; k += ROW_THREADS / LANES) {
        gather(tile, errors, k, k + 1, tile.column, tile.column + tile.n, slots + tile.channel + k);
    }
    gather_cells(p.patches.columns, tile, errors, slots + p.channels);
    gather_cells(p.heatmap.columns, tile, errors, slots + p.channels + p.patches.columns.cells);
}

__global__ void __launch_bounds__(ROW_THREADS, ROW_BLOCKS) frame_score_rows_kernel(Comparison p, double * parts) {
    __shared__ float errors[TILE];
    const int        n_columns  = min(p.width, TILE);
    const int        n_channels = min(p.channels, TILE / n_columns);
    const int64_t    slots      = n_slots(p);
    for (int64_t line = blockIdx.x; line < int64_t(p.n) * p.height; line += gridDim.x) {
        double * mine = parts + line * slots;
        for (int64_t i = threadIdx.x; i < slots; i += ROW_THREADS) {
            mine[i] = 0;
        }
        Tile tile{int(line / p.height), int(line % p.height), 0, 0, 0, 0};
        for (int64_t column = 0; column < p.width; column += n_columns) {
            tile.column = int(column);
            tile.n      = min(n_columns, p.width - tile.column);
            for (tile.channel = 0; tile.channel < p.channels; tile.channel += n_channels) {
                tile.channels = min(n_channels, p.channels - tile.channel);
                fill(p, tile, errors);
                __syncthreads();
                gather_all(p, tile, errors, mine);
                __syncthreads();
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------ cells

// The sum of one slot over rows [begin, end), in every thread of the group.
__device__ double sum_of_rows(const double * slot, int64_t slots, int64_t begin, int64_t end) {
    double sum = 0;
    for (int64_t row = begin + threadIdx.x % LANES; row < end; row += LANES) {
        sum += slot[row * slots];
    }
    return sum_of_group(sum);
}

// The mean of cell (i, j) of a grid whose columns' sums begin at `slot`.
__device__ double mean_of_cell(const Comparison & p, const vad::Grid & grid, int64_t cell, const double * slot, int64_t slots) {
    const int64_t i = cell / grid.columns.cells, j = cell % grid.columns.cells;
    const int64_t begin = grid.rows.begin_of(i), end = grid.rows.begin_of(i + 1);
    const double  count = double(p.channels) * double(end - begin) * double(grid.columns.begin_of(j + 1) - grid.columns.begin_of(j));
    return vad::mean_of(sum_of_rows(slot + j, slots, begin, end), count);
}

// Blocks (frame, 0) take what a frame has one of, blocks (frame, 1 and more) the heat map.
__global__ void __launch_bounds__(CELL_THREADS) frame_score_cells_kernel(Comparison p, vad_frame_scores scores, const double * parts) {
    __shared__ double totals[N_GROUPS], worsts[N_GROUPS];
    const int64_t     frame = blockIdx.x, slots = n_slots(p);
    const double *    mine  = parts + frame * p.height * slots;
    const int         group = threadIdx.x / LANES;
    const bool        first = threadIdx.x % LANES == 0;
    if (blockIdx.y > 0) {
        const int64_t n_cells = p.heatmap.rows.cells * p.heatmap.columns.cells;
        for (int64_t block = blockIdx.y - 1; block * CELLS < n_cells; block += gridDim.y - 1) {
            for (int64_t cell = block * CELLS + group; cell < min(n_cells, (block + 1) * CELLS); cell += N_GROUPS) {
                const double mean = mean_of_cell(p, p.heatmap, cell, mine + p.channels + p.patches.columns.cells, slots);
                if (first) {
                    scores.heatmap[frame * n_cells + cell] = float(mean);
                }
            }
        }
        return;
    }
    const double pixels = double(p.height) * double(p.width);
    double       total = 0, worst = -double(INFINITY);
    for (int64_t channel = group; channel < p.channels; channel += N_GROUPS) {
        const double sum = sum_of_rows(mine + channel, slots, 0, p.height);
        total += sum;
        if (first && scores.channel != nullptr) {
            scores.channel[frame * p.channels + channel] = vad::mean_of(sum, pixels);
        }
    }
    for (int64_t cell = group; cell < p.patches.rows.cells * p.patches.columns.cells; cell += N_GROUPS) {
        worst = vad::worse(worst, mean_of_cell(p, p.patches, cell, mine + p.channels, slots));
    }
    if (first) {
        totals[group] = total;
        worsts[group] = worst;
    }
    __syncthreads();
    if (threadIdx.x > 0) {
        return;
    }
    for (int i = 1; i < N_GROUPS; i++) {
        total += totals[i];
        worst = vad::worse(worst, worsts[i]);
    }
    const double error = vad::mean_of(total, pixels * p.channels);
    vad::write_frame(scores, frame, error, worst);
}

// ------------------------------------------------------------------------------------------------ launching

vad_status check_memory(const char * function, const vad_frame_pair & pair, const vad_frame_scores & scores, const void * scratch) {
    const struct {
        const char * name;
        const void * pointer;
    } all[] = {{"predicted.data", pair.predicted.data}, {"truth.data", pair.truth.data}, {"weight", pair.weight},
               {"error", scores.error}, {"psnr_db", scores.psnr_db}, {"channel", scores.channel},
               {"worst", scores.worst}, {"heatmap", scores.heatmap}, {"scratch", scratch}};
    for (const auto & one : all) {
        if (vad_status status = vad::check_device_pointer(function, one.name, one.pointer); status != VAD_OK) {
            return status;
        }
    }
    return VAD_OK;
}

}  // namespace

vad_status vad_frame_score_cuda(const vad_frame_pair * pair, const vad_frame_scores * scores, void * scratch, int64_t scratch_bytes,
                                void * stream) {
    int64_t needed;
    if (vad_status status = vad::check_frame_score(__func__, pair, scores); status != VAD_OK) {
        return status;
    }
    if (vad_status status = vad_frame_score_scratch(pair, scores, &needed); status != VAD_OK) {
        return status;
    }
    if (scratch_bytes < needed || (scratch == nullptr && needed > 0) || reinterpret_cast<uintptr_t>(scratch) % sizeof(double) != 0) {
        return vad::fail(VAD_E_ARGUMENT,
                         "%s: scratch must be %lld bytes of device memory aligned to 8 (vad_frame_score_scratch), got %lld at %p", __func__,
                         (long long)needed, (long long)scratch_bytes, scratch);
    }
    if (vad_status status = check_memory(__func__, *pair, *scores, scratch); status != VAD_OK || pair->n == 0) {
        return status;
    }
    const Comparison p         = vad::comparison_of(*pair, *scores);
    const auto       on        = static_cast<cudaStream_t>(stream);
    const int64_t    n_cells   = p.heatmap.rows.cells * p.heatmap.columns.cells;
    const int64_t    n_blocks  = scores->heatmap == nullptr ? 0 : std::min<int64_t>((n_cells + CELLS - 1) / CELLS, 65534);
    const unsigned   row_blocks = unsigned(std::min<int64_t>(int64_t(p.n) * p.height, MAX_ROW_BLOCKS));
    frame_score_rows_kernel<<<row_blocks, ROW_THREADS, 0, on>>>(p, static_cast<double *>(scratch));
    const dim3 cell_blocks(unsigned(p.n), unsigned(1 + n_blocks));
    frame_score_cells_kernel<<<cell_blocks, CELL_THREADS, 0, on>>>(p, *scores, static_cast<double *>(scratch));
    return vad::check_launch(__func__);
}
