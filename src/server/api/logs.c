// The log: its last lines, what came after a place in it, and lines as they come.
//
// A place (cursor) must outlive rotation, which renames koubo.log to koubo.log.1 and so on. So it
// is made of what never changes in a file: the second of its first line, and an offset.
#include "server/internal.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "server/api/fields.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOG_FILES   5 // koubo.log and .1 to .4
#define LINE_BYTES  8192
#define FOLLOW_MS   300        // how often the log is looked at while somebody follows it
#define OFFSET_BITS 24         // a file is rotated at 10 MB
#define ID_BITS     29         // together 53: exact in a JavaScript number
#define ID_EPOCH    1767225600 // 2026-01-01

// --- lines

struct log_filter {
    enum log_level level;
    const char *search; // NULL = any
    int64_t job;        // -1 = any
};

static bool take_filter(struct request *r, struct log_filter *ret)
{
    static const char *const levels[] = {"error", "warn", "info", "verbose", "debug", NULL};
    const char *level;
    *ret = (struct log_filter){.level = LOG_DEBUG, .search = query_text(r, "search")};
    if (!query_word(r, "level", levels, &level) ||
        !request_query_int(r, "job", 0, INT64_MAX, -1, &ret->job))
        return false;
    if (level)
        log_level_parse(level, &ret->level);
    return true;
}

static bool filter_matches(const struct log_filter *f, const struct log_entry *e)
{
    return e->level <= f->level && (f->job < 0 || e->job == f->job) &&
           (!f->search || strcasestr(e->text, f->search) || strcasestr(e->source, f->search));
}

static int64_t parse_time_ms(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        return 0;
    return (int64_t)timegm(&tm) * 1000 + (*rest == '.' ? strtol(rest + 1, NULL, 10) : 0);
}

// A line of a file as JSON, NULL if it does not match or is no line of the log.
static json_t *line_json(const struct log_filter *f, const char *line, size_t n)
{
    char copy[LINE_BYTES];
    struct log_entry e;
    snprintf(copy, sizeof(copy), "%.*s", (int)KB_MIN(n, sizeof(copy) - 1), line);
    if (!log_parse(copy, &e) || !filter_matches(f, &e))
        return NULL;
    json_t *job = e.job ? json_integer(e.job) : json_null();
    CLEANUP(kb_freep) char *text = utf8_clean(e.text); // may quote a name of any bytes
    return json_pack("{s:I, s:s, s:s, s:o, s:s}", "time", (json_int_t)parse_time_ms(e.time),
                     "level", log_level_name(e.level), "source", e.source, "job", job, "text",
                     text);
}

// --- files

struct log_file {
    struct file_map map;
    int64_t id;     // of its first line
    size_t n_bytes; // of whole lines
};

struct log_files {
    struct log_file files[LOG_FILES]; // oldest first
    int n;
};

static void log_files_close(struct log_files *l)
{
    for (int i = 0; i < l->n; i++)
        file_unmap(&l->files[i].map);
}

static void log_files_open(struct log_files *ret, const char *data_folder)
{
    *ret = (struct log_files){0};
    for (int i = LOG_FILES - 1; i >= 0; i--) {
        CLEANUP(kb_freep)
        char *name = i > 0 ? kb_printf(LOG_FILE ".%d", i) : kb_strdup(LOG_FILE);
        struct log_file *f = &ret->files[ret->n];
        int fd = beneath_open(data_folder, name, O_RDONLY, 0);
        enum kb_code code = fd >= 0 ? file_map_open(&f->map, fd, name, NULL) : KB_NOT_FOUND;
        if (fd >= 0)
            close(fd);
        if (code != KB_OK)
            continue; // not there, or empty
        const char *data = (const char *)f->map.data;
        const char *last = memrchr(data, '\n', f->map.size);
        char first[LINE_BYTES];
        struct log_entry e;
        snprintf(first, sizeof(first), "%.*s", (int)KB_MIN(f->map.size, sizeof(first) - 1), data);
        first[strcspn(first, "\n")] = '\0';
        f->id = log_parse(first, &e) ? parse_time_ms(e.time) / 1000 - ID_EPOCH : 0;
        f->id &= (1 << ID_BITS) - 1;
        f->n_bytes = last ? (size_t)(last + 1 - data) : 0;
        // A rotation between two of these opens shows one file twice.
        if (f->n_bytes > 0 && !(ret->n > 0 && f->id == f[-1].id))
            ret->n++;
        else
            file_unmap(&f->map);
    }
}

static int64_t cursor_make(const struct log_file *f, size_t offset)
{
    return f->id << OFFSET_BITS | (int64_t)KB_MIN(offset, (1 << OFFSET_BITS) - 1);
}

