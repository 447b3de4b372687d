// Which koubo this is and which versions of libraries it runs with: koubo --version -v.
// Thread-safe.
#ifndef CLI_VERSION_H
#define CLI_VERSION_H

#include <stdbool.h>
#include <stdio.h>

// The commit it was built from, with "-dirty" behind it if the sources were changed since;
// "unknown" where neither git nor the archive told.
const char *version_commit(void);

// A library and its version as it runs, not as it was built with.
struct version_part {
    const char *name;
    char version[120];
};

#define VERSION_PARTS 5
void version_parts(struct version_part ret[VERSION_PARTS]);

// One line; if verbose, then a line each for the commit, the compiler and the parts.
void version_print(FILE *f, bool verbose);

#endif
