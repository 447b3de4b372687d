// A spoken text cut into subtitles, and subtitles broken into lines. Thread-safe.
#ifndef FINISH_CUT_H
#define FINISH_CUT_H

#include "media/extras.h"
#include "media/words.h"

struct cut_limits {
    double han, latin; // letters that a line holds
};

// What fits, for pictures of that size and letters of that height (a part of the shorter side):
// at most 17 Han or 42 Latin letters, fewer where the picture is narrow.
struct cut_limits cut_limits_of(int width, int height, double size);
// The size of letters that captions have if nobody says another.
#define CUT_SIZE 0.055

// Subtitles of two lines at most, that end where sentences, clauses and pauses end, are there for
// 0.8 s to 7 s and do not overlap. Appended to *ret. KB_NO_SPACE.
enum kb_code cut_words(struct subtitle_track *ret, const struct words *words,
                       const struct cut_limits *l, struct kb_error *err);

// The lines of one subtitle: as they are where they fit, else anew, as even as can be. A new
// string; NULL: memory is out.
char *cut_lines(const char *text, const struct cut_limits *l);

#endif
