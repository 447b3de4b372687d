// How long nothing may be heard of a worker before it counts as hung. Thread-safe.
#ifndef WORKER_HANG_H
#define WORKER_HANG_H

#include <stdint.h>

// A job may stand still for hang_ms (--hang-timeout), whatever it is at: each picture is read from
// a disk that may be slow or far away, on a machine that may be short of memory. A worker's
// heartbeat comes every second from a thread that reads nothing, so a third of that is enough for
// it, 20 s at least (or hang_ms, if that is less).
int64_t hang_silent_ms(int64_t hang_ms);

// Looking at a file, or speaking a text. The worker itself gives up after 30 s, by force after 40;
// one that somebody took over may not.
int64_t hang_asset_ms(int64_t hang_ms);
// Until a job that was cancelled, or is somebody else's, has ended.
#define HANG_TOLD_MS 20000

#endif
