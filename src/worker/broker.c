// The broker's thread: it listens to all lines first, then writes down what it heard, then gives
// out what is asked for. A database that cannot be reached ends the writing of this turn, never the
// listening: who lives is seen to live.
#include "worker/broker.h"

#include "queue/sweep.h"
#include "queue/worker.h"
#include "worker/internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "store/patience.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN_MS     100     // how often it is looked whether there is work
#define LOOK_US     1000000 // also without a change: pauses end and disks get free by time
#define AGAIN_US    500000  // after which what failed is tried again
#define PATIENCE_MS 250     // that it waits for locks in a turn
#define MESSAGES    500     // of one worker in a turn

#define PREVIEW_IDLE_US 60000000 // after which the worker that makes previews is sent away
#define ROW_US          1000000  // how often the row of a worker is written
#define NEW_ROW_US      200000   // and where its state is another one

// What supervisor and broker tell each other of a seat.
struct desk {
    char worker[16];
    enum seat_kind kind;
    bool taken, fresh; // fresh: the broker has not seen it yet
    bool ended, hung;
    int pid, line;
    const char *reason;
    int lock; // its folder, which is its alone; -1: none
    struct places places;
    struct broker_look look;
};

struct broker {
    char *data;
    int64_t min_free_bytes;
    int wake; // an eventfd
    struct previews *previews;
    pthread_t thread;
    // --- the thread's alone
    struct store *store;
    struct patience patience;
    int64_t version, looked_us; // when it was last looked for work
    bool complained, going;     // going: the workers were told to leave
    int n_seats;                // that were ever taken
    struct seat seats[BROKER_SEATS];

    pthread_mutex_t lock;
    // --- under lock, which is held for a moment only
    bool leaving;
    int64_t stop_us; // when to stop at the latest; 0 = not at all
    int n_desks;
    struct desk desks[BROKER_SEATS];
};

static void wake(struct broker *b)
{
    eventfd_write(b->wake, 1);
}

static void wake_up(void *broker)
{
    wake(broker);
}

// Takes over what the supervisor said since the last turn.
static void look_up(struct broker *b)
{
    pthread_mutex_lock(&b->lock);
    b->going = b->leaving;
    b->n_seats = b->n_desks;
    for (int i = 0; i < b->n_desks; i++) {
        struct desk *d = &b->desks[i];
        struct seat *s = &b->seats[i];
        if (d->fresh) {
            *s = (struct seat){.inspect = d->kind == SEAT_INSPECTS,
                               .previews = d->kind == SEAT_PREVIEWS,
                               .line = d->line,
                               .places = d->places,
                               .clean = true,
                               .state = "starting",
                               .heard_us = kb_now_us(),
                               .free_us = kb_now_us()};
            snprintf(s->worker, sizeof(s->worker), "%s", d->worker);
            snprintf(s->folder, sizeof(s->folder), "work/%s", d->worker);
            d->fresh = false;
        }
        s->taken = d->taken;
        s->ended = d->ended;
        s->hung = d->hung;
        s->pid = d->pid;
        s->reason = d->reason;
    }
    pthread_mutex_unlock(&b->lock);
}

// --- listening

static void close_line(struct broker *b, struct seat *s)
{
    pthread_mutex_lock(&b->lock);
    b->desks[s - b->seats].line = -1;
    pthread_mutex_unlock(&b->lock);
    close(s->line);
    s->line = -1;
}

static void listen_to_seat(struct broker *b, struct seat *s)
{
    enum line_state state = LINE_MESSAGE;
    for (int i = 0; i < MESSAGES && flood_may_speak(&s->flood, kb_now_us()); i++) {
        json_auto_t *message = NULL;
        flood_heard(&s->flood, line_waiting(s->line));
        state = line_receive(s->line, &message);
        if (state != LINE_MESSAGE)
            break;
        s->heard_us = kb_now_us();
        if (seat_hear(s, message))
            continue;
        const char *is = line_is(message);
        log_warn(_("worker %s said what makes no sense ('%.*s'): it is ended"), s->worker,
                 utf8_fit(is, 20), is);
        state = LINE_BAD;
        break;
    }
    if (state == LINE_MESSAGE && flood_is_too_long(&s->flood)) {
        log_warn(_("worker %s says more than anybody can listen to: it is ended"), s->worker);
        state = LINE_BAD;
    }
    s->bad = s->bad || state == LINE_BAD;
    seat_let_go(s, b->data);
    if (state == LINE_ENDED || state == LINE_BAD)
        close_line(b, s);
}

