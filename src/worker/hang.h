// How long a worker may stand still before it counts as hung. Thread-safe.
#ifndef WORKER_HANG_H
#define WORKER_HANG_H

#include "base/progress.h"

#include <stdint.h>

// hang_ms (--hang-timeout) is for what may take long on a slow disk or a busy machine: loading a
// model, reading a long speech, going to another place of a film, playing one backwards, the last
// pictures of an encoder. Where nothing long can run it is a third of that, 20 s at least (or
// hang_ms, if that is less): a worker's heartbeat, which comes every second from a thread that does
// nothing else,
int64_t hang_silent_ms(int64_t hang_ms);
// and a job that looks for faces, between two frames of a film that is read forwards.
int64_t hang_still_ms(int64_t hang_ms, enum stage stage, int64_t done, int64_t total);
// Looking at a file, or speaking a text. The worker itself gives up after 30 s, by force after 40;
// one that somebody took over may not.
int64_t hang_asset_ms(int64_t hang_ms);
// Until a job that was cancelled, or is somebody else's, has ended.
#define HANG_TOLD_MS 20000

#endif
