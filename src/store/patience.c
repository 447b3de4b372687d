#include "store/patience.h"

#include "store/internal.h"

#include <time.h>

#define WAIT_US    5000000
#define RECENT_MS  5000
#define FIRST_NAPS 5 // of 1 ms each: most writers are through by then
#define NAP_US     5000

// SQLite asks after its n-th attempt in a row: 1 = try again.
static int wait_for_lock(void *store, int n)
{
    struct store *s = store;
    struct patience *p = s->patience;
    int64_t begin = kb_now_us();
    if (n == 0) {
        s->wait_entered = p ? atomic_load(&p->entered) : 0;
        if (!p)
            s->wait_left_us = WAIT_US;
    }
    if (p && atomic_load(&p->locked_ms)) {
        atomic_store(&p->locked_ms, begin / 1000); // still
        return 0;
    }
    if (s->wait_left_us <= 0) {
        if (p && atomic_load(&p->entered) == s->wait_entered)
            atomic_store(&p->locked_ms, begin / 1000);
        return 0;
    }
    int64_t nap_us = KB_MIN(n < FIRST_NAPS ? 1000 : NAP_US, s->wait_left_us);
    nanosleep(&(struct timespec){.tv_nsec = nap_us * 1000}, NULL);
    s->wait_left_us -= kb_now_us() - begin; // a busy machine sleeps longer than it was told
    return 1;
}

void store_begin_patience(struct store *s)
{
    sqlite3_busy_handler(s->db, wait_for_lock, s);
}

void store_came_in(struct store *s)
{
    if (!s->patience)
        return;
    atomic_fetch_add(&s->patience->entered, 1);
    atomic_store(&s->patience->locked_ms, 0);
}

void store_set_patience(struct store *s, struct patience *p)
{
    s->patience = p;
    store_renew_patience(s);
}

void store_renew_patience(struct store *s)
{
    if (s->patience)
        s->wait_left_us = s->patience->budget_ms * 1000LL;
}

bool patience_is_locked(struct patience *p)
{
    int64_t since = atomic_load(&p->locked_ms);
    return since && kb_now_us() / 1000 - since < RECENT_MS;
}
