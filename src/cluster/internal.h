// What the files of cluster/ share about Redis: redis_url.c takes an address apart, redis_link.c
// moves bytes, redis_answer.c makes answers of them, redis.c asks; and how wire.c reads an entry of
// a stream.
// Threads: an object belongs to one at a time.
#ifndef CLUSTER_INTERNAL_H
#define CLUSTER_INTERNAL_H

#include "base/text.h"
#include "cluster/wire.h"

// --- redis_url.c

struct redis_address {
    bool tls;
    char host[256]; // an IPv6 address without its brackets
    int port, database;
    char *user, *password; // NULL = none; a password may stand alone
    char prefix[33];       // 1..32 of letters, digits and "-_."
    char *ca, *cert, *key; // files; NULL = the system's, none, in the file of the certificate
    char place[300];       // "rediss://host:6379/0"
};
// KB_BAD_INPUT with a sentence that quotes nothing of url. Release with redis_address_free() also
// after a failure.
enum kb_code redis_address_parse(struct redis_address *ret, const char *url, struct kb_error *err);
void redis_address_free(struct redis_address *a);

// --- redis_link.c: a connection, by libcurl, which knows names, addresses and TLS

struct redis_link;
// Within timeout_ms. KB_UNAVAILABLE; KB_BAD_INPUT: a file of the address cannot be used, or the
// server's certificate is not valid; KB_CANCELLED.
enum kb_code redis_link_open(struct redis_link **ret, const struct redis_address *a, int timeout_ms,
                             const struct cancel *cancel, struct kb_error *err);
void redis_link_close(struct redis_link **l); // NULL is fine
// As many bytes as go now, *ret_n = 0: none. False: the connection is lost.
bool redis_link_send(struct redis_link *l, const void *data, size_t n, size_t *ret_n);
bool redis_link_receive(struct redis_link *l, void *data, size_t n, size_t *ret_n);
// Until it can receive, or send where that is wanted, for at most ms.
void redis_link_wait(struct redis_link *l, bool to_send, int ms);

// --- redis_answer.c: hiredis's reader, with a bound on what an answer may hold

// Strings beyond these are left out of an answer: nil stands in their place. So whatever lies in a
// stream, who reads it gets past it, in some MB.
#define REDIS_STRING_BYTES  (2 * WIRE_BYTES) // of one string
#define REDIS_ANSWER_BYTES  (32 << 20)       // of all of an answer
#define REDIS_ANSWER_PIECES 65536            // strings, numbers, lists of an answer

struct redis_answer;
struct redis_answer *redis_answer_new(void);
void redis_answer_free(struct redis_answer **a); // NULL is fine
// Bytes as they come. False: this is not Redis, nothing more can be read.
bool redis_answer_feed(struct redis_answer *a, const char *data, size_t n);
// The next whole answer, freeReplyObject(); NULL: more bytes are needed, or false: as above.
bool redis_answer_next(struct redis_answer *a, redisReply **ret);

// --- wire.c

// An entry of a stream, [id, [field, value, …]], of exactly these fields, each once: *ret_values
// are their strings, of the sizes *ret_sizes, in the order of fields. False: it is none. ret_id is
// "" where not even the id can be read, and filled otherwise.
bool wire_entry(const redisReply *entry, const char *const *fields, int n, char ret_id[],
                const char **ret_values, size_t *ret_sizes);
bool wire_entry_told(const redisReply *entry, char ret_id[], struct wire_told *ret);
bool wire_entry_offer(const redisReply *entry, struct wire_offer *ret);
// JSON of a message: an object, not nested deeper than 16, no key twice. NULL: it is none.
json_t *wire_body(const char *text, size_t n);

#endif
