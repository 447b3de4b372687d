#include "cluster/wire.h"

#include "base/bytes.h"
#include "cluster/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define MAC_BYTES  32
#define MAX_DEPTH  16 // of JSON
#define PULSE_S    60
#define MAX_TOLD   10000 // entries of a stream, about
#define MAX_ORDERS 1000
#define MAX_OFFERS 100000 // beyond all places of all nodes; only against what nobody takes out
#define ORDERS_S   3600   // a node that nobody orders anything any more leaves nothing in Redis

#define DIGITS "0123456789"
#define HEX    DIGITS "abcdef"

static void reply_free(redisReply **r)
{
    freeReplyObject(*r);
}

static enum kb_code odd(const struct redis *r, struct kb_error *err)
{
    return kb_fail(err, KB_UNAVAILABLE, _("what answers at %s is no Redis"), redis_place(r));
}

bool node_name_is_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < NODE_NAME_BYTES && *name != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

void wire_sign(char ret[WIRE_MAC_BYTES], const char *secret, const char *text)
{
    unsigned char mac[MAC_BYTES];
    unsigned n = sizeof(mac);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text, strlen(text), mac,
         &n);
    bytes_hex(ret, mac, sizeof(mac));
}

bool wire_is_signed(const char *mac, const char *secret, const char *text)
{
    char right[WIRE_MAC_BYTES];
    wire_sign(right, secret, text);
    return strlen(mac) == WIRE_MAC_BYTES - 1 && CRYPTO_memcmp(mac, right, WIRE_MAC_BYTES - 1) == 0;
}

// --- the pulse, and who is the head

static bool is_of(const char *s, size_t n, size_t wanted, const char *set)
{
    return n == wanted && strspn(s, set) == n;
}

// A string of an answer, as a C string: no NUL in it.
static bool is_text(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_STRING && !memchr(r->str, '\0', r->len);
}

enum kb_code wire_set_pulse(struct redis *r, const char *nonce, struct kb_error *err)
{
    return redis_ask(r, NULL, 0, err, "SET %s:pulse %s EX %d", redis_prefix(r), nonce, PULSE_S);
}

enum kb_code wire_pulse(struct redis *r, char ret[WIRE_NONCE_BYTES], struct kb_error *err)
{
    CLEANUP(reply_free) redisReply *reply = NULL;
    enum kb_code code = redis_ask(r, &reply, 0, err, "GET %s:pulse", redis_prefix(r));
    if (code != KB_OK)
        return code;
    bool is_good = is_text(reply) && is_of(reply->str, reply->len, WIRE_NONCE_BYTES - 1, HEX);
    snprintf(ret, WIRE_NONCE_BYTES, "%s", is_good ? reply->str : "");
    return KB_OK;
}

// *ret: the key holds that identity, or nothing (has_none says which). It is watched from here on.
static enum kb_code watch_head(struct redis *r, const char *identity, bool *ret, bool *ret_none,
                               struct kb_error *err)
{
    CLEANUP(reply_free) redisReply *reply = NULL;
    enum kb_code code = redis_ask(r, NULL, 0, err, "WATCH %s:head", redis_prefix(r));
    if (code == KB_OK)
        code = redis_ask(r, &reply, 0, err, "GET %s:head", redis_prefix(r));
    if (code != KB_OK)
        return code;
    *ret_none = reply->type == REDIS_REPLY_NIL;
    *ret = *ret_none || (is_text(reply) && strcmp(reply->str, identity) == 0);
    return *ret ? KB_OK : redis_ask(r, NULL, 0, err, "UNWATCH");
}

enum kb_code wire_be_head(struct redis *r, const char *identity, int ttl_ms, bool *ret,
                          struct kb_error *err)
{
    bool is_ours = false, is_none = false;
    enum kb_code code = watch_head(r, identity, &is_ours, &is_none, err);
    *ret = false;
    if (code != KB_OK || !is_ours)
        return code;
    // Done only if nobody changed it since WATCH. The GET of the next call sees whether it was.
    redis_note(r, "MULTI");
    redis_note(r, "SET %s:head %s PX %d", redis_prefix(r), identity, ttl_ms);
    redis_note(r, "EXEC");
    code = redis_send_noted(r, err);
    if (code != KB_OK)
        return code;
    CLEANUP(reply_free) redisReply *reply = NULL;
    code = redis_ask(r, &reply, 0, err, "GET %s:head", redis_prefix(r));
    *ret = code == KB_OK && is_text(reply) && strcmp(reply->str, identity) == 0;
    return code;
}

