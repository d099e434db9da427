// Loaded into workers by scripts/chaos (LD_PRELOAD): leads each of their IPv4 connections through the proxy that listens at the Unix socket
// LOCKSTEP_CHAOS_SOCKET. The proxy is asked for a port that stands for the destination: 6 bytes, address and port, there; 2 bytes back, 0
// where the destination refuses.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef int (*connect_function)(int, const struct sockaddr *, socklen_t);

static in_port_t stand_in(connect_function original, const struct sockaddr_in *to, const char *path) {
    struct sockaddr_un proxy = {.sun_family = AF_UNIX};
    strncpy(proxy.sun_path, path, sizeof proxy.sun_path - 1);
    int channel = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned char question[6];
    memcpy(question, &to->sin_addr, 4);
    memcpy(question + 4, &to->sin_port, 2);
    in_port_t port = 0;
    if (channel < 0 || original(channel, (const struct sockaddr *)&proxy, sizeof proxy) != 0
        || write(channel, question, sizeof question) != sizeof question || read(channel, &port, sizeof port) != sizeof port)
        port = 0;
    if (channel >= 0) close(channel);
    return port;
}

int connect(int descriptor, const struct sockaddr *address, socklen_t length) {
    connect_function original = (connect_function)dlsym(RTLD_NEXT, "connect");
    const char *path = getenv("LOCKSTEP_CHAOS_SOCKET");
    if (path == NULL || address->sa_family != AF_INET) return original(descriptor, address, length);
    struct sockaddr_in to;
    memcpy(&to, address, sizeof to);
    to.sin_port = stand_in(original, &to, path);
    if (to.sin_port == 0) {
        errno = ECONNREFUSED;
        return -1;
    }
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return original(descriptor, (const struct sockaddr *)&to, sizeof to);
}
