// How koubo names its files below the data folder, in one place. What is named otherwise belongs to
// somebody else and is never removed.
// Thread-safe.
#ifndef STORE_NAMES_H
#define STORE_NAMES_H

#include "base/base.h"

struct file_name {
    char stem[65]; // of a result "7-1", of a content its hash, of an upload its id
    int64_t job;   // of a result
    int attempt;
    bool half;    // about to become a whole file
    bool picture; // the thumbnail of a result
};

// Is this one of koubo's names in that folder ("results", "files", "thumbs", "uploads", "tracks",
// "work")? ret may be NULL. Only a regular file is a file of koubo's: that is the caller's to see.
bool file_name_parse(struct file_name *ret, const char *folder, const char *name);

#endif
