#pragma once
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <uv.h>

// prctl is variadic, which Swift does not import.

// Names the calling thread; the kernel keeps the first 15 bytes.
static inline int lockstep_name_thread(const char *name) {
    return prctl(PR_SET_NAME, name, 0, 0, 0);
}

// After so many probes without an answer, a second apart, the kernel gives a silent connection up.
static inline void lockstep_keepalive_probes(int descriptor, int probes) {
    int second = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &second, sizeof second);
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

// What was sent and is not acknowledged for so long ends the connection.
static inline void lockstep_unacknowledged_limit(int descriptor, unsigned milliseconds) {
    setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
}

// How often in a row the kernel has sent again what is not acknowledged: 0 when the last was, or where the peer has no room for more.
static inline int lockstep_retransmissions(int descriptor) {
    struct tcp_info info;
    socklen_t length = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return 0;
    return info.tcpi_unacked > 0 ? info.tcpi_retransmits : 0;
}
