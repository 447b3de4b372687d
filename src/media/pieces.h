// The pieces in which a voice service spoke a text, each a sound file of its own, become one
// speech. They are read as what they are: bytes of a stranger. In a worker's cage, or in a program
// that its user started. Thread-safe (no state).
#ifndef MEDIA_PIECES_H
#define MEDIA_PIECES_H

#include "base/cancel.h"
#include "media/words.h"

struct pieces {
    const char *path;     // the pieces one behind the other
    const int64_t *sizes; // bytes of each, one for each sentence of the text (sentences.h)
    int n;
    const char *scratch; // where one piece is written while it is read; removed afterwards
    double tempo;        // how much faster than they are: 0.5..2, 0 = 1
    int pause_ms;        // as of recital.h
    const struct cancel *cancel;
};

// Into a 16-bit mono WAV file at path (atomically), of the first piece's rate. ret_words (may be
// NULL) must be empty: a word of it is a whole sentence. KB_BAD_INPUT: a piece is no sound, names
// its sentence; KB_CANCELLED, KB_NO_SPACE.
enum kb_code pieces_join(const char *path, const char *text, const struct pieces *p,
                         struct words *ret_words, struct kb_error *err);

#endif
