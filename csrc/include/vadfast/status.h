/* What every function returns, and what this build is. */

#ifndef VADFAST_STATUS_H
#define VADFAST_STATUS_H

#include <stdint.h>

#define VAD_API __attribute__((visibility("default")))
#define VAD_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t vad_status;

enum {
    VAD_OK          = 0,
    VAD_E_ARGUMENT  = -1, /* an argument cannot be right: the sentence says which, what was wanted, what came */
    VAD_E_MEMORY    = -2, /* the machine or the device has no memory left */
    VAD_E_DEVICE    = -3, /* CUDA refuses, or this build has none */
    VAD_E_STATE     = -4, /* a saved state that is not one, or of another version */
};

/* Returns the sentence of the last failure in this thread; empty before the first. Valid until the next failure. */
VAD_API const char * vad_last_error(void);

/*
 * Returns a JSON object, one line: version, ABI, compiler, flags, instruction sets, commit and whether csrc differed from it (null where it
 * was not built from a checkout), CUDA version and architectures (null without).
 */
VAD_API const char * vad_build_info(void);

#ifdef __cplusplus
}
#endif

#endif
