// What the files of notify/ share: config.c knows the configuration, outbox.c the outbox and
// what is said, notifier.c when to whom, send.c how each kind of target is spoken to, gate.c where
// a transfer may go, mail.c how a mail is written.
// Threads: as the store they are given (store/store.h); sending blocks.
#ifndef NOTIFY_INTERNAL_H
#define NOTIFY_INTERNAL_H

#include "base/cancel.h"
#include "notify/notify.h"

#include <jansson.h>

#define NOTIFY_MAX_RECIPIENTS 50
#define KEY_BYTES             16 // shorter parts of an address, such as "robot", are no key

// Both end with NULL.
extern const char *const notify_kinds[];

// A configuration whose every target can work, json_decref(*ret).
enum kb_code notify_parse(const char *json, json_t **ret, struct kb_error *err);
// False for an object with an empty address, which a form leaves behind.
bool notify_target_is_set(const char *kind, const json_t *target);

// What is said: one thing that happened, ready for people and for programs. Strings belong to the
// caller.
struct message {
    const char *event;        // "batch_ended", "job_failed", "test"
    const char *delivery;     // the same for every attempt
    const char *title, *text; // in the language of the batch; text has several lines
    const char *url;          // of the page, or NULL
    const char *body;         // JSON for webhooks
};

// target: {"kind":"webhook", … its configuration}. Blocks for at most 15 s. A sentence without
// secrets when it was not taken: KB_BAD_INPUT, this message is not wanted, another may be;
// KB_UNAVAILABLE, the target as a whole is in no state to take one.
enum kb_code message_send(const json_t *target, const struct message *m, const struct guard *guard,
                          const struct cancel *cancel, struct kb_error *err);
// The same with a row of the outbox, in the language of the thread.
enum kb_code message_say(const json_t *target, const json_t *message, const struct notify_way *way,
                         const struct cancel *cancel, struct kb_error *err);

// The mail of m (RFC 5322) from one address to all of the array to.
void mail_write(struct text *ret, const char *from, const json_t *to, const struct message *m);

#endif
