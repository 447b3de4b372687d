// The line between a server and one of its workers: a pair of sockets over which packets go, of
// which each is one message, a JSON object whose "is" names it. It is all that a worker has of the
// queue. docs/workers.md lists the messages; the broker (worker/broker.h) believes none of them.
// Thread-safe.
#ifndef WORKER_LINE_H
#define WORKER_LINE_H

#include "queue/lease.h"

#include <jansson.h>

// A packet has at most so many bytes: a text to speak of 20 KB, in JSON at worst six times as long,
// or a batch's options.
#define LINE_BYTES (160 << 10)
// Of subtitles in one message, of which each byte may be six in JSON.
#define LINE_CUES_BYTES (20 << 10)
// What the file with a speech's words ends with, beside what a job makes.
#define WORDS_TAIL ".words"

// ret[0] for the server, ret[1] to be a worker's standard input. KB_NO_SPACE.
enum kb_code line_pair(int ret[2], struct kb_error *err);

// message is taken. False: it could not be made, or the other end is gone (or, never for long, does
// not read). Waits for nobody if `now`.
bool line_send(int fd, bool now, json_t *message);

// It can never be sent: json_pack_ex() made none of names that are no UTF-8 (what made NULL for
// want of memory may do better the next time), or it is too long.
bool line_is_closed_to(const json_t *message, const json_error_t *error);

// The next message, if one is there. LINE_BAD: a packet that is none.
enum line_state { LINE_MESSAGE, LINE_NOTHING, LINE_ENDED, LINE_BAD };
enum line_state line_receive(int fd, json_t **ret);

// Bytes of that message; 0: none is there, or it is empty.
size_t line_waiting(int fd);

// What a message calls itself, "" if it does not.
const char *line_is(const json_t *message);

// A message that tells of an error: it travels as it is kept (base/sentence.h), in no language.
// False: it is malformed.
json_t *line_error(const char *is, const struct kb_error *why);
bool line_read_error(const json_t *message, struct kb_error *ret);

// Of a dub, as a worker or another machine tells it: are the numbers such as can be?
bool line_report_is_sane(const struct job_report *r);
bool line_result_is_sane(const struct dub_result *r);

#endif
