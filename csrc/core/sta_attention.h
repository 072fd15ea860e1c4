// How STA's attention is cut into work, and where the parts lie that the phases hand on.
//
// A bag is blocks of columns. A block sums its columns' waves for good and its part of each row's; a phase between them adds the parts of
// a row up in the order of the blocks and multiplies them by K. Some bags are under way at a time: what that takes does not grow with
// their number, and no thread waits where there are few.

#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include <vadfast/operators.h>

#include "overlap.h"
#include "parallel.h"
#include "sta_circle.h"

namespace vad::sta {

constexpr int64_t PLANES         = 10;
constexpr int64_t ITEMS_A_THREAD = 8;  // so that the last ones do not wait long for each other
constexpr int64_t LINE           = 8;  // doubles of 64 bytes

// In doubles, each a multiple of LINE.
struct Sizes {
    int64_t height, width, n_features;
    int64_t pitch;     // rows, up to a whole vector
    int64_t n_blocks;  // of columns
    int64_t n_bags;    // under way at a time
    int64_t n_threads;

    Sizes(int64_t n, int64_t height, int64_t width, int64_t n_harmonics, int64_t threads)
        : height(height), width(width), n_features(2 * n_harmonics + 1), pitch(rounded_up(height, LINE)),
          n_blocks((width + BLOCK - 1) / BLOCK), n_threads(std::min<int64_t>(threads, VAD_MAX_THREADS)) {
        n_bags = std::min(n, (ITEMS_A_THREAD * n_threads + n_blocks - 1) / n_blocks);
    }

    int64_t columns() const { return 2 * n_features * BLOCK; }                    // sums of a block's columns
    int64_t rows() const { return 2 * n_features * pitch; }                       // sums of rows
    int64_t elements() const { return pitch * BLOCK; }                            // of a block
    int64_t square() const { return rounded_up(n_features * n_features, LINE); }  // K, or its gradient
    int64_t planes() const { return rounded_up(PLANES, LINE); }
    int64_t of_block() const { return columns() + rows() + 2 * elements() + square() + planes(); }
    int64_t of_bag() const { return n_blocks * of_block() + 3 * rows() + square(); }
    int64_t of_thread() const { return int64_t(sizeof(Strip) / sizeof(double)) + 2 * columns() + rows(); }
    int64_t total() const { return 2 * square() + n_bags * of_bag() + n_threads * of_thread(); }
};

// What the phases hand on about one block.
struct Block {
    double * columns;  // [2n + 1, 2, BLOCK]
    double * rows;     // [2n + 1, 2, pitch], of this block alone
    double * direct;   // [pitch, BLOCK]: of the gradient of f, what does not come from the keys' sums
    double * turn;     // [pitch, BLOCK]: the same of the keys' angles
    double * dkernel;
    double * dplanes;

    Block(double * memory, const Sizes & is)
        : columns(memory), rows(columns + is.columns()), direct(rows + is.rows()), turn(direct + is.elements()),
          dkernel(turn + is.elements()), dplanes(dkernel + is.square()) {}
};

// The same about a bag's rows.
struct Rows {
    double * sums;   // [2n + 1, 2, pitch], of the keys
    double * dsums;  // of the queries
    double * gains;  // [pitch, 2n + 1, 2]: K times the last ones
    double * dkernel;

    Rows(double * memory, const Sizes & is) : sums(memory), dsums(sums + is.rows()), gains(dsums + is.rows()), dkernel(gains + is.rows()) {}
};

// What a thread works in.
struct Scratch {
    Strip *  strip;
    double * columns;   // [2n + 1, 2, BLOCK]
    double * dcolumns;  // the same
    double * rows;      // [2n + 1, 2, pitch]
};

// A call: its input, and the memory by whom it is for.
struct Call {
    const vad_sta_attention_input & in;
    Sizes                           is;
    int64_t                         n_values;    // of f
    int64_t                         n_squares;   // of the kernel
    double *                        kernel;      // [2n + 1, 2n + 1]
    double *                        transposed;  // K^T
    double *                        bags;
    double *                        own;

