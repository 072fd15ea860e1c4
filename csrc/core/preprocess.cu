// preprocess on CUDA: one launch for up to 64 pictures, whose descriptions travel with the launch as its argument, so that nothing is
// allocated and nothing is copied first.
//
// A block makes a tile of one image. Where its rows and columns come from takes divisions of 64 bits, so it works that out once for the
// tile, in shared memory. The bits are those of the CPU: the arithmetic is in preprocess.h for both.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "device.h"
#include "error.h"
#include "preprocess.h"

namespace {

using vad::Resize;
using vad::Tap;

constexpr int MAX_PICTURES = 64;
constexpr int TILE_WIDTH   = 64;  // neighbours in a row are neighbours in a warp: what they read and write lies together
constexpr int TILE_HEIGHT  = 16;
constexpr int THREAD_ROWS  = 4;   // of a block, each for TILE_HEIGHT / THREAD_ROWS rows of the tile
constexpr int MAX_GRID     = 65535;

struct Batch {
    Resize at[MAX_PICTURES];
};
static_assert(sizeof(Batch) <= 32764, "the arguments of a launch have so much room");

__device__ uint32_t pixel_at(const Resize & p, int32_t x, int32_t y) {
    const uint8_t * row = p.plane[0] + y * p.pitch[0];
    switch (p.format) {
        case VAD_FORMAT_NV12: {
            const uint8_t * uv = p.plane[1] + (y >> 1) * p.pitch[1] + (x & ~1);
            return vad::pixel_of_yuv(row[x], uv[0], uv[1]);
        }
        case VAD_FORMAT_I420:
            return vad::pixel_of_yuv(row[x], p.plane[1][(y >> 1) * p.pitch[1] + (x >> 1)], p.plane[2][(y >> 1) * p.pitch[2] + (x >> 1)]);
        case VAD_FORMAT_BGR: row += 3 * int64_t(x); return vad::pixel_of(row[2], row[1], row[0]);
        case VAD_FORMAT_RGB: row += 3 * int64_t(x); return vad::pixel_of(row[0], row[1], row[2]);
        default: return vad::pixel_of(row[x], row[x], row[x]);
    }
}

// Channel `shift` / 8 of two pixels of a row, blended.
__device__ int16_t across(uint32_t left, uint32_t right, int shift, const Tap & tap) {
    return vad::across(uint8_t(left >> shift), uint8_t(right >> shift), tap.weight);
}

__device__ void write_pixel(const Resize & p, const Tap & column, const Tap & row, uint8_t * out) {
    const int32_t  right        = min(column.high, p.width - 1);  // of one column there is no next
    const uint32_t corner[2][2] = {{pixel_at(p, column.low, row.low), pixel_at(p, right, row.low)},
                                   {pixel_at(p, column.low, row.high), pixel_at(p, right, row.high)}};
#pragma unroll
    for (int channel = 0; channel < 3; channel++) {
        const int16_t low  = across(corner[0][0], corner[0][1], 8 * channel, column);
        const int16_t high = across(corner[1][0], corner[1][1], 8 * channel, column);
        out[channel]       = vad::down(low, high, int16_t(vad::ONE - row.weight), int16_t(row.weight));
    }
}

__global__ void __launch_bounds__(TILE_WIDTH * THREAD_ROWS) preprocess_kernel(const __grid_constant__ Batch batch) {
    const Resize & p = batch.at[blockIdx.z];
    __shared__ Tap columns[TILE_WIDTH], rows[TILE_HEIGHT];

    const int64_t x = int64_t(blockIdx.x) * TILE_WIDTH + threadIdx.x;
    if (threadIdx.y == 0 && x < p.out_width) {
        columns[threadIdx.x] = vad::column_tap_of(int32_t(x), p.width, p.out_width);
    }
    // An image may have more tiles below each other than a grid has blocks.
    for (int64_t first = int64_t(blockIdx.y) * TILE_HEIGHT; first < p.out_height; first += int64_t(gridDim.y) * TILE_HEIGHT) {
        if (threadIdx.y == 1 && threadIdx.x < TILE_HEIGHT && first + threadIdx.x < p.out_height) {
            rows[threadIdx.x] = vad::tap_of(int32_t(first + threadIdx.x), p.height, p.out_height);
        }
        __syncthreads();
        for (int i = threadIdx.y; i < TILE_HEIGHT && first + i < p.out_height && x < p.out_width; i += THREAD_ROWS) {
            write_pixel(p, columns[threadIdx.x], rows[i], p.out + (first + i) * p.out_pitch + 3 * x);
        }
        __syncthreads();
    }
}

vad_status check_pointers(const char * function, const vad_picture & picture, const vad_image & image, int32_t i) {
    char name[64];
    for (int plane = 0; plane < vad::n_planes(picture.format); plane++) {
        std::snprintf(name, sizeof name, "pictures[%d].plane[%d]", i, plane);
        if (vad_status status = vad::check_device_pointer(function, name, picture.plane[plane]); status != VAD_OK) {
            return status;
        }
    }
    std::snprintf(name, sizeof name, "images[%d].data", i);
    return vad::check_device_pointer(function, name, image.data);
}

}  // namespace

vad_status vad_preprocess_cuda(const vad_picture * pictures, const vad_image * images, int32_t n, void * stream) {
    constexpr const char * FUNCTION = "vad_preprocess_cuda";

    vad_status status = vad::check_preprocess(FUNCTION, pictures, images, n);
    for (int32_t i = 0; status == VAD_OK && i < n; i++) {
        status = check_pointers(FUNCTION, pictures[i], images[i], i);
    }
    for (int32_t first = 0; status == VAD_OK && first < n; first += MAX_PICTURES) {
        Batch         batch{};
        const int32_t n_now = std::min(MAX_PICTURES, n - first);
        int32_t       width = 0, height = 0;
        for (int32_t i = 0; i < n_now; i++) {
            batch.at[i] = vad::resize_of(pictures[first + i], images[first + i]);
            width       = std::max(width, batch.at[i].out_width);
            height      = std::max(height, batch.at[i].out_height);
        }
        const dim3 grid((width - 1) / TILE_WIDTH + 1, std::min((height - 1) / TILE_HEIGHT + 1, MAX_GRID), n_now);
        preprocess_kernel<<<grid, dim3(TILE_WIDTH, THREAD_ROWS), 0, static_cast<cudaStream_t>(stream)>>>(batch);
        status = vad::check_launch(FUNCTION);
    }
    return status;
}
