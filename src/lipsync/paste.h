// Puts a generated lower face back into the frame. Internal to lipsync/.
// A struct paster holds scratch memory: one thread at a time.
#ifndef LIPSYNC_PASTE_H
#define LIPSYNC_PASTE_H

#include "face/track.h"
#include "face/warp.h"
#include "lipsync/lips.h"

struct paster;

struct paste_params {
    int side;              // of the patch: lips_side()
    float feather, dilate; // fractions of the face's width
    float sharpen;         // unsharp amount, 0 = none
};

struct paster *paster_create(const struct paste_params *p); // never NULL
void paster_free(struct paster **p);

// Blend output (the network's) into frame (writable YUV 4:2:0). target: the crop of the untouched
// frame, for matching the colours at the rim; both LIPS_FLOATS_OF(side). points: the track's points
// in crop pixels, for the mask. Outside the mask not one byte of the frame changes.
void paste(struct paster *p, AVFrame *frame, const struct affine *to_frame, const float *target,
           const float *output, const float (*points)[2]);

// The mask alone, side * side values 0..1, valid until the next call; for tests and eyes.
const float *paster_mask(struct paster *p, const float (*points)[2]);

#endif