enum kb_code wire_leave_head(struct redis *r, const char *identity, struct kb_error *err)
{
    bool is_ours = false, is_none = false;
    enum kb_code code = watch_head(r, identity, &is_ours, &is_none, err);
    if (code != KB_OK || !is_ours)
        return code;
    if (is_none)
        return redis_ask(r, NULL, 0, err, "UNWATCH");
    redis_note(r, "MULTI");
    redis_note(r, "DEL %s:head", redis_prefix(r));
    redis_note(r, "EXEC");
    return redis_send_noted(r, err);
}

// --- entries of streams

static bool is_id(const redisReply *r)
{
    if (!is_text(r) || r->len < 3 || r->len >= WIRE_ID_BYTES)
        return false;
    size_t n = strspn(r->str, DIGITS);
    return n > 0 && r->str[n] == '-' && n + 1 < r->len &&
           n + 1 + strspn(r->str + n + 1, DIGITS) == r->len;
}

static bool is_list(const redisReply *r, size_t n)
{
    return r && r->type == REDIS_REPLY_ARRAY && r->elements == n;
}

bool wire_entry(const redisReply *entry, const char *const *fields, int n, char ret_id[],
                const char **ret_values, size_t *ret_sizes)
{
    *ret_id = '\0';
    if (!is_list(entry, 2) || !is_id(entry->element[0]))
        return false;
    snprintf(ret_id, WIRE_ID_BYTES, "%s", entry->element[0]->str);
    const redisReply *list = entry->element[1];
    if (!is_list(list, (size_t)n * 2))
        return false;
    for (int i = 0; i < n; i++)
        ret_values[i] = NULL;
    for (size_t i = 0; i < list->elements; i += 2) {
        const redisReply *name = list->element[i], *value = list->element[i + 1];
        int field = 0;
        if (!is_text(name) || !is_text(value))
            return false;
        while (field < n && strcmp(fields[field], name->str) != 0)
            field++;
        if (field == n || ret_values[field])
            return false;
        ret_values[field] = value->str;
        ret_sizes[field] = value->len;
    }
    return true; // n different ones of n
}

// 1 … 2^63 - 1, as we write them.
static bool parse_number(const char *s, size_t n, int64_t *ret)
{
    int64_t value = 0;
    if (n == 0 || n > 19 || *s == '0' || strspn(s, DIGITS) != n)
        return false;
    for (; *s; s++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *s - '0', &value))
            return false;
    *ret = value;
    return true;
}

bool wire_entry_offer(const redisReply *entry, struct wire_offer *ret)
{
    static const char *const fields[] = {"job", "lease"};
    const char *values[2];
    size_t sizes[2];
    return wire_entry(entry, fields, 2, ret->id, values, sizes) &&
           parse_number(values[0], sizes[0], &ret->job) &&
           parse_number(values[1], sizes[1], &ret->lease);
}

// Brackets within brackets, outside of strings: jansson would go 2048 deep.
static bool is_flat(const char *text, size_t n)
{
    int depth = 0;
    bool is_string = false;
    for (size_t i = 0; i < n; i++) {
        if (is_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            is_string = !is_string;
        else if (!is_string && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!is_string && (text[i] == '}' || text[i] == ']'))
            depth--;
        if (depth > MAX_DEPTH)
            return false;
    }
    return true;
}

json_t *wire_body(const char *text, size_t n)
{
    if (n > WIRE_BYTES || !is_flat(text, n))
        return NULL;
    json_t *body = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(body))
        return body;
    json_decref(body);
    return NULL;
}

