/* A library that knows nothing of greenlets, built by the test with and without _FORTIFY_SOURCE. */
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Sleeps, and says when it has slept enough. */
int library_sleep(int milliseconds) {
    struct timespec time = {milliseconds / 1000, (milliseconds % 1000) * 1000000L};
    return nanosleep(&time, 0);
}

/* Sends what comes in back, until the end; the bytes. */
long library_echo(int fd) {
    char buffer[512];
    long total = 0;
    for (;;) {
        struct pollfd entry = {fd, POLLIN, 0};
        if (poll(&entry, 1, -1) != 1)
            return -1;
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got <= 0)
            return got < 0 ? -1 : total;
        if (write(fd, buffer, got) != got)
            return -1;
        total += got;
    }
}

/* Reads a length that the compiler does not know into a buffer that it knows: __read_chk. */
long library_read(int fd, int length) {
    char buffer[16];
    return read(fd, buffer, length);
}
