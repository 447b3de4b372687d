// One download of an address that a user gave instead of a file. Blocks; the courier's threads do
// it. Threads: as the store it is given (store/store.h).
#ifndef SERVER_FETCH_H
#define SERVER_FETCH_H

#include "base/cancel.h"
#include "store/store.h"

struct server;

struct fetch {
    const struct server *server;
    const char *id; // of the asset, in the state "fetching"
    const struct cancel *cancel;
    // Does somebody wait who could have the place of a slow one?
    bool (*crowded)(void *ctx, struct store *store);
    void *ctx;
};

// Fill the asset from its beginning. A sentence without the secrets of the address, for
// asset_fail(). KB_CANCELLED: to be tried again if the asset is still there; nothing is to be said
// about it. *ret_bytes: how many came.
enum kb_code fetch_run(const struct fetch *f, struct store *store, int64_t *ret_bytes,
                       struct kb_error *err);

// The name of the server in an address, "" if there is none.
#define FETCH_HOST_BYTES 256
void fetch_host(char ret[FETCH_HOST_BYTES], const char *url);

#endif
