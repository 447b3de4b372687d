#include "cluster/depot_internal.h"

#include <stdlib.h>
#include <string.h>

enum kb_code depot_open(struct depot **ret, const struct depot_params *p, struct kb_error *err)
{
    CLEANUP(depot_close) struct depot *d = kb_alloc(sizeof(*d));
    d->p = *p;
    d->p.address = kb_strdup(p->address);
    d->p.credentials = kb_strdup(p->credentials);
    d->p.node = kb_strdup(p->node);
    d->p.secret = kb_strdup(p->secret);
    enum kb_code code = depot_read_address(d, err);
    if (code == KB_OK)
        *ret = TAKE(d);
    return code;
}

void depot_close(struct depot **depot)
{
    struct depot *d = *depot;
    if (!d)
        return;
    curl_multi_cleanup(d->multi);
    depot_forget_address(d);
    free((char *)d->p.address);
    free((char *)d->p.credentials);
    free((char *)d->p.node);
    if (d->p.secret)
        explicit_bzero((char *)d->p.secret, strlen(d->p.secret));
    free((char *)d->p.secret);
    free(d);
    *depot = NULL;
}

// *at moves on. *ret_final: another try would not help.
static enum kb_code get_once(struct depot *d, const char *sha256, int64_t size, int64_t *at,
                             depot_sink *sink, void *ctx, bool *ret_final, struct kb_error *err)
{
    CLEANUP(haul_free) struct haul t = {0};
    enum kb_code code = d->s3 ? s3_begin_get(d, &t, sha256) : http_begin_get(d, &t, sha256, err);
    if (code != KB_OK)
        return code;
    haul_receive(&t, size, *at, sink, ctx);
    code = haul_run(&t, err);
    *at = t.offset;
    *ret_final = t.final;
    if (code == KB_OK)
        code = d->s3 ? s3_verdict(&t, sha256, err) : http_verdict(&t, sha256, err);
    if (code == KB_OK && *at != size)
        return kb_fail(err, KB_UNAVAILABLE, _("the file in the depot '%s' ended before its end"),
                       d->place);
    return code;
}

enum kb_code depot_get(struct depot *d, const char *sha256, int64_t size, int64_t offset,
                       depot_sink *sink, void *ctx, int64_t *ret_offset, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    *ret_offset = d->done = offset;
    d->total = size;
    bool final = false;
    for (int tries = 0; *ret_offset < size;) {
        code = get_once(d, sha256, size, ret_offset, sink, ctx, &final, err);
        if (final || !depot_again(d, &tries, code))
            return code;
    }
    return code;
}

enum kb_code depot_put(struct depot *d, const struct depot_put *p, struct kb_error *err)
{
    d->done = 0;
    d->total = p->size;
    return d->s3 ? s3_put(d, p, err) : http_put(d, p, err);
}