static void listen_to_all(struct broker *b)
{
    for (int i = 0; i < b->n_seats; i++)
        if (b->seats[i].taken && b->seats[i].line >= 0)
            listen_to_seat(b, &b->seats[i]);
    int64_t now = kb_now_us();
    pthread_mutex_lock(&b->lock);
    for (int i = 0; i < b->n_seats; i++) {
        const struct seat *s = &b->seats[i];
        struct broker_look *look = &b->desks[i].look;
        if (b->desks[i].fresh)
            continue;
        *look = (struct broker_look){.starting = strcmp(s->state, "starting") == 0,
                                     .bad = s->bad,
                                     .silent_ms = (now - s->heard_us) / 1000};
        if (s->has_job) {
            look->job = s->claim.job; // a preview's is 0
            look->preview = s->preview[0];
            look->stage = s->report.stage;
            look->still_ms = s->ending ? 0 : (now - s->moved_us) / 1000;
        }
        look->leaves = s->leaves;
        if ((s->told && !s->ending) || s->leaves)
            look->told_ms = (now - s->told_us) / 1000;
        if (s->has_asset && !s->ending)
            look->asset_ms = (now - s->given_us) / 1000;
        if (!s->has_job && !s->has_asset && !s->asks && !s->leaves && !look->starting)
            look->idle_ms = (now - s->free_us) / 1000;
    }
    pthread_mutex_unlock(&b->lock);
}

// Not by close() alone: a process that was just begun may still have it.
static void unlock_folder(int lock)
{
    if (lock < 0)
        return;
    flock(lock, LOCK_UN);
    close(lock);
}

// Until somebody says something, or it is time to look for work.
static void wait_for_something(struct broker *b)
{
    struct pollfd fds[BROKER_SEATS + 1] = {{.fd = b->wake, .events = POLLIN}};
    nfds_t n = 1;
    for (int i = 0; i < b->n_seats; i++)
        if (b->seats[i].taken && b->seats[i].line >= 0 &&
            flood_may_speak(&b->seats[i].flood, kb_now_us()))
            fds[n++] = (struct pollfd){.fd = b->seats[i].line, .events = POLLIN};
    if (poll(fds, n, TURN_MS) > 0 && fds[0].revents)
        eventfd_read(b->wake, &(eventfd_t){0});
}

// --- writing down

// It hears the end of the line, and ends. What it says meanwhile is still heard.
static void send_away(struct broker *b, struct seat *s)
{
    if (!s->told)
        s->told_us = kb_now_us();
    s->leaves = true;
    pthread_mutex_lock(&b->lock);
    b->desks[s - b->seats].look.leaves = true;
    if (s->line >= 0)
        shutdown(s->line, SHUT_WR);
    pthread_mutex_unlock(&b->lock);
}

// However often it says so; a beat may come a little early.
static bool is_row_due(const struct seat *s)
{
    bool same = strcmp(s->state, s->row_state) == 0;
    return s->row_new && !s->previews && // it has no part in the queue
           kb_now_us() - s->row_us >= (same ? ROW_US - NEW_ROW_US : NEW_ROW_US);
}

static void write_row(struct broker *b, struct seat *s)
{
    s->row_us = kb_now_us();
    snprintf(s->row_state, sizeof(s->row_state), "%s", s->state);
    struct worker_row row = {.kind = s->inspect ? "inspect" : "generate",
                             .pid = s->pid,
                             .state = s->state,
                             .model = s->model[0] ? s->model : NULL,
                             .precision = s->precision[0] ? s->precision : NULL,
                             .rss_bytes = s->rss_bytes};
    snprintf(row.id, sizeof(row.id), "%s", s->worker);
    if (worker_put(b->store, &row, NULL) == KB_OK) // else when it tells the next time
        s->row_new = false;
}

