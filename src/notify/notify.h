// Telling people that a batch has ended or a job has failed. Targets are configured for the server
// (setting "notify") or for one batch, as JSON:
//
//   {"events":["batch_ended","job_failed"],        (absent: batch_ended alone)
//    "webhook":{"url":"https://…","secret":"…"},   POST of JSON; X-Koubo-Signature: sha256=HEX
//    "email":{"smtp":"smtps://host:465"|"smtp://host:587","user":"","password":"","from":"","to":[""]},
//    "wecom":{"url":"…"}, "dingtalk":{"url":"…","secret":"…"}, "feishu":{"url":"…","secret":"…"}}
//
// Messages go through an outbox table written in the same transaction as the end of the job, so
// none is lost and none is sent twice by design (at least once on a crash in between). Retries
// after 10 s, 30 s, 1, 5, 15, 60 min, then given up with the error kept.
// Threads: as the store they are given (store/store.h); a notifier has threads of its own.
#ifndef NOTIFY_NOTIFY_H
#define NOTIFY_NOTIFY_H

#include "base/guard.h"
#include "store/store.h"

// How messages leave.
struct notify_way {
    const char *base_url;      // for links in messages, may be NULL
    const struct guard *guard; // where they may go
};

// KB_BAD_INPUT with a sentence for a configuration that cannot work. json "{}" is fine.
enum kb_code notify_check(const char *json, struct kb_error *err);
// The same JSON with every secret, password and key in an address replaced by "********"; and the
// other way: what is still "********" in json is taken from old. An address with stars is taken for
// the one of old that is shown like it. A secret belongs to the target it was given for:
// KB_BAD_INPUT with a sentence that asks for it again if the address, and of a mail the user and
// TLS, are not those of old, or if old has none.
enum kb_code notify_mask(const char *json, struct text *ret, struct kb_error *err);
enum kb_code notify_unmask(const char *json, const char *old, struct text *ret,
                           struct kb_error *err);

// Send a test message to every target of json now, each at most 15 s. Appends
// [{"target":"webhook","ok":true,"error":null},…].
enum kb_code notify_test(const char *json, const struct notify_way *way, struct text *ret,
                         struct kb_error *err);

// Write what happened into the outbox; inside the caller's transaction. Called by queue/.
enum kb_code notify_batch_ended(struct store *s, int64_t batch, struct kb_error *err);
enum kb_code notify_job_failed(struct store *s, int64_t job, struct kb_error *err);

// Sends what is due, several messages at once: one at a time to a server, and none to a target
// that has just failed until its pause is over. A target that does not answer holds up no other.
struct notifier;
// Starts the threads that send. way and what it points to must last as long.
enum kb_code notifier_start(struct notifier **ret, const struct notify_way *way,
                            struct kb_error *err);
// Write down what became of messages, hand out what is due, and wait until there is more to do,
// wait_ms at the longest. One thread. *ret_idle (may be NULL): nothing is under way, and nothing
// can be sent now. KB_CANCELLED after notifier_cancel(). When it fails it does not wait.
enum kb_code notifier_turn(struct notifier *n, struct store *s, int64_t wait_ms, bool *ret_idle,
                           struct kb_error *err);
// Any thread: what is under way is broken off, and sent again another time.
void notifier_cancel(struct notifier *n);
// Ends its threads and writes down what they have still sent; s may be NULL. NULL is fine.
void notifier_stop(struct notifier **n, struct store *s);

#endif
