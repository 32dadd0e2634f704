// A library that opens others.
#include <dlfcn.h>

void *library_open(const char *name) { return dlopen(name, RTLD_NOW); }