// The process has ended, and all that it said is written.
static enum kb_code lose(struct broker *b, struct seat *s, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    if (s->previews) {
        seat_lose_preview(s, b->previews, b->data);
        return KB_OK;
    }
    harvest_tracks(s, b->data);
    if (s->inspect && s->reason && !b->going)
        code = asset_worker_crashed(b->store, s->worker, err);
    else if (s->inspect)
        code = asset_worker_lost(b->store, s->worker, err);
    else if (s->has_job && b->going)
        code = job_give_back(b->store, &s->claim, err);
    else
        code = sweep_worker_lost(b->store, s->worker, s->reason, s->hung, err);
    return code == KB_NOT_FOUND ? KB_OK : code;
}

static enum kb_code write_seat(struct broker *b, struct seat *s, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    if (s->preview[0])
        seat_write_preview(s, b->previews, b->data);
    else if (s->has_job)
        code = seat_write_job(s, b->store, err);
    if (s->spent && !s->has_job && !s->leaves)
        send_away(b, s);
    if (s->has_asset)
        code = seat_write_asset(s, b->store, err);
    if (code == KB_OK && is_row_due(s) && !s->ended)
        write_row(b, s);
    if (code != KB_OK || !s->ended || s->line >= 0 || s->copy)
        return code;
    code = lose(b, s, err);
    if (code != KB_OK)
        return code;
    seat_drop(s);
    s->taken = false;
    pthread_mutex_lock(&b->lock);
    b->desks[s - b->seats].taken = false;
    unlock_folder(b->desks[s - b->seats].lock);
    pthread_mutex_unlock(&b->lock);
    return KB_OK;
}

static void write_all(struct broker *b)
{
    int64_t now = kb_now_us();
    for (int i = 0; i < b->n_seats; i++) // of which the database knows nothing
        if (b->seats[i].taken && b->seats[i].previews)
            write_seat(b, &b->seats[i], NULL);
    for (int i = 0; i < b->n_seats; i++) {
        struct seat *s = &b->seats[i];
        struct kb_error err = {0};
        if (!s->taken || s->previews || now < s->again_us)
            continue;
        enum kb_code code = write_seat(b, s, &err);
        s->again_us = code == KB_OK ? 0 : kb_now_us() + AGAIN_US;
        if (code != KB_OK && !s->complained)
            log_warn(_("worker %s: %s; what became of its work is kept until then"), s->worker,
                     err.text);
        s->complained = code != KB_OK;
        if (code == KB_UNAVAILABLE)
            return; // nor can the others
    }
}

// --- giving out

// Somebody removed a folder that its cage lets it use: it would fail each job from here on.
static bool is_stranded(struct broker *b, const struct seat *s)
{
    struct places now;
    harvest_places(b->data, s->folder, &now);
    if (memcmp(&now, &s->places, sizeof(now)) == 0)
        return false;
    log_info(_("a folder that worker %s uses was removed or replaced: it is started anew"),
             s->worker);
    return true;
}

static bool may_get(const struct seat *s)
{
    return s->taken && s->asks && s->pid && !s->ended && !s->leaves && !s->has_job && !s->has_asset;
}

static void give_to(struct broker *b, struct seat *s)
{
    if (is_stranded(b, s)) {
        send_away(b, s);
        return;
    }
    struct kb_error err = {0};
    enum kb_code code = s->inspect ? seat_give_asset(s, b->store, &err)
                                   : seat_give_job(s, b->store, b->min_free_bytes, &err);
    if (code != KB_OK && code != KB_EOF && !b->complained)
        log_error("%s", err.text);
    b->complained = code != KB_OK && code != KB_EOF;
}

