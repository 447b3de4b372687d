// Text on a terminal: how wide it is (Chinese letters take two columns), where its lines may break,
// what is left of it where there is little room. Everything here is UTF-8 and thread-safe.
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include "base/text.h"

#include <stdio.h>

// How many columns the terminal has that f writes to: what it says itself or $COLUMNS, whichever is
// less; 80 where neither says anything.
int screen_columns(FILE *f);

int screen_width(const char *text);

// Print text and spaces up to width columns.
void screen_print_padded(FILE *f, const char *text, int width);

// text in no more than width columns, a new string: its middle gives way to "…", so that of a
// file's name the beginning and the ending stay. Control characters become "?", bytes that are no
// UTF-8 U+FFFD: names come from strangers and may hold the terminal's own commands.
char *screen_cut(const char *text, int width);

// Add text to ret in lines of at most width columns, all but the first after indent spaces; column
// is where the first one begins. Lines break at spaces and between Chinese letters, never before
// "，" and its like, nor after "（", nor inside a word such as --lang (UAX 14). A '\n' in text ends
// a line; none is added at the end. A word that is wider than a line sticks out.
void screen_wrap(struct text *ret, const char *text, int column, int indent, int width);

// Print text and the end of its line, where column is what already stands on it. On a terminal what
// does not fit goes on under it, from column on; a file gets one line.
void screen_print_wrapped(FILE *f, const char *text, int column);

#endif
