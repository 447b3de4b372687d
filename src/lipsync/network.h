// A network whose file says by its metadata what it is: how the listener and the judge of sync are
// loaded. Internal to lipsync/. Thread-safe: no state.
#ifndef LIPSYNC_NETWORK_H
#define LIPSYNC_NETWORK_H

#include "nn/import/import.h"
#include "nn/session.h"

// What its owner takes out of the file, in this order, and refuses: KB_BAD_INPUT.
struct network_owner {
    enum kb_code (*read_contract)(void *owner, const struct tensor_set *set, struct kb_error *err);
    enum kb_code (*read_shape)(void *owner, const struct graph *g, struct kb_error *err);
};

// model: a path or the name of a bundled one (model_find()). hash: file_hash() of its file, or
// NULL: not wanted. Errors name the file. KB_NOT_FOUND, KB_BAD_INPUT, KB_NO_SPACE.
enum kb_code network_load(struct session **ret, char *hash, const char *model, int threads,
                          const struct network_owner *of, void *owner, struct kb_error *err);

// A number of the metadata from low to high. False: it is missing, no number or another one.
bool network_number(const struct tensor_set *set, const char *key, double low, double high,
                    double *ret);

#endif
