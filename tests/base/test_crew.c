// A piece of work in parts: each is done once, by a worker that does nothing else meanwhile.
#include "tests/test.h"

#include "base/crew.h"

#include <pthread.h>
#include <stdatomic.h>

#define MAX_TASKS 300

struct work {
    atomic_int done[MAX_TASKS], busy[CREW_MAX_THREADS];
    atomic_int wrong, together, most;
    int threads;
};

static void do_part(void *context, int task, int worker)
{
    struct work *w = context;
    if (worker < 0 || worker >= w->threads || atomic_fetch_add(&w->busy[worker], 1) != 0)
        atomic_fetch_add(&w->wrong, 1);
    int now = atomic_fetch_add(&w->together, 1) + 1, most = atomic_load(&w->most);
    while (now > most && !atomic_compare_exchange_weak(&w->most, &most, now))
        continue;
    atomic_fetch_add(&w->done[task], 1);
    atomic_fetch_sub(&w->together, 1);
    atomic_fetch_sub(&w->busy[worker], 1);
}

static void test_each_once(void **state)
{
    static const int threads[] = {1, 2, 5, 1000}, tasks[] = {0, 1, 2, 7, MAX_TASKS};
    for (size_t t = 0; t < ARRAY_LEN(threads); t++) {
        CLEANUP(crew_free) struct crew *c = crew_create(threads[t]);
        assert_in_range(crew_threads(c), 1, KB_MIN(threads[t], CREW_MAX_THREADS));
        for (int round = 0; round < 20; round++)
            for (size_t k = 0; k < ARRAY_LEN(tasks); k++) {
                struct work w = {.threads = crew_threads(c)};
                crew_run(c, tasks[k], do_part, &w);
                assert_int_equal(w.wrong, 0);
                assert_true(w.most <= w.threads);
                for (int i = 0; i < MAX_TASKS; i++)
                    assert_int_equal(w.done[i], i < tasks[k]);
            }
    }
}

// Two parts that wait for each other end only if they run at once.
struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t came;
    int n;
};

static void meet(void *context, int task, int worker)
{
    struct meeting *m = context;
    pthread_mutex_lock(&m->lock);
    m->n++;
    pthread_cond_broadcast(&m->came);
    while (m->n < 2)
        pthread_cond_wait(&m->came, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

static void test_at_once(void **state)
{
    CLEANUP(crew_free) struct crew *c = crew_create(2);
    if (crew_threads(c) < 2)
        return; // the system gave no thread
    struct meeting m = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};
    crew_run(c, 2, meet, &m);
    assert_int_equal(m.n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_once),
        cmocka_unit_test(test_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
