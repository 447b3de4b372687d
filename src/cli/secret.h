// Options whose value other users of this machine must not read: tokens, and addresses that hold a
// password. Main thread only.
#ifndef CLI_SECRET_H
#define CLI_SECRET_H

#include "base/base.h"

// Zero-initialise; release with secret_free().
struct secret {
    char *value;      // NULL: none was given
    const char *file; // whose first line it is, as the user said
    bool was_seen;    // it stood in the command line
};

// Of the command line, which does not hold it any more: everybody on this machine can read that.
void secret_take(struct secret *s, char *arg);
// After the options were parsed. The file counts before the option, this before the environment's
// variable, which does not hold it any more either: programs that are started would inherit it. An
// empty one is none.
enum kb_code secret_settle(struct secret *s, const char *variable, struct kb_error *err);
void secret_free(struct secret *s);

#endif
