// Where a text has its sentences: to be spoken one by one, and heard one by one. Chinese and Latin
// punctuation; a number (3.14), an abbreviation (Dr., e.g.), a name of a file (koubo.com) and an
// initial (J. Smith) do not end one, a new line does. Thread-safe.
#ifndef MEDIA_SENTENCES_H
#define MEDIA_SENTENCES_H

#include "base/base.h"

// What is longer is parted at a comma, at a blank, or anywhere: services refuse long texts, and
// speak them badly.
#define SENTENCE_BYTES 480

struct sentence {
    size_t first, n; // bytes of the text, with the punctuation, without blanks around it
    bool paragraph;  // a line of the text ends here
};

// All sentences of a valid UTF-8 text that have something to say, a letter or a digit; what lies
// between them are blanks and lone punctuation. *ret is a new list, free() it; NULL when *ret_n is
// 0. False: memory is out.
bool sentences_find(const char *text, struct sentence **ret, int *ret_n);

#endif
