#include "asset/speech.h"

#include "asset/internal.h"
#include "asset/upload.h"
#include "base/beneath.h"
#include "base/sentence.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define SAMPLE_MS (3600 * INT64_C(1000))

// NULL: nothing is unusual.
static char *speech_json(const struct asset_speech *h)
{
    json_auto_t *root = json_object();
    if (h && h->speed > 0)
        json_object_set_new(root, "speed", json_real(h->speed));
    if (h && h->has_pause)
        json_object_set_new(root, "pause", json_integer(h->pause_ms));
    return json_object_size(root) > 0 ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6))
                                      : NULL;
}

enum kb_code speech_insert(struct store *s, const struct asset_params *p, const char *text,
                           const char *voice, char ret_id[33], struct kb_error *err)
{
    const struct asset_speech *h = p->speech;
    CLEANUP(kb_freep) char *json = speech_json(h);
    char id[33];
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = asset_insert(s, p, "making", text, voice, id, err);
    if (code == KB_OK && h)
        code = store_exec(s, NULL, err,
                          "UPDATE asset SET speech = ?, pieces = iif(?, '', NULL), sample = ?"
                          " WHERE id = ?",
                          "tiit", json, (int64_t)h->fetched, (int64_t)h->sample, id);
    code = store_end(s, code, err);
    if (code == KB_OK)
        memcpy(ret_id, id, sizeof(id));
    return code;
}

enum kb_code asset_speech(struct store *s, const char *id, struct asset_speech *ret,
                          char **ret_pieces, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT coalesce(speech, '{}'), coalesce(pieces, ''),"
                                    " pieces IS NOT NULL, sample FROM asset WHERE id = ?",
                                    "t", id);
    if (code != KB_OK)
        return code == KB_EOF ? asset_not_found(err) : code;
    json_auto_t *root = json_loads((const char *)sqlite3_column_text(q, 0), 0, NULL);
    const json_t *pause = json_object_get(root, "pause");
    *ret = (struct asset_speech){
        .speed = json_number_value(json_object_get(root, "speed")),
        .has_pause = pause,
        .pause_ms = (int)json_integer_value(pause),
        .tempo = json_number_value(json_object_get(root, "tempo")),
        .fetched = sqlite3_column_int(q, 2),
        .sample = sqlite3_column_int(q, 3),
    };
    *ret_pieces = store_column(q, 1);
    return KB_OK;
}

enum kb_code asset_next_speech(struct store *s,
                               bool (*wanted)(void *ctx, const char *id, const char *voice),
                               void *ctx, char ret_id[33], struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT id, coalesce(voice, '') FROM asset"
                                    " WHERE state = 'making' AND pieces = ''"
                                    " ORDER BY NOT sample, created_ms, rowid",
                                    "");
    for (; code == KB_OK; code = store_step(s, q, err)) {
        store_copy_column(ret_id, 33, q, 0);
        if (wanted(ctx, ret_id, (const char *)sqlite3_column_text(q, 1)))
            break;
    }
    return code;
}

int asset_open_pieces(struct store *s, const char *id, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = asset_part_path(id);
    int fd = beneath_open(s->folder, path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0640);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    int number = errno;
    if (fd >= 0)
        close(fd);
    kb_fail(err, number == ENOSPC || number == EDQUOT ? KB_NO_SPACE : KB_UNAVAILABLE,
            _("the speech could not be stored: %s"), beneath_reason(number));
    return -1;
}

enum kb_code asset_tell_speech(struct store *s, const char *id, double progress,
                               struct kb_error *err)
{
    int n = 0;
    bool durable = s->durable;
    store_set_durable(s, false);
    enum kb_code code =
        store_exec(s, &n, err,
                   "UPDATE asset SET progress = ?, error = NULL WHERE id = ? AND state = 'making'"
                   " AND pieces = ''",
                   "dt", progress, id);
    store_set_durable(s, durable);
    return code == KB_OK && n == 0 ? asset_not_found(err) : code;
}

enum kb_code asset_hold_speech(struct store *s, const char *id, const struct kb_error *why,
                               struct kb_error *err)
{
    CLEANUP(kb_freep) char *text = sentence_of(why);
    return store_exec(s, NULL, err,
                      "UPDATE asset SET error = ?1, progress = NULL WHERE id = ?2"
                      " AND state = 'making' AND pieces = '' AND error IS NOT ?1",
                      "tt", text, id);
}

enum kb_code asset_set_pieces(struct store *s, const char *id, const char *sizes, double tempo,
                              struct kb_error *err)
{
    int n = 0;
    enum kb_code code =
        store_exec(s, &n, err,
                   "UPDATE asset SET pieces = ?, progress = NULL, error = NULL,"
                   " speech = json_set(coalesce(speech, '{}'), '$.tempo', ?) WHERE id = ?"
                   " AND state = 'making' AND pieces = ''",
                   "tdt", sizes, tempo, id);
    if (code != KB_OK || n > 0)
        return code;
    CLEANUP(kb_freep) char *path = asset_part_path(id);
    beneath_unlink(s->folder, path);
    return asset_not_found(err);
}

char *asset_error(struct store *s, const char *id)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    if (store_query(s, &q, NULL,
                    "SELECT say(error) FROM asset WHERE id = ? AND state IN ('bad', 'making')"
                    " AND error IS NOT NULL",
                    "t", id) != KB_OK)
        return NULL;
    return store_column(q, 0);
}

enum kb_code speech_sweep(struct store *s, struct kb_error *err)
{
    for (;;) {
        CLEANUP(store_reset) sqlite3_stmt *q = NULL;
        char id[33];
        enum kb_code code =
            store_query(s, &q, err, "SELECT id FROM asset WHERE sample AND created_ms < ? LIMIT 1",
                        "i", kb_wall_ms() - SAMPLE_MS);
        if (code != KB_OK)
            return code == KB_EOF ? KB_OK : code;
        store_copy_column(id, sizeof(id), q, 0);
        store_reset(&q);
        code = asset_delete(s, id, err);
        if (code != KB_OK)
            return code;
    }
}
