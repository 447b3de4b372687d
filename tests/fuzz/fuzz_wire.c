// What comes from Redis: answers in its protocol, and in them entries of the streams of a cluster,
// which anybody may have written who may write there. The first byte says in which pieces it comes.
#include "cluster/internal.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void look(const redisReply *r, int depth)
{
    char id[WIRE_ID_BYTES];
    struct wire_told told = {0};
    struct wire_offer offer;
    if (wire_entry_told(r, id, &told)) {
        if (!node_name_is_valid(told.node) || wire_is_by(&told, "secret") || strlen(id) < 3)
            abort();
        (void)wire_is(told.body);
        wire_told_free(&told);
    }
    if (wire_entry_offer(r, &offer) && (offer.job < 1 || offer.lease < 1 || strlen(offer.id) < 3))
        abort();
    if (r->type == REDIS_REPLY_STRING)
        json_decref(wire_body(r->str, r->len));
    if (r->type == REDIS_REPLY_STRING && r->len > REDIS_STRING_BYTES)
        abort();
    for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++)
        if (depth > 9 || !r->element[i])
            abort();
        else
            look(r->element[i], depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redis_answer *a = redis_answer_new();
    size_t piece = size > 0 && data[0] > 0 ? data[0] : size + 1;
    bool is_good = true;
    for (size_t i = 1; is_good && i < size; i += piece) {
        redisReply *reply = NULL;
        redis_answer_feed(a, (const char *)data + i, KB_MIN(piece, size - i));
        while ((is_good = redis_answer_next(a, &reply)) && reply) {
            look(reply, 0);
            freeReplyObject(reply);
        }
    }
    redis_answer_free(&a);

    CLEANUP(kb_freep) char *text = fuzz_text(data, size);
    struct redis_address address;
    struct kb_error err = {0};
    if (redis_address_parse(&address, text, &err) == KB_OK &&
        (!*address.host || !*address.prefix || address.port < 1 || address.port > 65535))
        abort();
    redis_address_free(&address);
    return 0;
}
