// Where a text may be broken into lines and subtitles, and how wide it is. Thread-safe.
#ifndef FINISH_BREAKS_H
#define FINISH_BREAKS_H

#include "base/base.h"

// How good it is to break before a byte. What Unicode's rules (UAX 14) forbid is never allowed: no
// break inside a Latin word or a number, no line that begins with "，" or ends with "（".
enum break_kind {
    BREAK_NEVER,
    BREAK_INSIDE, // of a Chinese word, or of a number and what it counts
    BREAK_WORD,
    BREAK_LIST, // behind "、"
    BREAK_CLAUSE,
    BREAK_SENTENCE,
    BREAK_LINE, // there is a line end
};

// One of them for each byte of the text and one for its end; free(). NULL: memory is out.
uint8_t *breaks_find(const char *text);

// How many letters of its own kind fit into a line: a Han letter takes 1 / han of it, a Latin one 1
// / latin. Sums of that over the first n bytes: a line that is full has 1.
struct letters {
    double han, latin;
};
double breaks_width(const char *text, size_t n, const struct letters *l);

// Bytes of text[0..n) without the blanks and, behind Chinese, the commas and full stops at its end,
// which Chinese subtitles leave out.
size_t breaks_trim(const char *text, size_t n);

bool is_han(int32_t c); // or another letter as wide, that stands for itself

#endif
