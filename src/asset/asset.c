// The rows of assets. Their bytes are in upload.c, their claims in claim.c.
#include "asset/asset.h"

#include "asset/internal.h"
#include "asset/name.h"
#include "asset/upload.h"
#include "base/beneath.h"
#include "base/file.h"
#include "base/sentence.h"
#include "base/uri.h"
#include "base/utf8.h"
#include "store/fate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_URL    2048
#define MAX_SPEECH 20000 // bytes

enum kb_code asset_not_found(struct kb_error *err)
{
    return kb_fail(err, KB_NOT_FOUND, _("this file does not exist (any more); upload it again"));
}

char *asset_part_path(const char *id)
{
    return kb_printf("uploads/%s.part", id);
}

char *asset_path(const struct store *s, const char *sha256)
{
    return store_path(s, "files", sha256);
}

// --- making

enum kb_code asset_insert(struct store *s, const struct asset_params *p, const char *state,
                          const char *source, const char *voice, char ret_id[33],
                          struct kb_error *err)
{
    char name[256], id[33];
    asset_clean_name(name, p->name ? p->name : "");
    kb_random_hex(id, 32);
    const char *lang = kb_language_name(kb_language_of(p->lang));
    enum kb_code code =
        store_exec(s, NULL, err,
                   "INSERT INTO asset(id, state, name, size, source, voice, client, lang,"
                   " expires_ms, created_ms, job)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULLIF(?, 0), ?, NULLIF(?, 0))",
                   "tttittttiii", id, state, *name ? name : _("unnamed"), p->size_bytes, source,
                   voice, p->client, lang, p->expires_ms, kb_wall_ms(), p->job);
    if (code == KB_OK)
        memcpy(ret_id, id, sizeof(id));
    return code;
}

enum kb_code asset_create(struct store *s, const struct asset_params *p, char ret_id[33],
                          struct kb_error *err)
{
    if (p->size_bytes == 0)
        return kb_fail(err, KB_BAD_INPUT, _("the file is empty (0 bytes); choose another one"));
    if (p->size_bytes < -1)
        return kb_fail(err, KB_BAD_INPUT, _("the size of the file must not be negative"));
    return asset_insert(s, p, "uploading", NULL, NULL, ret_id, err);
}

// The name that an address ends with, its %XX decoded; a decoded "/" ends up harmless,
// because the result is cleaned as every name is.
static void name_of_url(char ret[256], const char *url)
{
    const char *path = url + uri_http(url);
    size_t length = strcspn(path, "?#");
    CLEANUP(kb_freep) char *name = kb_printf("%.*s", (int)length, path);
    uri_decode(name, false);
    asset_clean_name(ret, strchr(name, '/') ? name : "");
}

enum kb_code asset_create_url(struct store *s, const struct asset_params *p, const char *url,
                              char ret_id[33], struct kb_error *err)
{
    size_t scheme = uri_http(url);
    if (scheme == 0 || !url[scheme])
        return kb_fail(err, KB_BAD_INPUT,
                       _("the address must begin with http:// or https:// and name a server"));
    if (strlen(url) > MAX_URL)
        return kb_fail(err, KB_BAD_INPUT, _("the address is longer than %d characters"), MAX_URL);
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return kb_fail(err, KB_BAD_INPUT,
                           _("the address must not contain spaces or control characters"));
    char name[256];
    name_of_url(name, url);
    struct asset_params params = *p;
    params.size_bytes = -1;
    if (!params.name || !*params.name)
        params.name = name;
    return asset_insert(s, &params, "fetching", url, NULL, ret_id, err);
}

// The first words of a text, for the list.
static void name_of_text(char ret[256], const char *text)
{
    CLEANUP(kb_freep) char *copy = kb_strdup(text);
    for (char *c = copy; *c; c++)
        if (strchr("/\\\r\n\t", *c))
            *c = ' ';
    asset_clean_name(ret, copy);
    if (strlen(ret) <= 60)
        return;
    memcpy(ret + utf8_fit(ret, 60), "…", sizeof("…"));
}

enum kb_code asset_create_speech(struct store *s, const struct asset_params *p, const char *text,
                                 const char *voice, char ret_id[33], struct kb_error *err)
{
    if (text[strspn(text, " \t\r\n")] == '\0')
        return kb_fail(err, KB_BAD_INPUT, _("there is no text to speak; write some"));
    if (strlen(text) > MAX_SPEECH)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the text has %zu bytes and at most %d are spoken; make it shorter"),
                       strlen(text), MAX_SPEECH);
    char name[256];
    name_of_text(name, text);
    struct asset_params params = *p;
    params.size_bytes = -1;
    if (!params.name || !*params.name)
        params.name = name;
    return speech_insert(s, &params, text, voice, ret_id, err);
}

