/* Code in C that is linked into the program, and knows nothing of greenlets. */
#include <poll.h>
#include <time.h>
#include <unistd.h>

int archive_sleep(int milliseconds) {
    struct timespec time = {milliseconds / 1000, (milliseconds % 1000) * 1000000L};
    return nanosleep(&time, 0);
}

/* Waits, and reads a length that the compiler does not know: __read_chk. */
long archive_read(int fd, int length) {
    char buffer[16];
    struct pollfd entry = {fd, POLLIN, 0};
    if (poll(&entry, 1, -1) != 1)
        return -1;
    return read(fd, buffer, length);
}