// The last lines that match, oldest first.
static json_t *read_tail(const struct log_files *l, const struct log_filter *f, size_t n_lines)
{
    json_t *items = json_array();
    for (int i = l->n - 1; i >= 0; i--) {
        const char *data = (const char *)l->files[i].map.data;
        size_t end = l->files[i].n_bytes;
        while (end > 0 && json_array_size(items) < n_lines) {
            const char *before = memrchr(data, '\n', end - 1);
            size_t begin = before ? (size_t)(before + 1 - data) : 0;
            json_t *item = line_json(f, data + begin, end - begin);
            if (item)
                json_array_insert_new(items, 0, item);
            end = begin;
        }
    }
    return items;
}

// Lines from offset of file i on; *ret_cursor is behind the last one looked at.
static json_t *read_after(const struct log_files *l, int i, size_t offset,
                          const struct log_filter *f, size_t n_lines, int64_t *ret_cursor)
{
    json_t *items = json_array();
    for (; i < l->n; i++, offset = 0) {
        const char *data = (const char *)l->files[i].map.data;
        while (offset < l->files[i].n_bytes && json_array_size(items) < n_lines) {
            const char *end = memchr(data + offset, '\n', l->files[i].n_bytes - offset);
            size_t next = (size_t)(end + 1 - data);
            json_t *item = line_json(f, data + offset, next - offset);
            if (item)
                json_array_append_new(items, item);
            offset = next;
        }
        *ret_cursor = cursor_make(&l->files[i], offset);
        if (json_array_size(items) >= n_lines)
            break;
    }
    return items;
}

static void logs_list(struct request *r, const struct log_filter *f)
{
    int64_t n_lines, after;
    if (!request_query_int(r, "lines", 1, 2000, 200, &n_lines) ||
        !request_query_int(r, "after", 0, INT64_MAX, 0, &after))
        return;
    CLEANUP(log_files_close) struct log_files l;
    log_files_open(&l, request_server(r)->params.data);
    int64_t cursor = l.n > 0 ? cursor_make(&l.files[l.n - 1], l.files[l.n - 1].n_bytes) : 0;
    int found = l.n;
    for (int i = 0; after > 0 && i < l.n; i++)
        if (l.files[i].id == after >> OFFSET_BITS)
            found = i;
    json_t *items;
    if (found < l.n) {
        size_t offset = (size_t)(after & ((1 << OFFSET_BITS) - 1));
        items = read_after(&l, found, offset, f, (size_t)n_lines, &cursor);
    } else {
        items = read_tail(&l, f, (size_t)n_lines); // the place is gone: begin anew
    }
    json_t *answer = json_pack("{s:o, s:I}", "items", items, "cursor", (json_int_t)cursor);
    CLEANUP(kb_freep) char *json = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    reply_json(r, 200, json);
}

// --- following

struct follower {
    struct followers *all;
    struct log_filter filter;
    char *search; // what filter.search points to
    // --- of the network threads
    int fd;
    char pending[LINE_BYTES]; // read, not yet a whole line
    size_t n_pending;
    struct text out; // matching lines, from sent on
    size_t sent;
    // --- under all->lock
    struct stream *stream;
    int refs; // the stream's and the list's, and the thread's while it wakes
    bool gone;
    struct follower *next;
};

struct followers {
    char *folder; // of the data
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // --- under the lock
    struct follower *first;
    size_t n;
    bool stopping;
};

static void follower_unref(struct follower *f)
{
    pthread_mutex_lock(&f->all->lock);
    bool last = --f->refs == 0;
    pthread_mutex_unlock(&f->all->lock);
    if (!last)
        return;
    stream_unref(&f->stream);
    if (f->fd >= 0)
        close(f->fd);
    text_free(&f->out);
    free(f->search);
    free(f);
}

// Read on, in the next file if this one was rotated. False: nothing new.
static bool follower_fill(struct follower *f)
{
    ssize_t n = f->fd < 0 ? 0 : read(f->fd, f->pending + f->n_pending, LINE_BYTES - f->n_pending);
    if (n <= 0) {
        struct stat mine, named;
        bool same = f->fd >= 0 && fstat(f->fd, &mine) == 0 &&
                    beneath_stat(f->all->folder, LOG_FILE, &named) && mine.st_ino == named.st_ino;
        int fd = same ? -1 : beneath_open(f->all->folder, LOG_FILE, O_RDONLY, 0);
        if (fd < 0)
            return false;
        if (f->fd >= 0)
            close(f->fd);
        f->fd = fd;
        f->n_pending = 0;
        return true;
    }
    f->n_pending += (size_t)n;
    size_t begin = 0;
    char *end;
    while ((end = memchr(f->pending + begin, '\n', f->n_pending - begin))) {
        size_t next = (size_t)(end + 1 - f->pending);
        char copy[LINE_BYTES];
        struct log_entry e;
        memcpy(copy, f->pending + begin, next - begin - 1);
        copy[next - begin - 1] = '\0';
        if (log_parse(copy, &e) && filter_matches(&f->filter, &e))
            text_add_bytes(&f->out, f->pending + begin, next - begin);
        begin = next;
    }
    if (begin == 0 && f->n_pending == LINE_BYTES)
        begin = LINE_BYTES; // longer than any line of ours
    memmove(f->pending, f->pending + begin, f->n_pending - begin);
    f->n_pending -= begin;
    return true;
}

