#include "server/upload.h"

#include "base/log.h"
#include "server/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include <openssl/evp.h>

#define GB 1e9

int64_t upload_limit(const struct server *s)
{
    return s->params.upload_bytes > 0 ? s->params.upload_bytes : 20LL << 30;
}

void upload_too_large(struct request *r)
{
    CLEANUP(kb_freep)
    char *sentence = kb_printf(_("the file is larger than this server takes (%.1f GB)"),
                               (double)upload_limit(request_server(r)) / GB);
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
                  (double)free_bytes / GB, (double)bytes / GB, (double)keep / GB);
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

void upload_abandon(struct server *s, struct asset_upload **u, const char *id, bool keep)
{
    struct kb_error err = {0};
    CLEANUP(store_close) struct store *store = NULL;
    enum kb_code code = store_open(&store, s->params.data, false, &err);
    if (*u && code == KB_OK)
        code = asset_upload_close(u, store, false, NULL, &err);
    if (!keep && code == KB_OK)
        code = asset_delete(store, id, &err);
    if (code != KB_OK && code != KB_NOT_FOUND)
        log_warn(_("upload %s was left by its sender and could not be closed: %s"), id, err.text);
}

char *base64_decode(const char *text, size_t n, size_t *ret_size)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n_pad = 0;
    while (n_pad < 2 && n_pad < n && text[n - 1 - n_pad] == '=')
        n_pad++;
    // EVP_DecodeBlock() also takes white space and '=' anywhere.
    for (size_t i = 0; i < n - n_pad; i++)
        if (text[i] == '\0' || !strchr(alphabet, text[i]))
            return NULL;
    if (n % 4 != 0 || n > (1 << 20))
        return NULL;
    char *ret = kb_alloc(n / 4 * 3 + 1);
    if (n > 0 && EVP_DecodeBlock((unsigned char *)ret, (const unsigned char *)text, (int)n) < 0) {
        free(ret);
        return NULL;
    }
    *ret_size = n / 4 * 3 - n_pad;
    ret[*ret_size] = '\0';
    return ret;
}

char *base64_encode(const char *bytes, size_t n)
{
    char *ret = kb_alloc((n + 2) / 3 * 4 + 1);
    EVP_EncodeBlock((unsigned char *)ret, (const unsigned char *)bytes, (int)n);
    return ret;
}