// --- finding

#define COPY(ret, q, column) store_copy_column(ret, sizeof(ret), q, column)

enum kb_code asset_find(struct store *s, const char *id, struct asset *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT id, state, kind, name, sha256, source IS NOT NULL AND source NOT LIKE"
                    " 'http://%' AND source NOT LIKE 'https://%', voice, lang, size, received,"
                    " expires_ms, duration_ms, width, height, job FROM asset WHERE id = ?",
                    "t", id);
    if (code != KB_OK)
        return code == KB_EOF ? asset_not_found(err) : code;
    COPY(ret->id, q, 0);
    COPY(ret->state, q, 1);
    COPY(ret->kind, q, 2);
    COPY(ret->name, q, 3);
    COPY(ret->sha256, q, 4);
    ret->spoken = sqlite3_column_int(q, 5);
    COPY(ret->voice, q, 6);
    COPY(ret->lang, q, 7);
    ret->size_bytes = sqlite3_column_int64(q, 8);
    ret->received_bytes = sqlite3_column_int64(q, 9);
    ret->expires_ms = sqlite3_column_int64(q, 10);
    ret->duration_ms = sqlite3_column_int64(q, 11);
    ret->width = sqlite3_column_int(q, 12);
    ret->height = sqlite3_column_int(q, 13);
    ret->job = sqlite3_column_int64(q, 14);
    return KB_OK;
}

static enum kb_code find_text(struct store *s, const char *sql, const char *id, char **ret,
                              struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err, sql, "t", id);
    if (code == KB_OK)
        *ret = store_column(q, 0);
    return code == KB_EOF ? asset_not_found(err) : code;
}

enum kb_code asset_source(struct store *s, const char *id, char **ret, struct kb_error *err)
{
    return find_text(s, "SELECT coalesce(source, '') FROM asset WHERE id = ?", id, ret, err);
}

enum kb_code asset_words(struct store *s, const char *id, char **ret, struct kb_error *err)
{
    return find_text(s, "SELECT coalesce(words, '') FROM asset WHERE id = ?", id, ret, err);
}

int asset_count_uploads(struct store *s, const char *client)
{
    int64_t n = 0;
    store_query_int(s, &n, NULL,
                    "SELECT count(*) FROM asset WHERE state IN ('uploading', 'fetching', 'making')"
                    " AND (?1 IS NULL OR client = ?1) AND job IS NULL",
                    "t", client);
    return (int)n;
}

int64_t asset_spoken_letters(struct store *s)
{
    int64_t n = 0;
    store_query_int(s, &n, NULL, "SELECT sum(length(source)) FROM asset WHERE state = 'making'",
                    "");
    return n;
}

enum kb_code asset_json(struct store *s, const char *id, struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err, "SELECT json FROM asset_json WHERE id = ?", "t", id);
    if (code == KB_OK)
        store_add_column(ret, q, 0);
    return code == KB_EOF ? asset_not_found(err) : code;
}

#define LIST_WHERE                                                                                 \
    " FROM asset WHERE job IS NULL AND NOT sample AND (?1 IS NULL OR kind = ?1) AND (?2 IS NULL "  \
    "OR state = ?2)"                                                                               \
    " AND (?3 IS NULL OR name LIKE ?3 ESCAPE '\\')"

enum kb_code asset_list_json(struct store *s, const struct asset_filter *f, struct text *ret,
                             struct kb_error *err)
{
    CLEANUP(kb_freep) char *like = store_like(f->search);
    struct store_page page = {
        .page = "SELECT id" LIST_WHERE " ORDER BY created_ms DESC, rowid DESC LIMIT ?4 OFFSET ?5",
        .total = "SELECT count(*)" LIST_WHERE,
        .one = "SELECT json FROM asset_json WHERE id = ?",
        .offset = f->offset,
        .limit = f->limit,
    };
    return store_page_json(s, &page, ret, err, "ttt", f->kind, f->state, like);
}

// --- removing

// *ret_gone: unless an asset has it, or it cannot be removed.
static enum kb_code unlink_content(struct store *s, const char *sha256, bool *ret_gone,
                                   struct kb_error *err)
{
    int64_t n = 0;
    enum kb_code code =
        store_query_int(s, &n, err, "SELECT count(*) FROM asset WHERE sha256 = ?", "t", sha256);
    *ret_gone = false;
    if (code != KB_OK || n > 0)
        return code;
    CLEANUP(kb_freep) char *path = path_join("files", sha256);
    CLEANUP(kb_freep) char *thumb = kb_printf("thumbs/%s.jpg", sha256);
    CLEANUP(kb_freep) char *part = kb_printf("%s.part", path);
    beneath_unlink(s->folder, part); // of an older koubo
    *ret_gone = (beneath_unlink(s->folder, path) || errno == ENOENT) &&
                (beneath_unlink(s->folder, thumb) || errno == ENOENT);
    return KB_OK;
}

