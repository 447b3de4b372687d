// What the head and the nodes of a cluster say to each other through Redis; docs/cluster.md lists
// the messages. Everything that goes through Redis may be read, forged, repeated or lost:
//
//   PREFIX:jobs       a stream: offers, of which each node takes as many as it has free places
//   PREFIX:told       a stream: what nodes tell the head; capped
//   PREFIX:to:NODE    a stream: what the head orders that node to do; capped
//   PREFIX:pulse      a string: the head's latest nonce
//   PREFIX:head       a string: which head it is, so that there are not two
//
// A message is a JSON object whose "is" names it, signed with HMAC-SHA256 (RFC 2104) and the secret
// of the node, which itself never goes through Redis. What a node tells carries the pulse, so that
// it cannot be repeated later. An offer is two numbers and tells nothing; what is to be done a node
// hears in an order.
//
// PREFIX is that of the address, "redis://host/0?prefix=studio", or "koubo".
// Threads: as the redis that they are given (cluster/redis.h). KB_UNAVAILABLE: it cannot be reached
// now, which is no news to who asks again.
#ifndef CLUSTER_WIRE_H
#define CLUSTER_WIRE_H

#include "cluster/redis.h"

#include <jansson.h>

#define NODE_NAME_BYTES   33          // 1..32 of a-z, 0-9 and '-', not at the front
#define NODE_SECRET_BYTES 65          // 64 hex digits
#define WIRE_ID_BYTES     48          // of an entry of a stream, "1700000000000-0"
#define WIRE_NONCE_BYTES  33          // 32 hex digits
#define WIRE_MAC_BYTES    65          // 64 hex digits
#define WIRE_BYTES        (256 << 10) // of a message, at most

bool node_name_is_valid(const char *name);

// HMAC-SHA256(secret, text), in hex; and whether mac is that, in constant time.
void wire_sign(char ret[WIRE_MAC_BYTES], const char *secret, const char *text);
bool wire_is_signed(const char *mac, const char *secret, const char *text);

// --- the pulse: a new nonce every 10 s; what was told with one of the last three counts

enum kb_code wire_set_pulse(struct redis *r, const char *nonce, struct kb_error *err);
// "" if there is none: no head has been there for a minute.
enum kb_code wire_pulse(struct redis *r, char ret[WIRE_NONCE_BYTES], struct kb_error *err);
// I am the head, for ttl_ms. *ret: yes; false: another one is.
enum kb_code wire_be_head(struct redis *r, const char *identity, int ttl_ms, bool *ret,
                          struct kb_error *err);
enum kb_code wire_leave_head(struct redis *r, const char *identity, struct kb_error *err);

// --- offers

struct wire_offer {
    char id[WIRE_ID_BYTES];
    int64_t job, lease; // of this attempt
};
enum kb_code wire_offer(struct redis *r, int64_t job, int64_t lease, char ret_id[WIRE_ID_BYTES],
                        struct kb_error *err);
// At most max of them; *ret_n = 0 when none came within block_ms (0 = do not wait).
enum kb_code wire_take(struct redis *r, const char *node, int block_ms, struct wire_offer *ret,
                       int max, int *ret_n, struct kb_error *err);
// It is somebody's, or nobody's any more.
enum kb_code wire_withdraw(struct redis *r, const char *id, struct kb_error *err);

// --- messages

// Of a node, to the head. body is taken.
enum kb_code wire_tell(struct redis *r, const char *node, const char *secret, const char *nonce,
                       json_t *body, struct kb_error *err);
struct wire_told {
    char node[NODE_NAME_BYTES], nonce[WIRE_NONCE_BYTES];
    char mac[WIRE_MAC_BYTES];
    char *text;   // the body as it came
    json_t *body; // an object; NULL: it is none
};
// What was told after an entry ("$" = from now on), which becomes the last of them. Malformed ones
// are left out. wire_told_free() each. *ret_behind (may be NULL): max were there, so more may be,
// or some were too much for an answer of Redis and are left out; who was not heard may have spoken.
enum kb_code wire_hear(struct redis *r, char after[WIRE_ID_BYTES], int block_ms,
                       struct wire_told *ret, int max, int *ret_n, bool *ret_behind,
                       struct kb_error *err);
bool wire_is_by(const struct wire_told *t, const char *secret); // of its node
void wire_told_free(struct wire_told *t);

// Of the head, to a node. body is taken.
enum kb_code wire_order(struct redis *r, const char *node, const char *secret, json_t *body,
                        struct kb_error *err);
// Those after an entry ("$"), which becomes the last of them; forged ones are left out, and counted
// in *ret_forged. json_decref() each.
enum kb_code wire_orders(struct redis *r, const char *node, const char *secret,
                         char after[WIRE_ID_BYTES], int block_ms, json_t **ret, int max, int *ret_n,
                         int *ret_forged, struct kb_error *err);

// What a message calls itself, "" if it does not.
const char *wire_is(const json_t *body);

#endif
