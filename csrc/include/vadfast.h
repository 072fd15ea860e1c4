/*
 * vadfast.h: the native core of vadfast in C99, from a camera's picture to a score.
 *
 *     picture -> preprocess -> ring -> (any engine) -> frame score -> chain -> hysteresis
 *
 * The one decision to know: every function checks what it is given before it writes anything. It returns VAD_OK, or a status with a
 * sentence in vad_last_error(), and then its outputs are untouched. Nothing throws, and nothing allocates but
 * vad_*_create() and a call that makes threads of its own; where it can make none, it does the work alone.
 *
 * Threads: functions without a handle may be called from any thread; a handle by one thread at a time. There is no global state but
 * the sentence of the last failure, which each thread has for itself.
 *
 * Times are in nanoseconds of any clock that does not jump; sizes in pixels; strides of pictures in bytes, of tensors in elements.
 */

#ifndef VADFAST_H
#define VADFAST_H

#include <vadfast/frame.h>
#include <vadfast/operators.h>
#include <vadfast/ring.h>
#include <vadfast/score.h>
#include <vadfast/status.h>
#include <vadfast/threads.h>

#endif
