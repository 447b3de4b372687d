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

#define FORGET_TRIES 24 // of 5 s each

int64_t upload_limit(const struct server *s)
{
    return s->params.upload_bytes > 0 ? s->params.upload_bytes : (int64_t)(20 * KB_GB);
}

void upload_too_large(struct request *r)
{
    CLEANUP(kb_freep)
    char *sentence = kb_printf(_("the file is larger than this server takes (%.1f GB)"),
                               (double)upload_limit(request_server(r)) / KB_GB);
    reply_problem(r, 413, "too_large", sentence);
}

bool upload_has_room(struct request *r, int64_t bytes)
{
    const struct server *s = request_server(r);
    struct statvfs disk;
    if (statvfs(s->params.data, &disk) != 0)
        return true; // then the write will tell
    int64_t free_bytes = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
    int64_t keep = s->params.supervisor.worker.min_free_bytes;
    if (free_bytes - keep >= bytes)
        return true;
    CLEANUP(kb_freep)
    char *sentence =
        kb_printf(_("not enough disk space: %.1f GB are free, this file needs %.1f GB and %.1f GB "
                    "must stay free; delete results or files that are no longer needed"),
                  (double)free_bytes / KB_GB, (double)bytes / KB_GB, (double)keep / KB_GB);
    reply_problem(r, 507, "no_space", sentence);
    return false;
}

bool upload_admit(struct request *r, int64_t size_bytes)
{
    const struct server *s = request_server(r);
    if (size_bytes > upload_limit(s)) {
        upload_too_large(r);
        return false;
    }
    int limit = s->params.uploads_per_client > 0 ? s->params.uploads_per_client : 200;
    if (asset_count_uploads(request_store(r), request_client(r)) >= limit) {
        CLEANUP(kb_freep)
        char *sentence =
            kb_printf(_("%d uploads from this computer have not ended yet; wait for them, or "
                        "remove some"),
                      limit);
        reply_header(r, "Retry-After", "30");
        reply_problem(r, 429, "too_many", sentence);
        return false;
    }
    return upload_has_room(r, KB_MAX(size_bytes, 1));
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
    if (asset_delete(store, id, NULL) != KB_UNAVAILABLE || !s->errands)
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
    if (!store)
        return;
    if (!keep)
        upload_forget(s, store, id);
    pool_take_back(s->pool, store);
}
