// Stretches of a dub in which nothing is drawn: their pictures pass as the film has them encoded,
// undecoded, where they fit beside those of the encoder (media/splice.h). A stretch begins with a
// picture before which none is needed and goes on to where a picture is drawn, or something in the
// file does not fit; what is left of it is decoded and encoded as all others. Internal to lipsync/.
// Not thread-safe; may move between threads.
#ifndef LIPSYNC_PASS_H
#define LIPSYNC_PASS_H

#include "base/cancel.h"
#include "lipsync/timeline.h"
#include "media/original.h"
#include "media/writer.h"

struct pass;

// Is picture `frame` of a plan drawn into? With its place in the plan.
typedef bool pass_drawn_fn(const void *opaque, const struct planned_frame *frame, int place);

// source: as that of timeline_plan(), borrowed until pass_free(); its reader is at its first
// picture. *ret is NULL where no stretch is long enough or the film is of another kind.
// KB_CANCELLED, KB_NO_SPACE.
enum kb_code pass_create(struct pass **ret, const struct timeline_params *source,
                         pass_drawn_fn *is_drawn, const void *opaque, const struct cancel *cancel,
                         struct kb_error *err);
void pass_free(struct pass **p); // NULL is fine
const struct original *pass_original(const struct pass *p);

// Pictures that belong together, in the order of decoding, for writer_pass(); times in the output.
struct passed {
    int n;
    struct passed_picture pictures[MAX_PASSED];
    int64_t begin_us, duration_us; // of all
    int64_t n_frames;              // how many the timeline would have given
};
void passed_free(struct passed **p); // NULL is fine

// Those that come next in the timeline, which then goes on after them. *ret is NULL where the next
// one is to be decoded. KB_CANCELLED, KB_NO_SPACE.
enum kb_code pass_next(struct pass *p, struct timeline *s, struct passed **ret,
                       struct kb_error *err);

#endif
