/* Who does work that is more than one thread's. */

#ifndef VADFAST_THREADS_H
#define VADFAST_THREADS_H

#include <vadfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Calls work(data) on n_threads threads at once and waits for all: GOMP_parallel of an OpenMP library is one. */
typedef void (*vad_run)(void (*work)(void *), void * data, unsigned n_threads, unsigned flags);

#define VAD_MAX_THREADS 256 /* of a call; more than these are not used */

/*
 * Who works. A library whose own threads wait for their next work by spinning, as PyTorch's do, must lend them: threads of ours would
 * have half of a core beside each. `run` NULL: threads that are made for the call.
 */
typedef struct {
    int32_t n;    /* at least 1 */
    vad_run run;
} vad_threads;

#ifdef __cplusplus
}
#endif

#endif