// They wait for nothing that is in the database. Who has had none for long is not needed.
static void give_previews(struct broker *b)
{
    seat_sweep_previews(b->previews, b->data);
    for (int i = 0; i < b->n_seats; i++) {
        struct seat *s = &b->seats[i];
        if (!s->previews || !may_get(s) || b->going)
            continue;
        bool idle = kb_now_us() - s->free_us > PREVIEW_IDLE_US;
        if (!previews_wait(b->previews) ? idle : is_stranded(b, s))
            send_away(b, s);
        else
            seat_give_preview(s, b->previews, b->data);
    }
}

static void tell_of_previews(struct broker *b)
{
    const struct seat *there = NULL;
    for (int i = 0; i < b->n_seats; i++)
        if (b->seats[i].taken && b->seats[i].previews && !b->seats[i].ended)
            there = &b->seats[i];
    previews_worker(b->previews, there ? there->state : NULL, there ? there->rss_bytes : 0);
}

static void give_all(struct broker *b)
{
    bool new_one = false, any = false;
    for (int i = 0; i < b->n_seats; i++) {
        const struct seat *s = &b->seats[i];
        bool gets = may_get(s) && !s->previews;
        any = any || gets;
        new_one = new_one || (gets && s->heard_us > b->looked_us);
    }
    if (!any || b->going)
        return;
    int64_t version = store_data_version(b->store), now = kb_now_us();
    if (!new_one && version == b->version && now - b->looked_us < LOOK_US)
        return;
    b->version = version;
    b->looked_us = now;
    for (int i = 0; i < b->n_seats; i++) {
        struct seat *s = &b->seats[i];
        if (may_get(s) && !s->previews)
            give_to(b, s);
    }
}

// --- the thread

// Is anybody still to be heard or written down? Not once it is time to stop.
static bool goes_on(struct broker *b)
{
    pthread_mutex_lock(&b->lock);
    bool on = b->stop_us == 0;
    for (int i = 0; i < b->n_desks && !on; i++)
        on = b->desks[i].taken && kb_now_us() < b->stop_us;
    pthread_mutex_unlock(&b->lock);
    return on;
}

static void *broker_run(void *opaque)
{
    struct broker *b = opaque;
    while (goes_on(b)) {
        wait_for_something(b);
        look_up(b);
        listen_to_all(b);
        store_renew_patience(b->store);
        write_all(b);
        give_previews(b);
        tell_of_previews(b);
        give_all(b);
    }
    return NULL;
}

static void broker_free(struct broker *b)
{
    for (int i = 0; i < b->n_seats; i++)
        seat_drop(&b->seats[i]);
    previews_free(&b->previews);
    for (int i = 0; i < b->n_desks; i++) {
        if (b->desks[i].taken && b->desks[i].line >= 0)
            close(b->desks[i].line);
        if (b->desks[i].taken)
            unlock_folder(b->desks[i].lock);
    }
    store_close(&b->store);
    pthread_mutex_destroy(&b->lock);
    if (b->wake >= 0)
        close(b->wake);
    free(b->data);
    free(b);
}

enum kb_code broker_start(struct broker **ret, const char *data, int64_t min_free_bytes,
                          struct kb_error *err)
{
    struct broker *b = kb_alloc(sizeof(*b));
    b->data = kb_strdup(data);
    b->min_free_bytes = min_free_bytes;
    b->version = -1;
    pthread_mutex_init(&b->lock, NULL);
    b->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    b->previews = previews_create(wake_up, b);
    enum kb_code code = store_open(&b->store, data, false, err);
    b->patience.budget_ms = PATIENCE_MS;
    if (code == KB_OK)
        store_set_patience(b->store, &b->patience);
    int e = b->wake < 0 ? errno : 0;
    if (code == KB_OK && e == 0)
        e = pthread_create(&b->thread, NULL, broker_run, b);
    if (code == KB_OK && e != 0)
        code = kb_fail(err, KB_NO_SPACE, _("no thread can be started: %s"), kb_strerror(e));
    if (code != KB_OK) {
        broker_free(b);
        return code;
    }
    *ret = b;
    return KB_OK;
}