static enum kb_code release(struct store *s, char (*sha256)[65], int n, struct kb_error *err)
{
    CLEANUP(kb_freep) bool *gone = kb_alloc((size_t)n * sizeof(*gone));
    bool any = false;
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < n; i++) {
        code = unlink_content(s, sha256[i], &gone[i], err);
        any = any || gone[i];
    }
    if (any && file_settle(s, "files", "") && file_settle(s, "thumbs", ""))
        for (int i = 0; i < n; i++)
            if (gone[i])
                file_forget(s, "files", sha256[i]);
    return code;
}

enum kb_code contents_release(struct store *s, char (*sha256)[65], int n, struct kb_error *err)
{
    enum kb_code code = n > 0 ? store_begin(s, err) : KB_OK;
    return code == KB_OK && n > 0 ? store_end(s, release(s, sha256, n, err), err) : code;
}

enum kb_code content_release(struct store *s, const char *sha256, struct kb_error *err)
{
    char one[1][65];
    snprintf(one[0], sizeof(one[0]), "%s", sha256);
    return contents_release(s, one, 1, err);
}

// Which batch still needs the asset; KB_EOF when none does.
static enum kb_code find_user(struct store *s, const char *id, char **ret_batch,
                              struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err,
        "SELECT b.name FROM job j JOIN batch b ON b.id = j.batch WHERE j.video = ?1"
        " AND j.state NOT IN " JOB_STATES_ENDED
        " UNION ALL SELECT b.name FROM job j JOIN batch b ON b.id = j.batch WHERE j.audio = ?1"
        " AND j.state NOT IN " JOB_STATES_ENDED
        " UNION ALL SELECT b.name FROM batch b JOIN job j ON j.batch = b.id WHERE b.audio = ?1"
        " AND j.audio IS NULL AND j.state NOT IN " JOB_STATES_ENDED
        " UNION ALL SELECT b.name FROM material m JOIN batch b ON b.id = m.batch"
        " WHERE b.ended_ms IS NULL AND m.asset = ?1 LIMIT 1",
        "t", id);
    if (code == KB_OK)
        *ret_batch = store_column(q, 0);
    return code;
}

// Whose film or material it is; KB_EOF when nobody's.
static enum kb_code find_person(struct store *s, const char *id, char **ret_name,
                                struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT p.name FROM person_asset f JOIN person p"
                                    " ON p.id = f.person WHERE f.asset = ? LIMIT 1",
                                    "t", id);
    if (code == KB_OK)
        *ret_name = store_column(q, 0);
    return code;
}

static enum kb_code delete_row(struct store *s, const char *id, struct asset *ret,
                               struct kb_error *err)
{
    CLEANUP(kb_freep) char *batch = NULL;
    enum kb_code code = asset_find(s, id, ret, err);
    if (code == KB_OK && ret->job)
        code = asset_not_found(err);
    if (code != KB_OK)
        return code;
    code = find_user(s, id, &batch, err);
    if (code == KB_OK)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is needed by the batch '%s', which has not ended; cancel the batch "
                         "or wait for its end"),
                       ret->name, batch);
    CLEANUP(kb_freep) char *person = NULL;
    if (code == KB_EOF)
        code = find_person(s, id, &person, err);
    if (code == KB_OK)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' belongs to the person '%s'; remove the person first"), ret->name,
                       person);
    return code == KB_EOF ? store_exec(s, NULL, err, "DELETE FROM asset WHERE id = ?", "t", id)
                          : code;
}

enum kb_code asset_delete(struct store *s, const char *id, struct kb_error *err)
{
    struct asset a = {0};
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = store_end(s, delete_row(s, id, &a, err), err);
    if (code != KB_OK)
        return code;
    // If bytes are still arriving, whoever writes them finds no row at the end and removes it.
    upload_part_remove(s, a.id);
    return a.sha256[0] ? content_release(s, a.sha256, err) : KB_OK;
}

enum kb_code asset_expire(struct store *s, const char *id, bool *ret_removed, struct kb_error *err)
{
    *ret_removed = false;
    // The part first: it tells whether somebody writes. Without a row's part an upload starts anew.
    int n = 0;
    if (!upload_part_remove(s, id))
        return KB_OK;
    enum kb_code code = store_exec(s, &n, err,
                                   "DELETE FROM asset WHERE id = ? AND state = 'uploading'"
                                   " AND expires_ms < ?",
                                   "ti", id, kb_wall_ms());
    *ret_removed = code == KB_OK && n > 0;
    return code;
}

