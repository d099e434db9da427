#define _GNU_SOURCE
#include "CRawRing.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

_Static_assert(sizeof(struct sockaddr_in6) <= LOCKSTEP_RAW_ADDRESS_BYTES, "an address has no room");

static int failed(int descriptor) {
    int error = errno;
    if (descriptor >= 0) close(descriptor);
    return error > 0 ? -error : -EIO;
}

static socklen_t length(const uint8_t *address) {
    sa_family_t family;
    memcpy(&family, address + offsetof(struct sockaddr, sa_family), sizeof family);
    return family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

// The address of this host's end of a connection to `host`: connecting a datagram socket sends nothing, but chooses the route.
static int own_address(const char *host, uint16_t port, uint8_t *address) {
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    if (getaddrinfo(host, service, &hints, &found) != 0) return -EADDRNOTAVAIL;
    int result = -EADDRNOTAVAIL;
    for (struct addrinfo *each = found; each != NULL && result != 0; each = each->ai_next) {
        int probe = socket(each->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        socklen_t room = LOCKSTEP_RAW_ADDRESS_BYTES;
        if (probe >= 0 && connect(probe, each->ai_addr, each->ai_addrlen) == 0 &&
            getsockname(probe, (struct sockaddr *)address, &room) == 0)
            result = 0;
        if (probe >= 0) close(probe);
    }
    freeaddrinfo(found);
    return result;
}

int lockstep_raw_listen(const char *host, uint16_t port, uint8_t address[LOCKSTEP_RAW_ADDRESS_BYTES]) {
    memset(address, 0, LOCKSTEP_RAW_ADDRESS_BYTES);
    int result = own_address(host, port, address);
    if (result < 0) return result;
    // Both families have their port at the same place.
    memset(address + offsetof(struct sockaddr_in, sin_port), 0, sizeof(in_port_t));
    socklen_t room = length(address);
    int listener = socket(((struct sockaddr *)address)->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)address, room) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)address, &room) != 0)
        return failed(listener);
    return listener;
}

static void limit_waiting(int descriptor, int milliseconds) {
    struct timeval limit = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};
    // Sends' limit is that of connect, too.
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

static void send_at_once(int descriptor) {
    int one = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

int lockstep_raw_connect(const uint8_t address[LOCKSTEP_RAW_ADDRESS_BYTES], uint64_t token, int milliseconds) {
    struct sockaddr_storage peer = {0};
    memcpy(&peer, address, LOCKSTEP_RAW_ADDRESS_BYTES);
    int stream = socket(peer.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (stream < 0) return failed(stream);
    limit_waiting(stream, milliseconds);
    send_at_once(stream);
    if (connect(stream, (struct sockaddr *)&peer, length(address)) != 0) return failed(stream);
    if (send(stream, &token, sizeof token, MSG_NOSIGNAL) != sizeof token) return failed(stream);
    return stream;
}

static int64_t milliseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int lockstep_raw_accept(int listener, uint64_t token, int milliseconds) {
    // A stranger that sends nothing is waited for no longer than this.
    const int patience = 1000;
    int64_t end = milliseconds_now() + milliseconds;
    while (true) {
        int64_t left = end - milliseconds_now();
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        if (left <= 0 || poll(&ready, 1, (int)left) == 0) return -ETIMEDOUT;
        int stream = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (stream < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            return failed(-1);
        }
        limit_waiting(stream, patience);
        uint64_t theirs = 0;
        if (recv(stream, &theirs, sizeof theirs, MSG_WAITALL) == sizeof theirs && theirs == token) {
            send_at_once(stream);
            return stream;
        }
        close(stream);
    }
}

// to += from, elementwise.
CLONES static void add(float *restrict to, const float *restrict from, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] += from[i];
}

int lockstep_raw_hops(int left, int right, int rank, int world, int first, int last, const size_t *bounds, float *x, float *segment,
                      size_t segment_elements, int milliseconds) {
    const size_t segment_bytes = segment_elements * sizeof(float);
    int out_hop = first, in_hop = first;
    size_t out = 0, in = 0;  // bytes of the hop at hand that have moved
    while (out_hop < last || in_hop < last) {
        bool moved = false;
        struct pollfd ready[2] = {{.fd = left, .events = in_hop < last ? POLLIN : 0}, {.fd = right}};
        if (out_hop < last) {
            int chunk = (rank - out_hop - 1 + 2 * world) % world;
            size_t whole = (bounds[chunk + 1] - bounds[chunk]) * sizeof(float);
            // The first hop sends what is here; a later one what the hop before it has brought, in whole segments.
            size_t here = whole;
            if (out_hop > first && out_hop > in_hop) here = out_hop - 1 == in_hop ? in / segment_bytes * segment_bytes : 0;
            if (here > out) {
                ssize_t count = send(right, (char *)(x + bounds[chunk]) + out, here - out, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (count > 0) {
                    out += (size_t)count;
                    moved = true;
                } else if (errno == EAGAIN) {
                    ready[1].events = POLLOUT;
                } else if (errno != EINTR) {
                    return failed(-1);
                }
            }
            if (out == whole) {
                out_hop++;
                out = 0;
                moved = true;
            }
        }
        if (in_hop < last) {
            int chunk = (rank - in_hop - 2 + 2 * world) % world;
            bool adds = in_hop < world - 1;
            size_t whole = (bounds[chunk + 1] - bounds[chunk]) * sizeof(float);
            size_t wanted = segment_bytes - in % segment_bytes;
            if (wanted > whole - in) wanted = whole - in;
            if (wanted > 0) {
                char *place = adds ? (char *)segment + in % segment_bytes : (char *)(x + bounds[chunk]) + in;
                ssize_t count = recv(left, place, wanted, MSG_DONTWAIT);
                if (count == 0) return -ECONNRESET;
                if (count < 0 && errno != EAGAIN && errno != EINTR) return failed(-1);
                if (count > 0) {
                    in += (size_t)count;
                    moved = true;
                    if (adds && (size_t)count == wanted) {
                        size_t bytes = (in - 1) % segment_bytes + 1;
                        add(x + bounds[chunk] + (in - bytes) / sizeof(float), segment, bytes / sizeof(float));
                    }
                }
            }
            if (in == whole) {
                in_hop++;
                in = 0;
                moved = true;
            }
        }
        if (!moved && poll(ready, 2, milliseconds) == 0) return -ETIMEDOUT;
    }
    return 0;
}
