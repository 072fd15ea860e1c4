// Where a ring on the GPU keeps its frames: ring.cu, and no_cuda.cpp where there is none.

#pragma once

#include <cstdint>

#include <vadfast/status.h>

namespace vad {

// Writes n_bytes zeros of device memory, of the device that is current.
vad_status device_allocate(const char * function, int64_t n_bytes, uint8_t ** memory);

void device_free(uint8_t * memory);

// Within the device, in the order of the stream.
vad_status device_copy(const char * function, uint8_t * to, const uint8_t * from, int64_t n_bytes, void * stream);

// The number of the GPU that device memory is on.
int32_t device_of(const uint8_t * memory);

}  // namespace vad
