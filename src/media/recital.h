// A speech put together of sentences that were spoken one by one: the silence around each is cut
// off, pauses of a chosen length are put between them, and no edge clicks. Keeps when each word is
// said. All in memory: an hour of 22,050 Hz is 160 MB. Not thread-safe.
#ifndef MEDIA_RECITAL_H
#define MEDIA_RECITAL_H

#include "media/sentences.h"
#include "media/words.h"

#define RECITAL_PAUSE_MS      350  // between sentences, unless somebody chose another; between
#define RECITAL_MOST_PAUSE_MS 5000 // lines of the text twice as long

struct recital;

// text is copied; all bytes below are of it. pause_ms: 0..RECITAL_MOST_PAUSE_MS.
enum kb_code recital_open(struct recital **ret, const char *text, int rate_hz, int pause_ms,
                          struct kb_error *err);
// One more sentence: n samples of it, 16 bits, mono. words: of it, in the order of the text, times
// since its first sample; n_words = 0: the sentence counts as one word. A sentence that is all
// silence is left out. KB_NO_SPACE.
enum kb_code recital_say(struct recital *r, const struct sentence *sentence, const int16_t *samples,
                         size_t n, const struct word *words, int n_words, struct kb_error *err);
// Whether something was said.
bool recital_is_empty(const struct recital *r);
// Write the WAV file (atomically), 16 bits, mono; ret_words (may be NULL) must be empty.
enum kb_code recital_write(struct recital *r, const char *path, struct words *ret_words,
                           struct kb_error *err);
void recital_close(struct recital **r);

#endif
