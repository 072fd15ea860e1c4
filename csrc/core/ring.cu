// The memory of a ring on the GPU.

#include "ring_memory.h"

#include <cuda_runtime_api.h>

#include "error.h"

namespace {

vad_status refuse(const char * function, const char * what, cudaError_t error) {
    cudaGetLastError();  // or the next launch would be blamed for it
    const vad_status status = error == cudaErrorMemoryAllocation ? VAD_E_MEMORY : VAD_E_DEVICE;
    return vad::fail(status, "%s: CUDA cannot %s: %s", function, what, cudaGetErrorString(error));
}

}  // namespace

vad_status vad::device_allocate(const char * function, int64_t n_bytes, uint8_t ** memory) {
    uint8_t * made = nullptr;
    if (cudaError_t error = cudaMalloc(&made, size_t(n_bytes)); error != cudaSuccess) {
        return refuse(function, "give the ring its memory", error);
    }
    cudaError_t error = cudaMemset(made, 0, size_t(n_bytes));
    if (error == cudaSuccess) {
        error = cudaStreamSynchronize(nullptr);  // or zeros could fall on the first frame of a stream that does not wait for this one
    }
    if (error != cudaSuccess) {
        cudaFree(made);
        return refuse(function, "write to the ring's memory", error);
    }
    *memory = made;
    return VAD_OK;
}

void vad::device_free(uint8_t * memory) {
    cudaFree(memory);  // waits for what is still under way
}

vad_status vad::device_copy(const char * function, uint8_t * to, const uint8_t * from, int64_t n_bytes, void * stream) {
    const cudaError_t error = cudaMemcpyAsync(to, from, size_t(n_bytes), cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(stream));
    return error == cudaSuccess ? VAD_OK : refuse(function, "move the frames of the ring", error);
}

int32_t vad::device_of(const uint8_t * memory) {
    cudaPointerAttributes attributes{};
    cudaPointerGetAttributes(&attributes, memory);
    return attributes.device;
}
