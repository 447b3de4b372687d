#include "server/api/zip.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sentence.h"
#include "base/text.h"
#include "queue/result.h"
#include "server/pool.h"
#include "server/quota.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <jansson.h>

#define BLOCK 65536

struct entry {
    int64_t job;
    char *name;
};

struct zip_stream {
    char *folder;
    struct pool *pool;
    struct entry *entries;
    int n_entries, capacity;
    json_t *names; // those given away: the keys of an object; the value is the number that the
                   // next equal name tries, so that n of them do not try n² numbers
    struct quota *quota; // NULL: none
    char *client;
    // while reading:
    struct archive *archive;
    int next;     // entry
    int fd;       // of the present one, -1 between two
    int64_t left; // bytes of it
    struct text out;
    size_t sent;         // of out
    char *missing_title; // above:
    struct text missing; // what is left out, a line each
    bool closed, broken, dropped, told;
    char block[BLOCK];
};

struct zip_stream *zip_stream_create(const char *folder, struct pool *pool, const char *missing)
{
    struct zip_stream *z = kb_alloc(sizeof(*z));
    z->folder = kb_strdup(folder);
    z->pool = pool;
    z->missing_title = kb_strdup(missing);
    z->names = json_object();
    z->fd = -1;
    return z;
}

void zip_stream_holds(struct zip_stream *z, struct quota *zips, const char *client)
{
    z->quota = zips;
    z->client = kb_strdup(client);
}

void zip_stream_free(void *zip)
{
    struct zip_stream *z = zip;
    if (!z)
        return;
    for (int i = 0; i < z->n_entries; i++)
        free(z->entries[i].name);
    free(z->entries);
    z->dropped = true; // what libarchive still writes goes nowhere
    archive_write_free(z->archive);
    if (z->fd >= 0)
        close(z->fd);
    json_decref(z->names);
    text_free(&z->out);
    text_free(&z->missing);
    free(z->missing_title);
    if (z->quota)
        quota_leave(z->quota, z->client);
    free(z->client);
    free(z->folder);
    free(z);
}

// --- names

