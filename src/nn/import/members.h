// The members of a JSON object one at a time, so that a large header from anybody takes no more
// memory than its largest member: a tree of all of it takes 45 times its text. Not thread-safe.
#ifndef NN_IMPORT_MEMBERS_H
#define NN_IMPORT_MEMBERS_H

#include "base/base.h"

#include <jansson.h>

struct members {
    const char *at, *end; // what is left
    bool begun;
};

// text: size bytes that begin with "{", blanks before it aside.
void members_start(struct members *m, const char *text, size_t size);

// The next one: its name, and where its value lies. KB_EOF: that was all, and nothing but blanks
// follows. KB_BAD_INPUT: no JSON. free(*ret_name).
enum kb_code members_next(struct members *m, char **ret_name, const char **ret_value,
                          size_t *ret_size, struct kb_error *err);

// A value as jansson's, NULL if it is none.
json_t *members_value(const char *value, size_t size);

#endif
