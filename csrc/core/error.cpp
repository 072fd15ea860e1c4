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

const char * vad_last_error(void) {
    return sentence;
}
