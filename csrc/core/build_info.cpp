// What this library was made of: written by CMake, so that two builds can be told apart where they run.

#include <vadfast/status.h>

#include "commit.h"  // VADFAST_COMMIT_JSON: made anew by each build

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char * vad_build_info(void) {
    return "{\"version\": \"" VADFAST_VERSION "\", \"abi\": " TEXT(VAD_ABI_VERSION)
           ", \"compiler\": \"" VADFAST_COMPILER "\", \"flags\": \"" VADFAST_FLAGS
           "\", \"simd\": \"" VADFAST_SIMD "\", " VADFAST_COMMIT_JSON ", \"cuda\": " VADFAST_CUDA_JSON "}";
}
