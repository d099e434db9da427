// The limit that a ring of sockets can be compared with: hops over plain TCP, without frames, numbers, checks or a second thread.
//
// It adds float32 and trusts its peers. It is there to be measured beside Lockstep's own ring, on the same hosts and the same
// path, and is used for nothing else.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Room for a socket address of either family.
#define LOCKSTEP_RAW_ADDRESS_BYTES 32

// Opens a listener on a free port of the address that this host has on its way to `host`:`port`, and writes its whole socket
// address. Returns the socket, which is the caller's to close, or -errno.
int lockstep_raw_listen(const char *host, uint16_t port, uint8_t address[LOCKSTEP_RAW_ADDRESS_BYTES]);

// Connects to an address that `lockstep_raw_listen` wrote on some host, and sends the token, which says who is calling. Returns
// the socket or -errno. Waits `milliseconds` at most.
int lockstep_raw_connect(const uint8_t address[LOCKSTEP_RAW_ADDRESS_BYTES], uint64_t token, int milliseconds);

// Accepts connections until one brings the token, and closes the others. Returns the socket or -errno; -ETIMEDOUT after
// `milliseconds`.
int lockstep_raw_accept(int listener, uint64_t token, int milliseconds);

// One rank's part of hops `first` ..< `last` of a ring all-reduce of `world` ranks over x, which is cut into one chunk a rank:
// chunk c is bounds[c] ..< bounds[c + 1]. At hop h a rank sends chunk rank - h - 1 to the right and receives chunk rank - h - 2 from
// the left, modulo world: below hop world - 1 what comes is added to x, above it replaces x. A chunk is passed on in whole
// segments as they arrive; `segment` has room for `segment_elements` of them.
//
// Returns 0, or -errno; -ETIMEDOUT where nothing moved for `milliseconds`, -ECONNRESET where the left rank has gone.
int lockstep_raw_hops(int left, int right, int rank, int world, int first, int last, const size_t *bounds, float *x, float *segment,
                      size_t segment_elements, int milliseconds);
