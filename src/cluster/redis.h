// A connection to Redis: hiredis speaks the protocol, libcurl connects, by TLS for rediss://. It
// connects when it is first asked, and again after it was lost; what was asked when it was lost is
// answered KB_UNAVAILABLE, and may have been done. Between attempts it waits (0.1 s, growing to 5
// s), and answers KB_UNAVAILABLE at once meanwhile.
//
// One thread at a time.
#ifndef CLUSTER_REDIS_H
#define CLUSTER_REDIS_H

#include "base/base.h"
#include "base/cancel.h"

#include <hiredis/hiredis.h>

struct redis;
// redis://[user:password@]host[:6379][/database][?prefix=koubo], rediss:// for TLS, which checks
// the server's name and certificate against those of the system or "&ca=FILE", and shows
// "&cert=FILE &key=FILE" if Redis asks for it. Password and all else that is unusual are
// percent-encoded.
struct redis_params {
    const char *url;
    int timeout_ms;              // of connecting and of an answer; 0 = 5000
    const struct cancel *cancel; // may be NULL; breaks off what waits
};
// KB_BAD_INPUT: the address makes no sense. It is not connected to yet. Secrets of the address are
// in no sentence.
enum kb_code redis_open(struct redis **ret, const struct redis_params *p, struct kb_error *err);
void redis_close(struct redis **r); // NULL is fine

const char *redis_prefix(const struct redis *r);
// "redis://host:6379/0", for people.
const char *redis_place(const struct redis *r);
bool redis_is_connected(const struct redis *r);

// One command, as redisCommand() of hiredis takes it (%s, %b, no other formats of numbers than %d
// and %lld), and its answer, freeReplyObject(*ret); ret may be NULL. An answer that is an error of
// Redis is KB_INTERNAL with its text, KB_BAD_INPUT if the user, the password or a right is
// missing, or KB_UNAVAILABLE where it is only for now (loading its file, out of memory, a replica
// after a failover). Strings of more than 512 KB are nil in an answer, and so is what goes beyond
// 32 MB or 65536 pieces. wait_ms: beyond the usual timeout, for commands that block.
enum kb_code redis_ask(struct redis *r, redisReply **ret, int wait_ms, struct kb_error *err,
                       const char *format, ...);
// Several at once: each is written down, then all are sent and their answers thrown away but for
// errors, of which the first is told.
void redis_note(struct redis *r, const char *format, ...);
enum kb_code redis_send_noted(struct redis *r, struct kb_error *err);

#endif
