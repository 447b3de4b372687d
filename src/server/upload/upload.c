#include "server/upload/upload.h"

#include "asset/asset.h"
#include "base/log.h"
#include "server/errand.h"
#include "server/internal.h"
#include "server/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define UPLOADS_CLIENTS 10 // as many files as so many clients may send, for all of them together
#define FORGET_TRIES    24 // of 5 s each

int64_t upload_limit(const struct server *s)
{
    return s->params.upload_bytes > 0 ? s->params.upload_bytes : (int64_t)(20 * KB_GB);
}

static enum kb_code too_large(const struct server *s, struct kb_error *err)
{
    char size[TEXT_SIZE_BYTES];
    return kb_fail(err, KB_BAD_INPUT, _("the file is larger than this server takes (%s)"),
                   text_size(size, upload_limit(s)));
}

enum kb_code upload_check_room(const char *folder, int64_t keep_bytes, int64_t bytes,
                               struct kb_error *err)
{
    struct statvfs disk;
    char has[TEXT_SIZE_BYTES], needs[TEXT_SIZE_BYTES], stays[TEXT_SIZE_BYTES];
    if (statvfs(folder, &disk) != 0)
        return KB_OK; // then the write will tell
    int64_t free_bytes = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
    if (free_bytes - keep_bytes >= bytes)
        return KB_OK;
    return kb_fail(err, KB_NO_SPACE,
                   _("not enough disk space: %s are free, this needs %s and %s must stay free; "
                     "delete results or files that are no longer needed"),
                   text_size(has, free_bytes), text_size(needs, bytes),
                   text_size(stays, keep_bytes));
}

static enum kb_code check_room(const struct server *s, int64_t bytes, struct kb_error *err)
{
    return upload_check_room(s->params.data, s->params.supervisor.worker.min_free_bytes, bytes,
                             err);
}

static enum kb_code check_number(const struct server *s, struct store *store, const char *client,
                                 struct kb_error *err)
{
    int limit = s->params.uploads_per_client > 0 ? s->params.uploads_per_client : 200;
    int all = limit * UPLOADS_CLIENTS;
    if (asset_count_uploads(store, client) >= limit)
        return kb_fail(
            err, KB_UNAVAILABLE,
            _("%d files from this computer have not come to their end yet; wait for them, or "
              "remove some"),
            limit);
    if (asset_count_uploads(store, NULL) >= all)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the server waits for %d files already; try again in a moment"), all);
    return KB_OK;
}

enum kb_code upload_allowed(const struct server *s, struct store *store, const char *client,
                            const struct upload_wish *wish, struct kb_error *err)
{
    int64_t sum = asset_spoken_letters(store) * SPEECH_BYTES_A_LETTER;
    for (int i = 0; i < wish->n_files; i++) {
        if (wish->sizes[i] > upload_limit(s))
            return too_large(s, err);
        sum += KB_MAX(wish->sizes[i], 1);
    }
    enum kb_code code = check_number(s, store, client, err);
    return code == KB_OK ? check_room(s, sum + wish->letters * SPEECH_BYTES_A_LETTER, err) : code;
}

// 413, 429 or 507.
static void refuse(struct request *r, const struct kb_error *err)
{
    if (err->code == KB_BAD_INPUT) {
        reply_problem(r, 413, "too_large", err->text);
    } else if (err->code == KB_UNAVAILABLE) {
        reply_header(r, "Retry-After", "30");
        reply_problem(r, 429, "too_many", err->text);
    } else {
        reply_problem(r, 507, "no_space", err->text);
    }
}

void upload_too_large(struct request *r)
{
    struct kb_error err = {0};
    too_large(request_server(r), &err);
    refuse(r, &err);
}

bool upload_has_room(struct request *r, int64_t bytes)
{
    struct kb_error err = {0};
    if (check_room(request_server(r), bytes, &err) == KB_OK)
        return true;
    refuse(r, &err);
    return false;
}

bool upload_admit(struct request *r, const struct upload_wish *wish)
{
    struct kb_error err = {0};
    if (upload_allowed(request_server(r), request_store(r), request_client_key(r), wish, &err) ==
        KB_OK)
        return true;
    refuse(r, &err);
    return false;
}

void upload_reply_error(struct request *r, const struct kb_error *err, int too_long)
{
    if (err->code == KB_BAD_INPUT && too_long != 400)
        reply_problem(r, too_long, "too_large", err->text);
    else
        reply_error(r, err);
}

// --- without a request

struct forgotten {
    char *data;
    char id[33];
};

static void forgotten_free(void *ctx)
{
    struct forgotten *f = ctx;
    free(f->data);
    free(f);
}

static void forget_later(void *ctx, const struct cancel *cancel, struct text *ret)
{
    const struct forgotten *f = ctx;
    CLEANUP(store_close) struct store *store = NULL;
    enum kb_code code = KB_UNAVAILABLE;
    for (int i = 0; i < FORGET_TRIES && code == KB_UNAVAILABLE && !cancel_requested(cancel); i++) {
        code = store ? KB_OK : store_open(&store, f->data, false, NULL);
        if (code == KB_OK)
            code = asset_delete(store, f->id, NULL);
    }
}

void upload_forget(struct server *s, struct store *store, const char *id)
{
    // What stays all the same ends with the time that uploads are kept.
    if ((store && asset_delete(store, id, NULL) != KB_UNAVAILABLE) || !s->errands)
        return;
    struct forgotten *f = kb_alloc(sizeof(*f));
    f->data = kb_strdup(s->params.data);
    snprintf(f->id, sizeof(f->id), "%s", id);
    errands_run(s->errands, forget_later, forgotten_free, f);
}

void upload_abandon(struct server *s, struct asset_upload **u, const char *id, bool keep)
{
    struct kb_error err = {0};
    struct store *store = NULL;
    enum kb_code code = pool_lend(s->pool, &store, &err);
    if (*u && code == KB_OK)
        code = asset_upload_close(u, store, false, NULL, &err);
    // Where the database is locked the file alone knows how far it came, and that is enough.
    if (code != KB_OK && code != KB_NOT_FOUND && code != KB_UNAVAILABLE)
        log_warn(_("upload %s was left by its sender and could not be closed: %s"), id, err.text);
    asset_upload_drop(u); // without a store: its lock would stay
    if (!keep)
        upload_forget(s, store, id);
    if (store)
        pool_take_back(s->pool, store);
}
