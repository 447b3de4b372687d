// The rig: moves the person's own lips. For one frame of the film and the displacements that the
// speech gives to 40 lip points, the pixels around the mouth go where these take them, straight
// from the frame's planes to the frame's planes, as sharp as the film; what opens between the lips
// shows the person's own teeth from other frames (rig/mouth.h). Outside the moved skin not one byte
// changes.
//
// A struct rig is read-only once made, any thread. A struct canvas holds scratch memory: one thread
// at a time.
#ifndef RIG_RIG_H
#define RIG_RIG_H

#include "rig/follow.h"
#include "rig/mouth.h"

#include <libavutil/frame.h>

struct rig;

struct rig_params { // borrowed, must outlive the rig
    const struct track *track;
    int face;
    const struct follow *follow;
    const struct track *mouth_from; // another film of the person, or NULL
    int mouth_face;
    const struct cancel *cancel;
};

// KB_BAD_INPUT where the landmarks make no face.
enum kb_code rig_create(struct rig **ret, const struct rig_params *p, struct kb_error *err);
void rig_free(struct rig **r);
const struct person *rig_person(const struct rig *r);
const struct mouths *rig_mouths(const struct rig *r);

// What a frame needs between the lips, for mouths_plan(). delta as rig_draw takes it. False: the
// face is absent; then there is nothing to draw either.
bool rig_need(const struct rig *r, int track_frame, const float delta[40][2],
              struct mouth_need *ret);

struct canvas;
struct canvas *canvas_create(void); // never NULL
void canvas_free(struct canvas **c);

struct rig_frame {
    int track_frame;
    float delta[40][2];        // of the lip points from closed, canonical, in the track's order
    struct mouth_choice mouth; // a < 0: the skin alone is moved
    float strength;            // 1 = as the speech says, 0 = the film as it is
    float scale_x, scale_y;    // pixels of the frame per pixel of the track's picture
};
// frame: writable AV_PIX_FMT_YUV420P. False: nothing was drawn.
bool rig_draw(const struct rig *r, struct canvas *c, AVFrame *frame, const struct rig_frame *f);

#endif
