// Looks before the long run: what people ask for, waits, is made by the preview worker, and is kept
// for a while. All of it in memory, and nothing of it survives the server: who wants it again asks
// again. The files are the broker's, in PREVIEWS_FOLDER; their names are made of random numbers,
// and so only who asked knows them.
//
// Who asks says for which viewer: a window in which one look is shown. What a viewer asks for takes
// the place of what that viewer asked for before and has not got yet. Who names no viewer takes
// nobody's place: it may be anybody at that address.
//
// Thread-safe.
#ifndef WORKER_PREVIEWS_H
#define WORKER_PREVIEWS_H

#include "queue/lease.h"

// Below the data folder. No worker can be called so (koubo worker --id).
#define PREVIEWS_FOLDER "work/made-previews"

#define PREVIEW_VIEWER_BYTES 48
#define PREVIEWS_EACH        4  // of one client, that are not made yet
#define PREVIEWS_WAITING     32 // of all clients
#define PREVIEWS_KEPT        24 // films and pictures; the oldest goes first
#define PREVIEWS_KEPT_S      1800

enum preview_state { PREVIEW_WAITING, PREVIEW_RUNNING, PREVIEW_DONE, PREVIEW_FAILED };

// What is to be made. claim: audio, video, materials, options, face_at and names alone count.
struct preview_order {
    struct job_claim claim;
    char *words;    // of the speech (media/words.h), JSON; NULL or "": not known
    double seconds; // of a film
    double at;      // a picture of that film at this time; < 0: the film
};

// What is known of one.
struct preview_look {
    enum preview_state state;
    bool picture; // a .jpg; else an .mp4
    struct job_report report;
    double seconds; // of the film, once it is made
    double from_s;  // where in the whole result it begins
    int width, height;
    struct kb_error why; // of one that failed; KB_CANCELLED: a newer one took its place, or it was
                         // given up
};

// Of the whole, 0..1, by how long the stages take.
double preview_progress(const struct preview_look *l);

// How it stands with them all, for the system view.
struct previews_view {
    bool there;     // the worker's process
    char state[16]; // as it says: "starting", "idle", "busy"
    int64_t rss_bytes;
    int waiting;
    // What it makes, if making.
    bool making, picture;
    char video[256], audio[256]; // as they are called; cut, and any bytes
    char client[64];             // for whom
    double progress;
};

void preview_order_clear(struct preview_order *o); // all zero is fine

struct previews;
// changed: called when there is something new to do, or to end; of any thread, without our lock.
struct previews *previews_create(void (*changed)(void *ctx), void *ctx); // never NULL
// What waits has failed; none may be asked for afterwards.
void previews_free(struct previews **p);

// order is taken in any case. client: request_client_key(); viewer: at most PREVIEW_VIEWER_BYTES.
// KB_NO_SPACE: that client, or all, ask for too many.
enum kb_code previews_ask(struct previews *p, struct preview_order *order, const char *client,
                          const char *viewer, char ret_id[33], struct kb_error *err);
// False: there is none of that id (any more).
bool previews_look(struct previews *p, const char *id, struct preview_look *ret);
// ended(ctx) once it is made or has failed, under our lock; at once where that is so. False: there
// is none. At most one for each; another takes the place of the one before.
bool previews_await(struct previews *p, const char *id, void (*ended)(void *ctx), void *ctx);
// It is not wanted any more. Whoever waits for it is told.
void previews_drop(struct previews *p, const char *id);

void previews_view(struct previews *p, struct previews_view *ret);

// --- the broker's

// What the worker says of itself; state NULL: there is none.
void previews_worker(struct previews *p, const char *state, int64_t rss_bytes);

// The next one; it is running now. *ret points to what stays there until previews_end().
bool previews_take(struct previews *p, char ret_id[33], const struct preview_order **ret);
bool previews_wait(struct previews *p); // one waits
// False: it is not wanted any more, or a newer one is: it is to be ended.
bool previews_report(struct previews *p, const char *id, const struct job_report *r);
// why NULL: it is made. Failed ones have no file. False: nobody wants it any more; remove its file.
bool previews_end(struct previews *p, const char *id, const struct dub_result *r,
                  const struct kb_error *why);
// The files to be removed, one at a time: "ID.mp4".
bool previews_rubbish(struct previews *p, char ret_name[40]);

#endif
