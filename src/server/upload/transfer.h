// Who sends to which upload right now: uploads that are held between two pieces of a body.
//
// A page that was loaded anew goes on with its upload at once, while the server may still wait for
// the rest of the old connection. So a PATCH (or DELETE) that comes later takes the upload over,
// with its lock; what the older one still sends is refused. HEAD only asks, and disturbs nobody.
//
// Threads: a transfer belongs to the network thread of its request; what others may reach says so.
// struct transfers is thread-safe and outlives the HTTP server (server/internal.h).
#ifndef SERVER_UPLOAD_TRANSFER_H
#define SERVER_UPLOAD_TRANSFER_H

#include "asset/upload.h"
#include "server/upload/tus.h"

#include <pthread.h>

#include <openssl/evp.h>

// One PATCH, or one POST, under way.
struct transfer {
    struct transfers *all; // where others find it, see below; NULL: nowhere (any more)
    struct transfer *next, **link;
    pthread_mutex_t lock;
    // --- under lock while others can find it
    struct asset_upload *upload; // NULL once closed
    bool taken;                  // another request goes on with the upload
    // --- its own
    char id[33];
    int64_t checked;     // bytes to come until the disk is looked at again
    int64_t size, start; // of the file, of this request's bytes in it
    EVP_MD_CTX *digest;  // NULL: no checksum was promised
    unsigned char wanted[EVP_MAX_MD_SIZE];
    size_t n_wanted;
    bool created; // by this request
    bool failed;  // answered already
};

struct transfer *transfer_create(void);
void transfer_free(struct transfer **t); // leaves first; NULL is fine
void transfer_enter(struct transfer *t, struct transfers *all);
void transfer_leave(struct transfer *t); // from now on nobody else reaches it

// The upload of whoever sends to it now, as it is between two pieces, the caller's from here on;
// NULL: nobody does. The bytes of a chunk that cannot be checked any more are not kept.
struct asset_upload *transfers_take_over(struct transfers *all, const char *id);
// Get hold of an unfinished upload, also if another request sends to it. KB_UNAVAILABLE: the other
// one is just ending.
enum kb_code transfers_hold(struct transfers *all, struct store *s, const char *id,
                            struct asset_upload **ret, struct kb_error *err);
// Where whoever sends to it now has come, or would go on after a break: what a checksum is to cover
// counts when all of it is there. -1: nobody sends.
int64_t transfers_sent(struct transfers *all, const char *id);

#endif
