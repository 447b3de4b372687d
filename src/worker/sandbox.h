// The cage of a process that decodes what strangers gave. Of the process, so from its main thread.
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include "base/base.h"

// Folders and files that may be read. Zero-initialise.
struct sandbox_paths {
    char **list;
    int n;
};
void sandbox_add(struct sandbox_paths *p, const char *path);
void sandbox_paths_free(struct sandbox_paths *p);

// After this the process can neither reach a network nor start programs. It writes in the folder
// `writes` alone (NULL: nowhere), where it can make regular files only, and reads that, what
// `reads` holds (what of it is missing does not count) and what its libraries need: sandbox.c lists
// it. Each limit that the kernel lacks is named in *ret_missing ("" = none), and is no error. Call
// before threads are started.
enum kb_code sandbox_enter(const char *writes, const struct sandbox_paths *reads,
                           char ret_missing[200], struct kb_error *err);

#endif