static int64_t follower_read(void *ctx, char *buffer, size_t max)
{
    struct follower *f = ctx;
    while (f->out.size == f->sent) {
        text_clear(&f->out);
        f->sent = 0;
        if (!follower_fill(f))
            return 0;
    }
    size_t n = KB_MIN(max, f->out.size - f->sent);
    memcpy(buffer, f->out.data + f->sent, n);
    f->sent += n;
    return (int64_t)n;
}

static void follower_gone(void *ctx)
{
    struct follower *f = ctx;
    pthread_mutex_lock(&f->all->lock);
    f->gone = true;
    pthread_mutex_unlock(&f->all->lock);
    follower_unref(f);
}

static void logs_follow(struct request *r, const struct log_filter *filter)
{
    struct followers *all = request_server(r)->followers;
    struct follower *f = kb_alloc(sizeof(*f));
    f->all = all;
    f->filter = *filter;
    f->filter.search = f->search = kb_strdup(filter->search);
    f->refs = 2;
    f->fd = beneath_open(all->folder, LOG_FILE, O_RDONLY, 0);
    if (f->fd >= 0)
        lseek(f->fd, 0, SEEK_END);
    struct stream *stream = NULL;
    reply_header(r, "Cache-Control", "no-store");
    reply_header(r, "X-Accel-Buffering", "no"); // nginx would hold lines back
    reply_stream(r, "text/plain; charset=utf-8", follower_read, follower_gone, f, &stream);
    pthread_mutex_lock(&all->lock);
    f->stream = stream;
    f->next = all->first;
    all->first = f;
    all->n++;
    pthread_cond_signal(&all->changed);
    pthread_mutex_unlock(&all->lock);
}

// Waking happens outside the lock, because the server may call follower_gone() meanwhile.
static void wake_all(struct followers *all)
{
    size_t n = 0;
    pthread_mutex_lock(&all->lock);
    struct follower **list = kb_alloc((all->n + 1) * sizeof(*list));
    for (struct follower **at = &all->first; *at;) {
        struct follower *f = list[n++] = *at;
        if (f->gone) { // out of the list, whose reference becomes ours
            *at = f->next;
            all->n--;
        } else {
            f->refs++;
            at = &f->next;
        }
    }
    pthread_mutex_unlock(&all->lock);
    for (size_t i = 0; i < n; i++) {
        if (list[i]->stream)
            stream_wake(list[i]->stream);
        follower_unref(list[i]);
    }
    free(list);
}

static bool has_grown(const char *folder, struct stat *last)
{
    struct stat now;
    if (!beneath_stat(folder, LOG_FILE, &now))
        return false;
    bool grown = now.st_ino != last->st_ino || now.st_size != last->st_size;
    *last = now;
    return grown;
}

static void *followers_main(void *opaque)
{
    struct followers *all = opaque;
    struct stat last = {0};
    pthread_mutex_lock(&all->lock);
    while (!all->stopping) {
        if (!all->first) {
            last = (struct stat){0};
            pthread_cond_wait(&all->changed, &all->lock);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += FOLLOW_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&all->changed, &all->lock, &until);
        pthread_mutex_unlock(&all->lock);
        if (has_grown(all->folder, &last))
            wake_all(all);
        pthread_mutex_lock(&all->lock);
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

enum kb_code followers_start(struct followers **ret, const char *data, struct kb_error *err)
{
    struct followers *all = kb_alloc(sizeof(*all));
    all->folder = kb_strdup(data);
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->changed, NULL);
    if (pthread_create(&all->thread, NULL, followers_main, all) != 0) {
        free(all->folder);
        free(all);
        return kb_fail(err, KB_NO_SPACE, "%s", _("cannot start a thread"));
    }
    *ret = all;
    return KB_OK;
}

void followers_stop(struct followers **f)
{
    struct followers *all = TAKE(*f);
    if (!all)
        return;
    pthread_mutex_lock(&all->lock);
    all->stopping = true;
    pthread_cond_signal(&all->changed);
    pthread_mutex_unlock(&all->lock);
    pthread_join(all->thread, NULL);
    for (struct follower *at = all->first, *next; at; at = next) {
        next = at->next;
        follower_unref(at);
    }
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->lock);
    free(all->folder);
    free(all);
}

static void logs(struct request *r)
{
    struct log_filter filter;
    int64_t follow;
    if (!take_filter(r, &filter) || !request_query_int(r, "follow", 0, 1, 0, &follow))
        return;
    if (follow)
        logs_follow(r, &filter);
    else
        logs_list(r, &filter);
}

const struct route api_logs_routes[] = {
    {"GET", "/api/v1/logs", logs, 0, NULL},
    {0},
};
