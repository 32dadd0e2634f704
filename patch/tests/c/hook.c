// A library whose constructor calls the function whose address the environment gives.
#include <stdlib.h>

__attribute__((constructor)) static void begin(void) {
    const char *hook = getenv("SWARD_TEST_HOOK");
    if (hook)
        ((void (*)(void))strtoul(hook, 0, 16))();
}
