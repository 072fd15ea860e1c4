/* What TensorRT's Python bindings want of its libraries to be imported: nothing of it does anything. */
#include <stddef.h>

void * createInferBuilder_INTERNAL(void * logger, int version) { (void)logger; (void)version; return NULL; }
void * createInferRefitter_INTERNAL(void * engine, void * logger, int version) { (void)engine; (void)logger; (void)version; return NULL; }
void * createInferRuntime_INTERNAL(void * logger, int version) { (void)logger; (void)version; return NULL; }
void * createNvOnnxParser_INTERNAL(void * network, void * logger, int version) { (void)network; (void)logger; (void)version; return NULL; }
void * createNvOnnxParserRefitter_INTERNAL(void * refitter, void * logger, int version) { (void)refitter; (void)logger; (void)version; return NULL; }
void * getBuilderPluginRegistry(int capability) { (void)capability; return NULL; }
void * getPluginRegistry(void) { return NULL; }
int    getNvOnnxParserVersion(void) { return 0; }
int    initLibNvInferPlugins(void * logger, const char * name) { (void)logger; (void)name; return 0; }
