// How arrays are handed from library to library without copying: the stable ABI of DLPack 0.x (github.com/dmlc/dlpack,
// include/dlpack/dlpack.h), as much as is read and made here.

#pragma once

#include <cstdint>

namespace vad {

enum DeviceType : int32_t { kCPU = 1, kCUDA = 2, kCUDAHost = 3, kCUDAManaged = 13 };
enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kComplex = 5, kBool = 6 };

struct DLTensor {
    void *    data;
    int32_t   device_type;
    int32_t   device_id;
    int32_t   ndim;
    uint8_t   code;
    uint8_t   bits;
    uint16_t  lanes;
    int64_t * shape;
    int64_t * strides;  // NULL: contiguous
    uint64_t  byte_offset;
};

struct DLManagedTensor {
    DLTensor tensor;
    void *   context;
    void (*deleter)(DLManagedTensor *);
};

}  // namespace vad