// --- fetching

enum kb_code asset_fail(struct store *s, const char *id, const struct kb_error *why,
                        struct kb_error *err)
{
    int n = 0;
    CLEANUP(kb_freep) char *text = sentence_of(why);
    enum kb_code code =
        store_exec(s, &n, err,
                   "UPDATE asset SET state = 'bad', error = ?, worker = NULL, lease_ms = NULL"
                   " WHERE id = ? AND state NOT IN ('ready', 'bad')",
                   "tt", text, id);
    if (code == KB_OK && n > 0)
        upload_part_remove(s, id);
    return code;
}

enum kb_code asset_inspect_again(struct store *s, const char *id, struct kb_error *err)
{
    struct asset a;
    int n = 0;
    enum kb_code code = asset_find(s, id, &a, err);
    if (code == KB_OK && a.job)
        code = asset_not_found(err);
    if (code != KB_OK)
        return code;
    if (strcmp(a.state, "bad") != 0)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not bad; nothing is to be looked at again"),
                       a.name);
    CLEANUP(kb_freep) char *path = path_join("files", a.sha256);
    if (!a.sha256[0] || beneath_size(s->folder, path) <= 0)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not here (any more); upload it again"),
                       a.name);
    code = store_exec(s, &n, err,
                      "UPDATE asset SET state = 'new', error = NULL, attempts = 0, worker = NULL,"
                      " lease_ms = NULL, progress = NULL WHERE id = ? AND state = 'bad'",
                      "t", id);
    return code == KB_OK && n == 0 ? asset_not_found(err) : code;
}

enum kb_code asset_next_fetch(struct store *s,
                              bool (*wanted)(void *ctx, const char *id, const char *url), void *ctx,
                              char ret_id[33], struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT id, coalesce(source, '') FROM asset"
                                    " WHERE state = 'fetching' ORDER BY created_ms, rowid",
                                    "");
    for (; code == KB_OK; code = store_step(s, q, err)) {
        store_copy_column(ret_id, 33, q, 0);
        if (wanted(ctx, ret_id, (const char *)sqlite3_column_text(q, 1)))
            break;
    }
    return code;
}

// --- sweeping

// An asset that made its inspectors crash.
static enum kb_code give_up(struct store *s, const char *id, const char *state,
                            struct kb_error *err)
{
    struct kb_error why = {0};
    if (strcmp(state, "making") == 0)
        kb_fail(&why, KB_INTERNAL,
                _("the text could not be spoken: the speaker crashed %d times; change the text"),
                MAX_CLAIMS);
    else
        kb_fail(&why, KB_INTERNAL,
                _("the program that looks at files crashed on this one %d times; convert it to MP4 "
                  "(H.264 and AAC) or WAV and upload it again"),
                MAX_CLAIMS);
    return asset_fail(s, id, &why, err);
}

static enum kb_code sweep_crashed(struct store *s, struct kb_error *err)
{
    for (;;) {
        CLEANUP(store_reset) sqlite3_stmt *q = NULL;
        char id[33], state[16];
        enum kb_code code =
            store_query(s, &q, err,
                        "SELECT id, state FROM asset WHERE state IN ('new', 'making')"
                        " AND attempts >= ?1 AND NOT (" ASSET_IS_HELD("?2") ") LIMIT 1",
                        "ii", (int64_t)MAX_CLAIMS, kb_wall_ms());
        if (code != KB_OK)
            return code == KB_EOF ? KB_OK : code;
        COPY(id, q, 0);
        COPY(state, q, 1);
        store_reset(&q);
        code = give_up(s, id, state, err);
        if (code != KB_OK)
            return code;
    }
}

enum kb_code asset_sweep(struct store *s, struct kb_error *err)
{
    CLEANUP(text_free) struct text ids = {0};
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT id FROM asset WHERE state = 'uploading'"
                                    " AND expires_ms < ?",
                                    "i", kb_wall_ms());
    for (; code == KB_OK; code = store_step(s, q, err))
        text_add_bytes(&ids, sqlite3_column_text(q, 0), 32);
    store_reset(&q);
    if (code != KB_EOF)
        return code;
    for (size_t i = 0; i + 32 <= ids.size; i += 32) {
        char id[33] = {0};
        bool removed;
        memcpy(id, ids.data + i, 32);
        code = asset_expire(s, id, &removed, err);
        if (code != KB_OK && code != KB_EOF)
            return code;
    }
    code = speech_sweep(s, err);
    return code == KB_OK ? sweep_crashed(s, err) : code;
}
