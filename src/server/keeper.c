#include "server/keeper.h"

#include "base/cancel.h"
#include "base/log.h"
#include "store/backup.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_MS (3600LL * 1000)
#define DAY_MS  (24LL * 3600 * 1000)

struct keeper {
    char *folder;
    int64_t next_us;
    int64_t made_ms; // by passed_ms(); 0: none yet
    pthread_t thread;
    struct cancel stop;
};

// No clock that anybody sets, and one that goes on while the machine sleeps.
static int64_t passed_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

bool keeper_is_due(int64_t last_ms, int64_t now_ms, int64_t own_ms)
{
    return now_ms - last_ms >= DAY_MS && (own_ms < 0 || own_ms >= DAY_MS);
}

static bool is_due(const struct keeper *k)
{
    return keeper_is_due(backup_last_ms(k->folder), kb_wall_ms(),
                         k->made_ms ? passed_ms() - k->made_ms : -1);
}

static void back_up(struct keeper *k)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *name = NULL;
    int64_t begin = kb_now_us();
    enum kb_code code = backup_make(k->folder, "daily", &k->stop, &name, &err);
    if (code == KB_OK)
        k->made_ms = passed_ms();
    if (code == KB_OK)
        log_info(_("the database is backed up: %s, in %.1f s"), name,
                 (double)(kb_now_us() - begin) / 1e6);
    else if (code != KB_CANCELLED)
        log_error(_("the daily backup of the database was not made: %s"), err.text);
}

static void *keep(void *opaque)
{
    struct keeper *k = opaque;
    const struct timespec moment = {.tv_nsec = 100000000};
    while (!cancel_requested(&k->stop)) {
        if (kb_now_us() >= k->next_us) {
            k->next_us = kb_now_us() + LOOK_MS * 1000;
            if (is_due(k))
                back_up(k);
        }
        nanosleep(&moment, NULL);
    }
    return NULL;
}

enum kb_code keeper_start(struct keeper **ret, const char *folder, int64_t first_ms,
                          struct kb_error *err)
{
    struct keeper *k = kb_alloc(sizeof(*k));
    k->folder = kb_strdup(folder);
    k->next_us = kb_now_us() + first_ms * 1000;
    int e = pthread_create(&k->thread, NULL, keep, k);
    if (e != 0) {
        free(k->folder);
        free(k);
        return kb_fail(err, KB_NO_SPACE, _("no thread can be started: %s"), kb_strerror(e));
    }
    *ret = k;
    return KB_OK;
}

void keeper_stop(struct keeper **keeper)
{
    struct keeper *k = TAKE(*keeper);
    if (!k)
        return;
    cancel_request(&k->stop);
    pthread_join(k->thread, NULL);
    free(k->folder);
    free(k);
}
