// Tables as spreadsheets write them (RFC 4180): comma, semicolon or tab; UTF-8, with or without a
// byte order mark, else GB18030, else whatever charset.h makes of it. Thread-safe.
#ifndef BASE_CSV_H
#define BASE_CSV_H

#include "base/base.h"

#define CSV_BYTES   (8 << 20) // of a file, at most
#define CSV_ROWS    10000     // and rows
#define CSV_COLUMNS 200       // and cells of one

struct csv_row {
    int line;     // on which it begins, from 1
    int n;        // cells
    char **cells; // without quotes, and without spaces around them where there were none; UTF-8
};

struct csv {
    char *text; // what the cells point into
    char **cells;
    struct csv_row *rows; // those that are not empty
    int n_rows;
};

// KB_BAD_INPUT: too large, no text, a quotation that is not closed (its line is named). name is
// what sentences call it. csv_free() what came out; on failure *ret is empty.
enum kb_code csv_parse(struct csv *ret, const char *bytes, size_t size, const char *name,
                       struct kb_error *err);
// The same of a file; "-" is the standard input. KB_NOT_FOUND.
enum kb_code csv_read(struct csv *ret, const char *path, struct kb_error *err);
void csv_free(struct csv *c);

#endif
