// The head's own depot: docs/cluster.md, "The HTTP depot". What is asked is signed with the secret
// of this machine and the head's latest nonce.
#include "cluster/depot_internal.h"
#include "cluster/wire.h"

#include "base/utf8.h"

#include <jansson.h>

#define DETAIL_BYTES 200

// A request: path with its query is what is signed.
static enum kb_code begin(struct depot *d, struct haul *t, const char *method, const char *path,
                          struct kb_error *err)
{
    char nonce[WIRE_NONCE_BYTES] = "", mac[WIRE_MAC_BYTES];
    d->p.pulse(d->p.ctx, nonce);
    if (!nonce[0])
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the head has not been heard yet, without which '%s' admits nobody"),
                       d->place);
    CLEANUP(kb_freep) char *text = kb_printf("%s\n%s\n%s", method, path, nonce);
    wire_sign(mac, d->p.secret, text);
    haul_init(t, d, method, path);
    haul_header(t, "Authorization: Koubo-Node %s:%s:%s", d->p.node, nonce, mac);
    return KB_OK;
}

// What a problem (RFC 9457) says, a new string; "" if it says nothing.
static char *read_detail(const struct text *answer)
{
    json_t *problem = json_loadb(text_get(answer), answer->size, 0, NULL);
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    detail = detail ? detail : "";
    char *copy = kb_printf("%.*s", utf8_fit(detail, DETAIL_BYTES), detail);
    json_decref(problem);
    return copy;
}

enum kb_code http_verdict(struct haul *t, const char *what, struct kb_error *err)
{
    struct depot *d = t->depot;
    if (t->status / 100 == 2)
        return KB_OK;
    enum kb_code code = depot_explain(d, t->status, what, err);
    if (code != KB_OK)
        return code;
    // The nonce may have become an old one on the way, or while Redis was away.
    if (t->status == 401 || t->status == 403)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("'%s' does not admit this machine; is '%s' in the list of machines of the "
                         "page, and is the secret its newest?"),
                       d->place, d->p.node);
    CLEANUP(kb_freep) char *detail = read_detail(&t->answer);
    return kb_fail(err, KB_BAD_INPUT, _("the depot '%s' refuses (HTTP status %ld): %s"), d->place,
                   t->status, detail);
}

enum kb_code http_begin_get(struct depot *d, struct haul *t, const char *sha256,
                            struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = kb_printf("/api/v1/depot/files/%s", sha256);
    return begin(d, t, "GET", path, err);
}

static enum kb_code makes_no_sense(struct depot *d, struct kb_error *err)
{
    return kb_fail(err, KB_UNAVAILABLE,
                   _("the depot '%s' answers what makes no sense; is that the head's address?"),
                   d->place);
}

// How much of the result is there already.
static enum kb_code ask_offset(struct depot *d, const struct depot_put *p, int64_t *ret,
                               struct kb_error *err)
{
    CLEANUP(haul_free) struct haul t = {0};
    CLEANUP(kb_freep)
    char *path =
        kb_printf("/api/v1/depot/results/%lld?lease=%lld", (long long)p->job, (long long)p->lease);
    enum kb_code code = begin(d, &t, "GET", path, err);
    if (code == KB_OK)
        code = haul_run(&t, err);
    if (code == KB_OK)
        code = http_verdict(&t, p->sha256, err);
    if (code != KB_OK)
        return code;
    json_t *answer = json_loadb(text_get(&t.answer), t.answer.size, 0, NULL);
    json_t *offset = json_object_get(answer, "offset");
    *ret = json_is_integer(offset) ? json_integer_value(offset) : -1;
    json_decref(answer);
    if (*ret < 0)
        return makes_no_sense(d, err);
    *ret = KB_MIN(*ret, p->size); // more is of another file, and sending tells so
    return KB_OK;
}

static enum kb_code put_once(struct depot *d, const struct depot_put *p, struct kb_error *err)
{
    int64_t offset = 0;
    enum kb_code code = ask_offset(d, p, &offset, err);
    if (code != KB_OK)
        return code;
    CLEANUP(haul_free) struct haul t = {0};
    CLEANUP(kb_freep)
    char *path = kb_printf("/api/v1/depot/results/%lld?lease=%lld&sha256=%s&size=%lld&offset=%lld",
                           (long long)p->job, (long long)p->lease, p->sha256, (long long)p->size,
                           (long long)offset);
    code = begin(d, &t, "PUT", path, err);
    if (code != KB_OK)
        return code;
    d->done = offset;
    haul_header(&t, "Content-Type: application/octet-stream");
    haul_send_file(&t, p->fd, offset, p->size - offset);
    code = haul_run(&t, err);
    if (code != KB_OK)
        return code;
    if (t.status == 409) // somebody else brought some, or it was thrown away: ask again
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the depot '%s' does not take the file from where it stands"), d->place);
    if (t.status == 422)
        return kb_fail(err, KB_INTERNAL,
                       _("what came to the depot '%s' is not the file that was announced"),
                       d->place);
    code = http_verdict(&t, p->sha256, err);
    return code == KB_OK && t.status != 204 ? makes_no_sense(d, err) : code;
}

enum kb_code http_put(struct depot *d, const struct depot_put *p, struct kb_error *err)
{
    bool garbled = false;
    for (int tries = 0;;) {
        enum kb_code code = put_once(d, p, err);
        // Once it may have come garbled; then it is the file here that is another one.
        bool once_more = code == KB_INTERNAL && !garbled && !cancel_requested(d->p.cancel);
        garbled = garbled || code == KB_INTERNAL;
        if (!once_more && !depot_again(d, &tries, code))
            return code;
    }
}