bool wire_entry_told(const redisReply *entry, char ret_id[], struct wire_told *ret)
{
    static const char *const fields[] = {"node", "nonce", "mac", "body"};
    const char *v[4];
    size_t n[4];
    if (!wire_entry(entry, fields, 4, ret_id, v, n) || !node_name_is_valid(v[0]) ||
        !is_of(v[1], n[1], WIRE_NONCE_BYTES - 1, HEX) ||
        !is_of(v[2], n[2], WIRE_MAC_BYTES - 1, HEX) || n[3] > WIRE_BYTES)
        return false;
    snprintf(ret->node, sizeof(ret->node), "%s", v[0]);
    snprintf(ret->nonce, sizeof(ret->nonce), "%s", v[1]);
    snprintf(ret->mac, sizeof(ret->mac), "%s", v[2]);
    ret->text = kb_strdup(v[3]);
    ret->body = wire_body(v[3], n[3]);
    return true;
}

// The entries of the one stream that was read, [[key, entries]]; NULL: nothing came.
static const redisReply *entries_of(const redisReply *reply)
{
    if (!is_list(reply, 1) || !is_list(reply->element[0], 2))
        return NULL;
    const redisReply *entries = reply->element[0]->element[1];
    return entries && entries->type == REDIS_REPLY_ARRAY ? entries : NULL;
}

// --- offers

enum kb_code wire_offer(struct redis *r, int64_t job, int64_t lease, char ret_id[WIRE_ID_BYTES],
                        struct kb_error *err)
{
    CLEANUP(reply_free) redisReply *reply = NULL;
    enum kb_code code =
        redis_ask(r, &reply, 0, err, "XADD %s:jobs MAXLEN ~ %d * job %lld lease %lld",
                  redis_prefix(r), MAX_OFFERS, (long long)job, (long long)lease);
    if (code != KB_OK)
        return code;
    if (!is_id(reply))
        return odd(r, err);
    snprintf(ret_id, WIRE_ID_BYTES, "%s", reply->str);
    return KB_OK;
}

static enum kb_code read_group(struct redis *r, redisReply **ret, const char *node, int block_ms,
                               int max, struct kb_error *err)
{
    if (block_ms > 0)
        return redis_ask(r, ret, block_ms, err,
                         "XREADGROUP GROUP nodes %s COUNT %d BLOCK %d STREAMS %s:jobs >", node, max,
                         block_ms, redis_prefix(r));
    return redis_ask(r, ret, 0, err, "XREADGROUP GROUP nodes %s COUNT %d STREAMS %s:jobs >", node,
                     max, redis_prefix(r));
}

// Redis has forgotten it, or has never known it.
static enum kb_code make_group(struct redis *r, struct kb_error *err)
{
    struct kb_error why = {0};
    enum kb_code code =
        redis_ask(r, NULL, 0, &why, "XGROUP CREATE %s:jobs nodes 0 MKSTREAM", redis_prefix(r));
    if (code == KB_INTERNAL && strstr(why.text, "BUSYGROUP")) // another node was quicker
        return KB_OK;
    if (code != KB_OK && err)
        *err = why;
    return code;
}

enum kb_code wire_take(struct redis *r, const char *node, int block_ms, struct wire_offer *ret,
                       int max, int *ret_n, struct kb_error *err)
{
    CLEANUP(reply_free) redisReply *reply = NULL;
    struct kb_error why = {0};
    *ret_n = 0;
    enum kb_code code = read_group(r, &reply, node, block_ms, max, &why);
    // "UNBLOCKED the stream key no longer exists": it went while we waited.
    if (code == KB_INTERNAL && (strstr(why.text, "NOGROUP") || strstr(why.text, "UNBLOCKED"))) {
        code = make_group(r, &why);
        if (code == KB_OK)
            code = read_group(r, &reply, node, 0, max, &why);
    }
    if (code != KB_OK) {
        if (err)
            *err = why;
        return code;
    }
    const redisReply *entries = entries_of(reply);
    for (size_t i = 0; entries && i < entries->elements; i++) {
        struct wire_offer offer = {0};
        bool is_good = wire_entry_offer(entries->element[i], &offer);
        if (is_good && *ret_n < max)
            ret[(*ret_n)++] = offer;
        else if (!is_good && *offer.id) // no head's: out of the way
            wire_withdraw(r, offer.id, NULL);
    }
    return KB_OK;
}