// Small and capital letters are the same on many systems.
static char *name_key(const char *name)
{
    char *key = kb_strdup(name);
    for (char *c = key; *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    return key;
}

// True: nobody had it, it is taken now.
static bool take_name(struct zip_stream *z, const char *name)
{
    CLEANUP(kb_freep) char *key = name_key(name);
    if (json_object_get(z->names, key))
        return false;
    json_object_set_new_nocheck(z->names, key, json_integer(2));
    return true;
}

// path, or the first of path-2, path-3… that nobody has. n_stem: bytes before the number.
static char *unique_name(struct zip_stream *z, const char *path, size_t n_stem)
{
    if (take_name(z, path))
        return kb_strdup(path);
    CLEANUP(kb_freep) char *key = name_key(path);
    json_int_t i = json_integer_value(json_object_get(z->names, key));
    char *unique = kb_printf("%.*s-%lld%s", (int)n_stem, path, (long long)i, path + n_stem);
    while (!take_name(z, unique)) {
        free(unique);
        unique = kb_printf("%.*s-%lld%s", (int)n_stem, path, (long long)++i, path + n_stem);
    }
    json_object_set_new_nocheck(z->names, key, json_integer(i + 1));
    return unique;
}

void zip_stream_add(struct zip_stream *z, int64_t job, const char *directory, const char *name)
{
    CLEANUP(kb_freep) char *safe_directory = directory ? path_safe_name(directory, 255) : NULL;
    CLEANUP(kb_freep) char *file = path_safe_name(name, 255);
    CLEANUP(kb_freep)
    char *path = directory ? kb_printf("%s/%s", safe_directory, file) : kb_strdup(file);
    const char *dot = strrchr(path, '.');
    const char *slash = strrchr(path, '/');
    size_t n_stem = dot && dot > (slash ? slash + 1 : path) ? (size_t)(dot - path) : strlen(path);
    char *unique = unique_name(z, path, n_stem);
    if (z->n_entries == z->capacity) {
        z->capacity = KB_MAX(64, z->capacity * 2);
        z->entries = reallocarray(z->entries, (size_t)z->capacity, sizeof(*z->entries));
        if (!z->entries)
            abort();
    }
    z->entries[z->n_entries++] = (struct entry){job, unique};
}

void zip_stream_miss(struct zip_stream *z, const char *line)
{
    text_addf(&z->missing, "%s\r\n", line);
}

// --- reading

static la_ssize_t write_out(struct archive *a, void *ctx, const void *data, size_t n)
{
    struct zip_stream *z = ctx;
    if (!z->dropped)
        text_add_bytes(&z->out, data, n);
    return (la_ssize_t)n;
}

static enum kb_code archive_error(struct zip_stream *z, struct kb_error *err)
{
    return kb_fail(err, KB_INTERNAL, _("cannot write the zip: %s"),
                   archive_error_string(z->archive));
}

static enum kb_code begin_archive(struct zip_stream *z, struct kb_error *err)
{
    z->archive = archive_write_new();
    if (!z->archive)
        return kb_no_memory(err);
    if (archive_write_set_format_zip(z->archive) != ARCHIVE_OK ||
        archive_write_set_options(z->archive, "zip:compression=store,zip:hdrcharset=UTF-8") !=
            ARCHIVE_OK ||
        archive_write_set_bytes_per_block(z->archive, 0) != ARCHIVE_OK ||
        archive_write_open(z->archive, z, NULL, write_out, NULL) != ARCHIVE_OK)
        return archive_error(z, err);
    return KB_OK;
}

static enum kb_code write_header(struct zip_stream *z, const char *name, int64_t size,
                                 int64_t time_ms, struct kb_error *err)
{
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return kb_no_memory(err);
    archive_entry_set_pathname_utf8(entry, name);
    archive_entry_set_size(entry, size);
    archive_entry_set_mtime(entry, (time_t)(time_ms / 1000), 0);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    int e = archive_write_header(z->archive, entry);
    archive_entry_free(entry);
    return e == ARCHIVE_OK ? KB_OK : archive_error(z, err);
}

// On a network thread, so with a connection that does not wait long, and not held while the client
// takes its time.
static enum kb_code find(struct zip_stream *z, int64_t job, struct result *ret,
                         struct kb_error *err)
{
    struct store *store = NULL;
    enum kb_code code = pool_lend(z->pool, &store, err);
    if (code != KB_OK)
        return code;
    code = result_find(store, job, ret, err);
    pool_take_back(z->pool, store);
    return code;
}

// One that was deleted, or whose file is gone, is left out and named at the end.
static enum kb_code begin_entry(struct zip_stream *z, struct kb_error *err)
{
    const struct entry *e = &z->entries[z->next];
    CLEANUP(result_free) struct result result = {0};
    enum kb_code code = find(z, e->job, &result, err);
    if (code != KB_OK && code != KB_NOT_FOUND)
        return code;
    struct stat st;
    z->fd = code == KB_OK ? beneath_open(z->folder, result.file, O_RDONLY, 0) : -1;
    bool opened = z->fd >= 0 && fstat(z->fd, &st) == 0;
    if (code == KB_OK && !opened && !beneath_is_gone(errno)) // it is there, and not to be left out
        return kb_fail(err, KB_INTERNAL, _("cannot read '%s': %s"), e->name, beneath_reason(errno));
    if (!opened) {
        log_warn(_("'%s' is left out of a zip: its file is gone"), e->name);
        zip_stream_miss(z, e->name);
        if (z->fd >= 0)
            close(z->fd);
        z->fd = -1;
        z->next++;
        return KB_OK;
    }
    z->left = st.st_size;
    return write_header(z, e->name, st.st_size, result.created_ms, err);
}

// With a byte order mark: Windows' editor would take Chinese for something else.
static enum kb_code tell_missing(struct zip_stream *z, struct kb_error *err)
{
    CLEANUP(kb_freep)
    char *text = kb_printf("\xef\xbb\xbf%s\r\n%s", z->missing_title, text_get(&z->missing));
    size_t n = strlen(text);
    enum kb_code code = write_header(z, "MISSING.txt", (int64_t)n, kb_wall_ms(), err);
    if (code != KB_OK)
        return code;
    z->told = true;
    return archive_write_data(z->archive, text, n) == (la_ssize_t)n &&
                   archive_write_finish_entry(z->archive) == ARCHIVE_OK
               ? KB_OK
               : archive_error(z, err);
}

static enum kb_code continue_entry(struct zip_stream *z, struct kb_error *err)
{
    if (z->left == 0) {
        close(z->fd);
        z->fd = -1;
        z->next++;
        return archive_write_finish_entry(z->archive) == ARCHIVE_OK ? KB_OK : archive_error(z, err);
    }
    ssize_t n;
    do
        n = read(z->fd, z->block, (size_t)KB_MIN(z->left, BLOCK));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return kb_fail(err, KB_INTERNAL, _("cannot read '%s': %s"), z->entries[z->next].name,
                       kb_strerror(errno));
    if (n == 0)
        return kb_fail(err, KB_NOT_FOUND, _("'%s' has become shorter"), z->entries[z->next].name);
    z->left -= n;
    return archive_write_data(z->archive, z->block, (size_t)n) == n ? KB_OK : archive_error(z, err);
}

// Some more of the zip into out.
static enum kb_code produce(struct zip_stream *z, struct kb_error *err)
{
    if (!z->archive)
        return begin_archive(z, err);
    if (z->fd >= 0)
        return continue_entry(z, err);
    if (z->next < z->n_entries)
        return begin_entry(z, err);
    if (z->missing.size > 0 && !z->told)
        return tell_missing(z, err);
    z->closed = true;
    return archive_write_close(z->archive) == ARCHIVE_OK ? KB_OK : archive_error(z, err);
}

int64_t zip_stream_read(void *zip, char *buffer, size_t max)
{
    struct zip_stream *z = zip;
    while (!z->broken && z->sent == z->out.size) {
        if (z->closed)
            return -1;
        struct kb_error err = {0};
        text_clear(&z->out);
        z->sent = 0;
        if (produce(z, &err) == KB_OK)
            continue;
        kb_wrap(&err, _("a zip of results is broken off"));
        CLEANUP(kb_freep) char *said = sentence_for_log(&err);
        log_warn("%s", said);
        z->broken = true;
    }
    if (z->broken)
        return -2;
    size_t n = KB_MIN(max, z->out.size - z->sent);
    memcpy(buffer, z->out.data + z->sent, n);
    z->sent += n;
    return (int64_t)n;
}
