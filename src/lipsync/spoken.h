// When the words of a known text are said in a recording. Thread-safe: no state.
//
// Nothing is recognised: a Han letter is taken for one syllable, a Latin word for as many as it has
// groups of vowels, and the syllables are shared out over the time in which a voice is heard. Ends
// of sentences and clauses are put on pauses, by dynamic programming over how well the time between
// two pauses fits the syllables between two ends. docs/subtitles.md says how far that is off.
#ifndef LIPSYNC_SPOKEN_H
#define LIPSYNC_SPOKEN_H

#include "media/mel.h"
#include "media/words.h"

// Han letters and words of the text with their times in the sound of mel. KB_BAD_INPUT: the text is
// longer than WORDS_TEXT_BYTES or has no word, or no voice is heard. KB_NO_SPACE, KB_CANCELLED.
// Takes 48 MB at most. words_free(ret).
enum kb_code spoken_align(struct words *ret, const char *text, const struct mel *mel,
                          const struct cancel *cancel, struct kb_error *err);

#endif
