// The font that is drawn with. Thread-safe.
#ifndef FINISH_FONT_H
#define FINISH_FONT_H

#include "base/base.h"

#define FONT_NAME 128

// The family's name as fontconfig and libass know it: the wanted one (KB_NOT_FOUND if no such font
// is installed, with some that are), or with NULL the best of those that are here and have Chinese
// letters (KB_UNAVAILABLE: none has, and which package brings one). Reads the system's fonts the
// first time.
enum kb_code font_family(const char *wanted, char ret[FONT_NAME], struct kb_error *err);

// What libass's font size has to be for letters whose square is 1 high: it takes a size for the
// whole line, of which the letters of some fonts fill two thirds. 1 where that is not known.
double font_line(const char *family);

#endif
