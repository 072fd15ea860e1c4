/* A CUDA driver that runs nothing: it writes down every call, and of a launch the bytes of every argument.
 *
 * The test sets stub_capability, stub_fail (the name of a call that fails), and stub_n_sizes and stub_sizes (the bytes of each argument
 * of a launch, which a driver knows from the cubin), and reads stub_log. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

int  stub_capability = 90;
char stub_fail[64];
int  stub_n_sizes;
int  stub_sizes[256];
char stub_log[65536];

static void say(const char *format, ...) {
    size_t  used = strlen(stub_log);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(stub_log + used, sizeof stub_log - used, format, arguments);
    va_end(arguments);
}

static int done(const char *call) { return strcmp(call, stub_fail) == 0 ? 700 : 0; }

int cuInit(unsigned flags) {
    say("cuInit %u\n", flags);
    return done("cuInit");
}

int cuDeviceGet(int *device, int ordinal) {
    say("cuDeviceGet %d\n", ordinal);
    *device = ordinal;
    return done("cuDeviceGet");
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 75 ? stub_capability / 10 : attribute == 76 ? stub_capability % 10 : -1;
    return done("cuDeviceGetAttribute");
}

/* Handles do not fit into 32 bits: one that was cut to an int is not recognised. */
#define CONTEXT  ((void *)0x1111222233334444)
#define MODULE   ((void *)0x5555666677778888)
#define FUNCTION ((void *)0x1234567812345678)

int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    *context = CONTEXT;
    return done("cuDevicePrimaryCtxRetain");
}

int cuCtxSetCurrent(void *context) {
    say("cuCtxSetCurrent %s\n", context == CONTEXT ? "context" : "WRONG");
    return done("cuCtxSetCurrent");
}

int cuModuleLoadData(void **module, const void *image) {
    say("cuModuleLoadData %s\n", memcmp(image, "\177ELF", 4) == 0 ? "ELF" : "WRONG");
    *module = MODULE;
    return done("cuModuleLoadData");
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
    say("cuModuleGetFunction %s %s\n", module == MODULE ? "module" : "WRONG", name);
    *function = FUNCTION;
    return done("cuModuleGetFunction");
}

int cuFuncSetAttribute(void *function, int attribute, int value) {
    say("cuFuncSetAttribute %s %d %d\n", function == FUNCTION ? "function" : "WRONG", attribute, value);
    return done("cuFuncSetAttribute");
}

int cuGetErrorName(int code, const char **name) {
    *name = code == 700 ? "CUDA_ERROR_STUB" : NULL;
    return code == 700 ? 0 : 1;
}

int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared, void *stream, void **arguments, void **extra) {
    say("cuLaunchKernel %s grid %u %u %u block %u %u %u shared %u stream %p extra %d\n",
        function == FUNCTION ? "function" : "WRONG", grid_x, grid_y, grid_z, block_x, block_y, block_z, shared, stream,
        extra != NULL);
    for (int i = 0; i < stub_n_sizes; i++) {
        const unsigned char *bytes = arguments[i];
        say("argument ");
        for (int j = 0; j < stub_sizes[i]; j++) say("%02x", bytes[j]);
        say("\n");
    }
    return done("cuLaunchKernel");
}
