// Folders for a while: made where temporary files go, removed with all that is in them.
// Thread-safe.
#ifndef BASE_PLACE_H
#define BASE_PLACE_H

#include "base/base.h"

// A new folder that only this user can enter, "NAME-" and six random letters in $TMPDIR or /tmp.
// free() the path, or release both with place_end(). KB_NO_SPACE, KB_BAD_INPUT.
enum kb_code place_make(char **ret, const char *name, struct kb_error *err);

// Remove a folder or a file and everything in it. Links are removed, not followed. What is not
// there, is gone. False: something stays.
bool place_remove(const char *path);

// Remove and free what place_make() gave; NULL is fine. For CLEANUP.
void place_end(char **place);

#endif
