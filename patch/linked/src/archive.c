/* Code in C that is linked into the program, and knows nothing of greenlets. */
#include <arpa/inet.h>
#include <poll.h>
#include <resolv.h>
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

/* The last byte of a name's address, from a name server on this machine that is asked over TCP; or -1. */
int archive_ask(const char *name, int port) {
    unsigned char answer[512];
    if (!(_res.options & RES_INIT) && res_init() != 0)
        return -1;
    _res.options |= RES_USEVC;
    _res.nscount = 1;
    _res.nsaddr_list[0].sin_family = AF_INET;
    _res.nsaddr_list[0].sin_port = htons(port);
    _res.nsaddr_list[0].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int length = res_query(name, ns_c_in, ns_t_a, answer, sizeof answer);
    return length < 1 ? -1 : answer[length - 1];
}
