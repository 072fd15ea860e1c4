// The sentence of the last failure of each thread, in memory that is always there: a failure must not need any.

#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace {

thread_local char sentence[512];

}  // namespace

vad_status vad::fail(vad_status status, const char * format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return status;
}

vad_status vad::missing(const char * function, const char * argument) {
    return fail(VAD_E_ARGUMENT, "%s: %s must not be NULL; pass one", function, argument);
}

const char * vad_last_error(void) {
    return sentence;
}