enum kb_code wire_withdraw(struct redis *r, const char *id, struct kb_error *err)
{
    struct kb_error why = {0};
    redis_note(r, "XACK %s:jobs nodes %s", redis_prefix(r), id);
    redis_note(r, "XDEL %s:jobs %s", redis_prefix(r), id);
    enum kb_code code = redis_send_noted(r, &why);
    if (code != KB_OK && err)
        *err = why;
    return code;
}

// --- messages

// The JSON of body, which is released. NULL: it is longer than a message may be.
static char *dump(json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (text && strlen(text) > WIRE_BYTES)
        free(TAKE(text));
    return text;
}

static enum kb_code too_long(struct kb_error *err)
{
    return kb_fail(err, KB_INTERNAL, "a message of the cluster is longer than %d bytes",
                   WIRE_BYTES);
}

static void sign_told(char ret[WIRE_MAC_BYTES], const char *secret, const char *node,
                      const char *nonce, const char *body)
{
    CLEANUP(kb_freep) char *text = kb_printf("told\n%s\n%s\n%s", node, nonce, body);
    wire_sign(ret, secret, text);
}

enum kb_code wire_tell(struct redis *r, const char *node, const char *secret, const char *nonce,
                       json_t *body, struct kb_error *err)
{
    CLEANUP(kb_freep) char *text = dump(body);
    if (!text)
        return too_long(err);
    char mac[WIRE_MAC_BYTES];
    sign_told(mac, secret, node, nonce, text);
    return redis_ask(r, NULL, 0, err, "XADD %s:told MAXLEN ~ %d * node %s nonce %s mac %s body %s",
                     redis_prefix(r), MAX_TOLD, node, nonce, mac, text);
}

bool wire_is_by(const struct wire_told *t, const char *secret)
{
    CLEANUP(kb_freep) char *text = kb_printf("told\n%s\n%s\n%s", t->node, t->nonce, t->text);
    return wire_is_signed(t->mac, secret, text);
}

void wire_told_free(struct wire_told *t)
{
    free(TAKE(t->text));
    json_decref(TAKE(t->body));
}

// The last entry of a stream, "0-0" of an empty one.
static enum kb_code last_of(struct redis *r, const char *key, char ret[WIRE_ID_BYTES],
                            struct kb_error *err)
{
    CLEANUP(reply_free) redisReply *reply = NULL;
    enum kb_code code = redis_ask(r, &reply, 0, err, "XREVRANGE %s + - COUNT 1", key);
    if (code != KB_OK)
        return code;
    bool is_there =
        is_list(reply, 1) && is_list(reply->element[0], 2) && is_id(reply->element[0]->element[0]);
    snprintf(ret, WIRE_ID_BYTES, "%s", is_there ? reply->element[0]->element[0]->str : "0-0");
    return KB_OK;
}

static bool is_before(const char *a, const char *b)
{
    unsigned long long a_ms = 0, a_n = 0, b_ms = 0, b_n = 0;
    char *end = NULL;
    a_ms = strtoull(a, &end, 10);
    a_n = *end ? strtoull(end + 1, NULL, 10) : 0;
    b_ms = strtoull(b, &end, 10);
    b_n = *end ? strtoull(end + 1, NULL, 10) : 0;
    return a_ms < b_ms || (a_ms == b_ms && a_n < b_n);
}

// What is in the stream after an entry, see entries_of().
static enum kb_code read_after(struct redis *r, redisReply **ret, const char *key,
                               char after[WIRE_ID_BYTES], int block_ms, int max,
                               struct kb_error *err)
{
    enum kb_code code = strcmp(after, "$") == 0 ? last_of(r, key, after, err) : KB_OK;
    if (code != KB_OK)
        return code;
    if (block_ms > 0)
        code = redis_ask(r, ret, block_ms, err, "XREAD COUNT %d BLOCK %d STREAMS %s %s", max,
                         block_ms, key, after);
    else
        code = redis_ask(r, ret, 0, err, "XREAD COUNT %d STREAMS %s %s", max, key, after);
    if (code != KB_OK || entries_of(*ret))
        return code;
    // Nothing. If Redis has lost the stream and its clock was set back since, or that of another
    // machine counts now, new entries come before the one that we know: then all are new.
    char last[WIRE_ID_BYTES];
    code = last_of(r, key, last, err);
    if (code == KB_OK && is_before(last, after))
        snprintf(after, WIRE_ID_BYTES, "0-0");
    return code;
}

