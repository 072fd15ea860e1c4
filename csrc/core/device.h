// What every CUDA function of the core says: that a pointer is not this GPU's, and that a launch failed. For *.cu alone.

#pragma once

#include <cuda_runtime_api.h>

#include "error.h"

namespace vad {

// Refuses memory that a kernel cannot read, which would end the process's use of the GPU; NULL is not looked at.
inline vad_status check_device_pointer(const char * function, const char * name, const void * pointer) {
    cudaPointerAttributes attributes;
    if (pointer == nullptr) {
        return VAD_OK;
    }
    if (cudaError_t error = cudaPointerGetAttributes(&attributes, pointer); error != cudaSuccess) {
        cudaGetLastError();  // or the next launch would be blamed for it
        return fail(VAD_E_DEVICE, "%s: CUDA says of %s: %s", function, name, cudaGetErrorString(error));
    }
    if (attributes.devicePointer == nullptr) {
        return fail(VAD_E_ARGUMENT, "%s: %s must be device memory, got %p, which the GPU cannot read; copy it there first", function, name,
                    pointer);
    }
    int current;
    if (cudaError_t error = cudaGetDevice(&current); error != cudaSuccess) {
        cudaGetLastError();
        return fail(VAD_E_DEVICE, "%s: CUDA says of the current device: %s", function, cudaGetErrorString(error));
    }
    // Memory of the host and managed memory are every GPU's.
    if (attributes.type == cudaMemoryTypeDevice && attributes.device != current) {
        return fail(VAD_E_ARGUMENT, "%s: %s must be memory of the current device, %d, got memory of device %d; make that one current",
                    function, name, current, attributes.device);
    }
    return VAD_OK;
}

inline vad_status check_launch(const char * function) {
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? VAD_OK : fail(VAD_E_DEVICE, "%s: CUDA did not launch it: %s", function, cudaGetErrorString(error));
}

}  // namespace vad
