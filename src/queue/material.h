// The files that options of a batch name beside its speech and videos (materials): which there are,
// what each takes, where in a dub its path goes. The role of a file is its option's name, in
// leases, on a worker's line and between machines. Thread-safe: no state.
#ifndef QUEUE_MATERIAL_H
#define QUEUE_MATERIAL_H

#include "lipsync/dub.h"

#define MATERIAL_MOST 12 // a job has at most so many, one of a role

struct material_role {
    const char *name;    // the option's, as in the API
    const char *kinds;   // of assets that it takes: "video" (as pictures are), or "audio video"
    const char *refusal; // of another one, N_(); its %s is the asset's name
    size_t path;         // in struct dub_params, of a const char *: where its path goes
    size_t key;          // and the name under which its face track is kept; 0: it has none
};

// The role of that name, or NULL.
const struct material_role *material_find(const char *name);

// Can it be an asset of that kind? "": nobody has looked at it yet, and the job will see.
bool material_takes(const struct material_role *role, const char *kind);

// Puts path into p, and key (may be NULL) where the role has tracks. Both are borrowed.
void material_put(const struct material_role *role, struct dub_params *p, const char *path,
                  const char *key);

// KB_NOT_FOUND: what a batch's option names was deleted.
enum kb_code material_gone(const char *name, struct kb_error *err);

#endif
