// Puts a generated lower face back into the frame. Internal to lipsync/.
// A struct paster holds scratch memory: one thread at a time.
#ifndef LIPSYNC_PASTE_H
#define LIPSYNC_PASTE_H

#include "face/warp.h"
#include "lipsync/lips.h"

struct paster;

struct paste_params {
    const struct lips_spec *spec;
    float feather, dilate; // fractions of the face's width
    float sharpen;         // unsharp amount, 0 = none
};

struct paster *paster_create(const struct paste_params *p); // never NULL
void paster_free(struct paster **p);

// Blend output (the network's, out_height * out_width * 3) into frame (writable YUV 4:2:0).
// target: the whole crop of the untouched frame (height * width * 3), for matching the colours at
// the rim. points: the track's points in crop pixels, for the mask. Outside the mask not one byte
// of the frame changes.
void paste(struct paster *p, AVFrame *frame, const struct affine *to_frame, const float *target,
           const float *output, const float (*points)[2]);

// The mask alone, out_width * out_height values 0..1, valid until the next call; for tests and
// eyes.
const float *paster_mask(struct paster *p, const float (*points)[2]);

#endif
