// The files a user named, folders opened. Main thread only.
#ifndef CLI_INPUTS_H
#define CLI_INPUTS_H

#include "base/base.h"

#include <argp.h>

// Zero-initialise; release with inputs_free().
struct inputs {
    char **paths;
    size_t n;
    bool optional; // for inputs_argp: none is fine
};
void inputs_append(struct inputs *in, char *path); // is taken

// Add path as it is, or, if it is a folder, the videos and pictures in it (by their extension,
// sorted by name, hidden files and folders inside left out). KB_BAD_INPUT when a folder has none.
enum kb_code inputs_add(struct inputs *in, const char *path, struct kb_error *err);
// The same while options are parsed: the end of the process with a sentence where that fails.
void inputs_take(struct inputs *in, const char *path);
// -i and bare names, at least one of them.
extern const struct argp inputs_argp; // input: struct inputs *
void inputs_free(struct inputs *in);

// A name for the result of each input: folder/STEM.mp4; from the second of equal stems on
// folder/STEM-2.mp4 and so on, or with another ending. An array of in->n new strings; inputs_free()
// releases it as paths.
struct inputs inputs_outputs(const struct inputs *in, const char *folder, const char *ending);

#endif
