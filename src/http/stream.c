// Bodies that are made while they are sent.
//
// libmicrohttpd asks for bytes on its thread; where there are none the connection is suspended, and
// stream_wake() resumes it. A wake may come between the two, so both happen under the stream's
// lock, and a wake that finds nobody asleep is remembered. Suspended connections do not notice that
// the client has gone: a thread looks after them every few seconds.
//
// Locks: http->lock before stream->lock; libmicrohttpd's own below both.
#include "http/internal.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_EVERY_MS 3000
#define GOODBYE_MS    1000 // for clients to take the end of their streams

struct stream {
    struct http *http; // valid while connection is not NULL
    stream_read_fn *read;
    stream_free_fn *free_ctx;
    void *ctx;
    enum kb_language language;
    struct stream *next, *previous; // under http->lock

    pthread_mutex_t lock;
    // --- under the lock
    int refs;
    struct MHD_Connection *connection; // NULL once the answer is over
    bool asleep, woken, gone;
};

static void resume(struct stream *s)
{
    if (s->connection && s->asleep) {
        s->asleep = false;
        MHD_resume_connection(s->connection);
    }
}

// Nothing to do: sleep, unless somebody has woken the stream meanwhile.
static bool fall_asleep(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool sleeps = !s->woken && !s->gone && !atomic_load(&s->http->stopping);
    if (sleeps) {
        s->asleep = true;
        MHD_suspend_connection(s->connection);
    }
    pthread_mutex_unlock(&s->lock);
    return sleeps;
}

static ssize_t stream_read(void *opaque, uint64_t position, char *buffer, size_t max)
{
    struct stream *s = opaque;
    int64_t n;
    kb_language_set_thread(s->language);
    do {
        pthread_mutex_lock(&s->lock);
        s->woken = false;
        bool gone = s->gone;
        pthread_mutex_unlock(&s->lock);
        n = gone ? -2 : s->read(s->ctx, buffer, max);
        if (n == 0 && atomic_load(&s->http->stopping))
            n = -1;
    } while (n == 0 && !fall_asleep(s));
    kb_language_set_thread(KB_LANGUAGE_DEFAULT);
    return n == -1 ? MHD_CONTENT_READER_END_OF_STREAM
           : n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR
                   : (ssize_t)n;
}

static void leave_list(struct stream *s)
{
    struct http *h = s->http;
    pthread_mutex_lock(&h->lock);
    if (s->next)
        s->next->previous = s->previous;
    if (s->previous)
        s->previous->next = s->next;
    else
        h->streams = s->next;
    if (!h->streams)
        pthread_cond_broadcast(&h->watch);
    pthread_mutex_unlock(&h->lock);
}

static void enter_list(struct stream *s)
{
    struct http *h = s->http;
    pthread_mutex_lock(&h->lock);
    s->next = h->streams;
    if (h->streams)
        h->streams->previous = s;
    else
        pthread_cond_signal(&h->watch);
    h->streams = s;
    pthread_mutex_unlock(&h->lock);
}

static void stream_over(void *opaque)
{
    struct stream *s = opaque;
    leave_list(s);
    pthread_mutex_lock(&s->lock);
    s->connection = NULL;
    pthread_mutex_unlock(&s->lock);
    if (s->free_ctx)
        s->free_ctx(s->ctx);
    stream_unref(&s);
}

static struct stream *stream_create(struct request *r, const struct stream *what,
                                    struct stream **ret)
{
    struct stream *s = kb_alloc(sizeof(*s));
    *s = *what;
    s->http = r->http;
    s->language = request_language(r);
    s->connection = r->connection;
    s->refs = ret ? 2 : 1;
    pthread_mutex_init(&s->lock, NULL);
    if (ret)
        *ret = s;
    enter_list(s);
    return s;
}

void reply_stream(struct request *r, const char *type, stream_read_fn *read,
                  stream_free_fn *free_ctx, void *ctx, struct stream **ret)
{
    const struct stream what = {.read = read, .free_ctx = free_ctx, .ctx = ctx};
    struct stream *s = stream_create(r, &what, ret);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4 << 10, stream_read, s, stream_over);
    if (!response) {
        stream_over(s);
    } else if (!r->answered) {
        if (!reply_header_get(r, "Cache-Control"))
            reply_header(r, "Cache-Control", "no-store");
        if (!reply_header_get(r, "Content-Type"))
            reply_header(r, "Content-Type", type);
    }
    reply_response(r, 200, response);
}

// --- requests that wait to be answered

void request_wait(struct request *r, stream_free_fn *free_ctx, void *ctx, struct stream **ret)
{
    const struct stream what = {.free_ctx = free_ctx, .ctx = ctx};
    request_wait_over(r);
    r->waiting = stream_create(r, &what, ret);
}

void *request_waited(const struct request *r)
{
    return r->waiting ? r->waiting->ctx : NULL;
}

bool request_sleep(struct request *r, bool *ret_gone)
{
    struct stream *s = r->waiting;
    bool sleeps = fall_asleep(s);
    pthread_mutex_lock(&s->lock);
    *ret_gone = s->gone;
    s->woken = s->woken && sleeps; // seen now, unless it came behind
    pthread_mutex_unlock(&s->lock);
    return sleeps;
}

void request_wait_over(struct request *r)
{
    if (r->waiting)
        stream_over(TAKE(r->waiting));
}

void stream_wake(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->woken = true;
    resume(s);
    pthread_mutex_unlock(&s->lock);
}

void stream_unref(struct stream **stream)
{
    struct stream *s = TAKE(*stream);
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (last) {
        pthread_mutex_destroy(&s->lock);
        free(s);
    }
}

// --- clients that left

static void look_after(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->connection && s->asleep) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(s->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct pollfd socket = {.fd = info ? info->connect_fd : -1, .events = POLLRDHUP};
        if (poll(&socket, 1, 0) > 0) {
            s->gone = true;
            resume(s);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

static struct timespec in_ms(int ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

static void *watch_main(void *opaque)
{
    struct http *h = opaque;
    pthread_mutex_lock(&h->lock);
    while (!atomic_load(&h->stopping)) {
        struct timespec until = in_ms(LOOK_EVERY_MS);
        if (!h->streams) {
            pthread_cond_wait(&h->watch, &h->lock);
        } else if (pthread_cond_timedwait(&h->watch, &h->lock, &until) != 0) {
            for (struct stream *s = h->streams; s; s = s->next)
                look_after(s);
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

bool streams_start(struct http *h)
{
    h->watching = pthread_create(&h->watcher, NULL, watch_main, h) == 0;
    return h->watching;
}

void streams_stop(struct http *h)
{
    pthread_mutex_lock(&h->lock);
    atomic_store(&h->stopping, true);
    pthread_cond_broadcast(&h->watch);
    for (struct stream *s = h->streams; s; s = s->next)
        stream_wake(s);
    struct timespec until = in_ms(GOODBYE_MS);
    while (h->streams && pthread_cond_timedwait(&h->watch, &h->lock, &until) == 0) {
    }
    pthread_mutex_unlock(&h->lock);
    if (h->watching)
        pthread_join(h->watcher, NULL);
    h->watching = false;
}
