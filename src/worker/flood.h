// How much a worker may say. Its messages cost the server time, so one that a file took over may
// say 5000 of them or 4 MiB a second; the rest waits in its line, and so does the worker. One that
// says so much for ten seconds on end is to be ended. Thread-safe for different floods.
#ifndef WORKER_FLOOD_H
#define WORKER_FLOOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flood { // all 0: nothing was said yet
    int64_t since_us;
    size_t messages, bytes; // since then
    int seconds;            // on end in which it said all that it may
};

// May it be listened to now?
bool flood_may_speak(struct flood *f, int64_t now_us);
// It was.
void flood_heard(struct flood *f, size_t bytes);
bool flood_is_too_long(const struct flood *f);

#endif