void broker_stop(struct broker **broker, int64_t wait_ms)
{
    struct broker *b = TAKE(*broker);
    if (!b)
        return;
    pthread_mutex_lock(&b->lock);
    b->stop_us = kb_now_us() + wait_ms * 1000 + 1;
    pthread_mutex_unlock(&b->lock);
    wake(b);
    pthread_join(b->thread, NULL);
    broker_free(b);
}

// --- what the supervisor asks

// Two workers of one name would remove each other's files. False: another process has it.
static bool lock_folder(const char *data, const char *folder, int *ret, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(data, folder);
    *ret = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*ret < 0 || flock(*ret, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return true; // a share that knows no locks has none
    close(*ret);
    kb_fail(err, KB_UNAVAILABLE,
            _("another process works in '%s'; give this worker another name (--id)"), path);
    return false;
}

int broker_seat(struct broker *b, const char *worker, enum seat_kind kind, int *ret_line,
                struct kb_error *err)
{
    int ends[2], lock;
    char folder[32];
    struct places places;
    snprintf(folder, sizeof(folder), "work/%s", worker);
    harvest_places(b->data, folder, &places);
    if (!lock_folder(b->data, folder, &lock, err))
        return -1;
    if (harvest_clear(b->data, folder, err) != KB_OK || line_pair(ends, err) != KB_OK) {
        unlock_folder(lock);
        return -1;
    }
    pthread_mutex_lock(&b->lock);
    int i = 0;
    while (i < b->n_desks && b->desks[i].taken)
        i++;
    if (i < BROKER_SEATS) {
        struct desk *d = &b->desks[i];
        *d = (struct desk){.kind = kind,
                           .taken = true,
                           .fresh = true,
                           .line = ends[0],
                           .lock = lock,
                           .places = places,
                           .look = {.starting = true}};
        snprintf(d->worker, sizeof(d->worker), "%s", worker);
        b->n_desks = KB_MAX(b->n_desks, i + 1);
    }
    pthread_mutex_unlock(&b->lock);
    if (i == BROKER_SEATS) {
        close(ends[0]);
        close(ends[1]);
        unlock_folder(lock);
        kb_fail(err, KB_NO_SPACE, "all %d seats are taken", BROKER_SEATS);
        return -1;
    }
    *ret_line = ends[1];
    return i;
}

void broker_begin(struct broker *b, int seat, int pid)
{
    struct desk *d = &b->desks[seat];
    pthread_mutex_lock(&b->lock);
    d->pid = pid;
    d->ended = pid == 0;
    pthread_mutex_unlock(&b->lock);
    wake(b);
}

void broker_end(struct broker *b, int seat, const char *reason, bool hung)
{
    struct desk *d = &b->desks[seat];
    pthread_mutex_lock(&b->lock);
    d->ended = true;
    d->reason = reason;
    d->hung = hung;
    pthread_mutex_unlock(&b->lock);
    wake(b);
}

bool broker_is_seated(struct broker *b, int seat)
{
    pthread_mutex_lock(&b->lock);
    bool taken = b->desks[seat].taken;
    pthread_mutex_unlock(&b->lock);
    return taken;
}

// A worker hears the end of the line when the other direction is shut; its own stays open.
void broker_leave(struct broker *b)
{
    pthread_mutex_lock(&b->lock);
    b->leaving = true;
    for (int i = 0; i < b->n_desks; i++)
        if (b->desks[i].taken && b->desks[i].line >= 0)
            shutdown(b->desks[i].line, SHUT_WR);
    pthread_mutex_unlock(&b->lock);
    wake(b);
}

void broker_look(struct broker *b, int seat, struct broker_look *ret)
{
    pthread_mutex_lock(&b->lock);
    *ret = b->desks[seat].look;
    pthread_mutex_unlock(&b->lock);
}

struct previews *broker_previews(struct broker *b)
{
    return b->previews;
}

int broker_jobs(struct broker *b, int64_t ret[BROKER_SEATS])
{
    int n = 0;
    pthread_mutex_lock(&b->lock);
    for (int i = 0; i < b->n_desks; i++)
        if (b->desks[i].taken && b->desks[i].look.job)
            ret[n++] = b->desks[i].look.job;
    pthread_mutex_unlock(&b->lock);
    return n;
}