    Call(const vad_sta_attention_input & in, double * memory, vad_threads threads)
        : in(in), is(in.n, in.height, in.width, in.n_harmonics, threads.n), n_values(in.n * is.height * is.width),
          n_squares(is.n_features * is.n_features), kernel(memory), transposed(kernel + is.square()),
          bags(transposed + is.square()), own(bags + is.n_bags * is.of_bag()) {
        for (int64_t f = 0; f < is.n_features; f++) {
            for (int64_t g = 0; g < is.n_features; g++) {
                kernel[f * is.n_features + g] = transposed[g * is.n_features + f] = in.kernel[f * is.n_features + g];
            }
        }
    }

    Block block(int64_t bag, int64_t i) const { return Block(bags + bag * is.of_bag() + i * is.of_block(), is); }
    Rows  rows(int64_t bag) const { return Rows(bags + bag * is.of_bag() + is.n_blocks * is.of_block(), is); }

    Scratch scratch(int64_t thread) const {
        double * const memory  = own + thread * is.of_thread();
        double * const columns = memory + sizeof(Strip) / sizeof(double);
        return {reinterpret_cast<Strip *>(memory), columns, columns + is.columns(), columns + 2 * is.columns()};
    }
};

// Two rows of a block of columns of a tensor like f; fewer at its ends.
struct Piece {
    int64_t first;  // element of the tensor
    int64_t pitch;
    int64_t n_rows;
    int64_t n_columns;

    VAD_INLINE Piece(const Sizes & is, int64_t bag, int64_t block, int64_t row)
        : first((bag * is.height + row) * is.width + block * BLOCK), pitch(is.width), n_rows(std::min<int64_t>(ROWS, is.height - row)),
          n_columns(std::min<int64_t>(BLOCK, is.width - block * BLOCK)) {}

    // Zeros beyond the ends.
    VAD_INLINE void read(const float * from, double * to) const {
        const bool whole = n_rows == ROWS && n_columns == BLOCK;
        if (!whole) {
            std::fill(to, to + STRIP, 0.0);
        }
        for (int64_t r = 0; r < n_rows; r++) {
            const float * line = from + first + r * pitch;
            for (int64_t j = 0; j < (whole ? BLOCK : n_columns); j++) {
                to[r * BLOCK + j] = line[j];
            }
        }
    }

    // 1, and 0 beyond the ends; the same for all strips of a block but its last one.
    VAD_INLINE void mark(int64_t row, double * to) const {
        if (row > 0 && n_rows == ROWS) {
            return;
        }
        for (int64_t i = 0; i < STRIP; i++) {
            to[i] = i / BLOCK < n_rows && i % BLOCK < n_columns ? 1 : 0;
        }
    }

    VAD_INLINE void write(const double * from, float * to) const {
        for (int64_t r = 0; r < n_rows; r++) {
            for (int64_t j = 0; j < n_columns; j++) {
                to[first + r * pitch + j] = float(from[r * BLOCK + j]);
            }
        }
    }
};

// The exp of the cosine of elements with themselves: they are in their row and in their column, once too often.
VAD_INLINE void match(const float * g, Strip & at) {
    for (int i = 0; i < STRIP; i += LANES) {
        const Vector c = load(at.query.cosine + i), s = load(at.query.sine + i);
        store(at.own + i, exp_of((c * double(g[0]) + s * double(g[2])) * load(at.key.cosine + i) +
                                 (c * double(g[1]) + s * double(g[3])) * load(at.key.sine + i)));
    }
}

// Sums of the keys' waves times f and times 1: `bag` of the input, in the memory of bag `at`.
void sum_keys(const Call & call, int64_t bag, int64_t at, int64_t block, const Scratch & own);

// Adds up the blocks' parts of a bag's rows into `sums`, and leaves `kernel` times them as its gains.
void join_rows(const Call & call, int64_t at, const double * kernel, double * sums, const Scratch & own);

// Refuses what cannot be right, with a sentence that opens with `function`.
vad_status check(const char * function, const vad_sta_attention_input & input, const double * scratch, vad_threads threads);

// A tensor in memory, by its name.
struct Part {
    const char * name;
    Bytes        bytes;
};

template <typename T>
Part part(const char * name, const T * data, int64_t n) {
    return {name, bytes_at(data, n * int64_t(sizeof(T)))};
}

// Refuses a result that shares memory with an input or with another result.
vad_status check_apart(const char * function, std::initializer_list<Part> results, std::initializer_list<Part> inputs);

}  // namespace vad::sta
