// What a speech says, and when: its text, and for each word the time and the place in the text.
// Made by who speaks a text (media/voice.h), kept with the speech (asset.words), read by captions.
// Thread-safe: nothing here has a state.
#ifndef MEDIA_WORDS_H
#define MEDIA_WORDS_H

#include "base/base.h"

#include <jansson.h>

#define WORDS_TEXT_BYTES 100000               // of a text, about two hours of Chinese speech
#define WORDS_MOST       50000                // words of one text
#define WORDS_LAST_US    INT64_C(86400000000) // a day, the latest end of a word

// A Chinese letter, a Latin word, a number. Where the voice tells no more it is a whole sentence:
// whoever wants to know what is inside of it shares its time out.
struct word {
    int64_t begin_us, end_us; // begin <= end; as heard, without the pause that follows
    size_t first, n;          // bytes of the text, n > 0, whole letters
};

// Zero-initialise; release with words_free(). Words stand in the order of the text, do not overlap
// there, and no begin is before the begin of an earlier word.
struct words {
    char *text; // UTF-8
    struct word *list;
    int n, capacity;
};

// The contents; *w is empty afterwards.
void words_free(struct words *w);

// One more at the end. False: memory is out, or there are too many.
bool words_add(struct words *w, struct word word);

// The words of n bytes of w->text from first on, their times 0, appended: what is written without
// blanks (Chinese, kana) letter by letter, else what stands together: "3.14", "don't", "50%".
// False: as words_add().
bool words_split(struct words *w, size_t first, size_t n);

// {"text": "...", "words": [[begin_ms, end_ms, first_byte, n_bytes], …]} on one line, a new string.
// NULL: memory is out, or the text is no UTF-8.
char *words_json(const struct words *w);
// The same back, from whoever wrote it: all that is said above is checked. *ret must be empty, and
// stays so on failure. KB_BAD_INPUT.
enum kb_code words_parse(struct words *ret, const char *json, struct kb_error *err);

// The words without their text, as short as it goes, for a message to who has the text: a flat list
// of four numbers for each word: ms since the end of the one before (may be negative), ms that it
// lasts, bytes since the end of the one before, its bytes. NULL: memory is out.
json_t *words_pack(const struct words *w);
// The same back. ret->text is there, and nothing else. False: it is none, or does not fit the text;
// ret holds no words then.
bool words_unpack(struct words *ret, const json_t *packed);

#endif
