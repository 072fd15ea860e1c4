// How a function of the core fails: it keeps one sentence for vad_last_error() and returns the status.

#pragma once

#include <vadfast/status.h>

namespace vad {

// Returns `status`: return fail(VAD_E_ARGUMENT, "vad_minmax: n must be at least 1, got %lld", n);
vad_status fail(vad_status status, const char * format, ...) __attribute__((format(printf, 2, 3)));

// The same for a pointer that must not be NULL.
vad_status missing(const char * function, const char * argument);

}  // namespace vad
