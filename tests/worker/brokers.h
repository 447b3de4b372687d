// A broker over a data folder of its own, for tests that hold the worker's end of its line.
#ifndef TESTS_WORKER_BROKERS_H
#define TESTS_WORKER_BROKERS_H

#include "tests/queue/queue.h"

#include "base/log.h"
#include "worker/broker.h"

#include <unistd.h>

static struct broker *broker;

static inline int broker_setup(void **state)
{
    if (queue_setup(state) != 0)
        return -1;
    struct queue_test *t = *state;
    assert_ok(t->err, broker_start(&broker, t->folder, 0, &t->err));
    return 0;
}

static inline int broker_teardown(void **state)
{
    broker_stop(&broker, 0);
    log_close();
    return queue_teardown(state);
}

#ifndef WAIT_S // how long a test of what real workers do waits more
#define WAIT_S 60
#endif
#define WAIT(condition)                                                                            \
    do {                                                                                           \
        int64_t end_ = kb_now_us() + WAIT_S * INT64_C(1000000);                                    \
        while (!(condition)) {                                                                     \
            if (kb_now_us() > end_)                                                                \
                fail_msg("waited too long for: %s", #condition);                                   \
            usleep(2000);                                                                          \
        }                                                                                          \
    } while (0)

#endif