// Something of it went beyond what an answer may hold (redis_ask()): the entry, or a part of it.
static bool is_cut(const redisReply *r)
{
    bool cut = !r || r->type == REDIS_REPLY_NIL;
    for (size_t i = 0; !cut && r->type == REDIS_REPLY_ARRAY && i < r->elements; i++)
        cut = is_cut(r->element[i]);
    return cut;
}

enum kb_code wire_hear(struct redis *r, char after[WIRE_ID_BYTES], int block_ms,
                       struct wire_told *ret, int max, int *ret_n, bool *ret_behind,
                       struct kb_error *err)
{
    CLEANUP(reply_free) redisReply *reply = NULL;
    CLEANUP(kb_freep) char *key = kb_printf("%s:told", redis_prefix(r));
    bool behind = false;
    *ret_n = 0;
    enum kb_code code = read_after(r, &reply, key, after, block_ms, max, err);
    if (code != KB_OK)
        return code;
    const redisReply *entries = entries_of(reply);
    for (size_t i = 0; entries && i < entries->elements && *ret_n < max; i++) {
        char id[WIRE_ID_BYTES];
        if (wire_entry_told(entries->element[i], id, &ret[*ret_n]))
            (*ret_n)++;
        else
            behind = behind || is_cut(entries->element[i]);
        if (*id)
            snprintf(after, WIRE_ID_BYTES, "%s", id);
    }
    if (ret_behind)
        *ret_behind = behind || (entries && entries->elements >= (size_t)max);
    return KB_OK;
}

// What is signed of an order, a new string.
static char *order_text(const char *node, const char *body)
{
    return kb_printf("to\n%s\n%s", node, body);
}

enum kb_code wire_order(struct redis *r, const char *node, const char *secret, json_t *body,
                        struct kb_error *err)
{
    CLEANUP(kb_freep) char *text = dump(body);
    if (!text)
        return too_long(err);
    char mac[WIRE_MAC_BYTES];
    CLEANUP(kb_freep) char *signed_text = order_text(node, text);
    wire_sign(mac, secret, signed_text);
    redis_note(r, "XADD %s:to:%s MAXLEN ~ %d * mac %s body %s", redis_prefix(r), node, MAX_ORDERS,
               mac, text);
    redis_note(r, "EXPIRE %s:to:%s %d", redis_prefix(r), node, ORDERS_S);
    return redis_send_noted(r, err);
}

static json_t *order_of(const redisReply *entry, const char *node, const char *secret,
                        char ret_id[WIRE_ID_BYTES])
{
    static const char *const fields[] = {"mac", "body"};
    const char *v[2];
    size_t n[2];
    if (!wire_entry(entry, fields, 2, ret_id, v, n) || n[1] > WIRE_BYTES)
        return NULL;
    CLEANUP(kb_freep) char *text = order_text(node, v[1]);
    return wire_is_signed(v[0], secret, text) ? wire_body(v[1], n[1]) : NULL;
}

enum kb_code wire_orders(struct redis *r, const char *node, const char *secret,
                         char after[WIRE_ID_BYTES], int block_ms, json_t **ret, int max, int *ret_n,
                         int *ret_forged, struct kb_error *err)
{
    CLEANUP(reply_free) redisReply *reply = NULL;
    CLEANUP(kb_freep) char *key = kb_printf("%s:to:%s", redis_prefix(r), node);
    *ret_n = *ret_forged = 0;
    enum kb_code code = read_after(r, &reply, key, after, block_ms, max, err);
    if (code != KB_OK)
        return code;
    const redisReply *entries = entries_of(reply);
    for (size_t i = 0; entries && i < entries->elements && *ret_n < max; i++) {
        char id[WIRE_ID_BYTES];
        json_t *body = order_of(entries->element[i], node, secret, id);
        if (body)
            ret[(*ret_n)++] = body;
        else
            (*ret_forged)++;
        if (*id)
            snprintf(after, WIRE_ID_BYTES, "%s", id);
    }
    return KB_OK;
}

const char *wire_is(const json_t *body)
{
    const char *is = json_string_value(json_object_get(body, "is"));
    return is ? is : "";
}
