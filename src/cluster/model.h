// Models that people brought: a job that names one needs its file on the machine that does it,
// where it is known by the SHA-256 of what it holds. Thread-safe.
#ifndef CLUSTER_MODEL_H
#define CLUSTER_MODEL_H

#include "base/base.h"

struct model_file {
    char *path, *name; // name: "mine.pth"
    char sha256[65];
    int64_t size;
};
// The file of the model that the options of a batch name (JSON, queue/options.h). *ret is all 0
// where they name none, or one that every koubo of this version has. KB_NOT_FOUND: there is no such
// file here any more; KB_BAD_INPUT: it cannot be read. A file is read once, and again when it has
// changed.
enum kb_code model_of_options(struct model_file *ret, const char *options, struct kb_error *err);
// The same, but nothing is read: KB_EOF where it would have to be.
enum kb_code model_known(struct model_file *ret, const char *options, struct kb_error *err);
// The SHA-256 of all that can be read of fd, 64 hex digits; path: for the sentence.
enum kb_code model_hash(char ret[65], int fd, const char *path, struct kb_error *err);
void model_file_free(struct model_file *m);

#endif
