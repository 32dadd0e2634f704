/* A program in C that looks a name up. */
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* The first IPv4 address of a name, in network order; 0 if it went well. */
int library_resolve(const char *name, void *address) {
    struct addrinfo hints, *found;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    int error = getaddrinfo(name, "80", &hints, &found);
    if (error == 0) {
        memcpy(address, &((struct sockaddr_in *)found->ai_addr)->sin_addr, 4);
        freeaddrinfo(found);
    }
    return error;
}
