// What the files of voices/ share. Threads: any, each with what it is given.
#ifndef VOICES_INTERNAL_H
#define VOICES_INTERNAL_H

#include "voices/voices.h"

#define ANSWER_BYTES (64 << 20) // of one sentence: 12 minutes of 48,000 Hz

// One sentence over HTTP: sound into ret, which is empty. *ret_again: another attempt may do
// better. *ret_wait_s: the service asked for so long.
enum kb_code voice_ask(const json_t *voice, const char *sentence, const struct voice_wish *wish,
                       struct text *ret, bool *ret_again, int *ret_wait_s, struct kb_error *err);
// The same of a program.
enum kb_code voice_run(const json_t *voice, const char *sentence, const struct voice_wish *wish,
                       struct text *ret, struct kb_error *err);

// What a service or program said, fit for a sentence: one line of at most 300 bytes of UTF-8, every
// secret of the voice made stars. A new string.
char *voice_words(const json_t *voice, const char *said, size_t n);

int voice_timeout_s(const json_t *voice);

#endif
