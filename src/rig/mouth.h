// What is seen between the lips. It comes from the film itself: the track keeps pictures of the
// person's mouth, open above all (struct track_mouth). A film whose mouth never opens gets a drawn
// one: a cavity, upper teeth and a tongue in the light and the colours of the face, kept as one
// more picture of the same kind.
//
// Upper teeth belong to the skull and lower teeth to the jaw: they are placed by pose and jaw, not
// stretched with the lips (mouths_place).
//
// mouths_*: read-only after mouths_create, any thread.
#ifndef RIG_MOUTH_H
#define RIG_MOUTH_H

#include "rig/person.h"

// Y, U and V at the crop's resolution, 4:2:0, 8 bits; U and V have (width + 1) / 2 columns.
struct mouth_picture {
    const uint8_t *planes[3];
    int strides[3];
    int width, height;
};

// Mean Y, U, V of the skin around the mouth, of the middle half of the places looked at by luma.
struct mouth_light {
    float yuv[3];
};
// points: all TRACK_N_POINTS, in pixels of the planes (centres at integer + 0.5); they may lie
// outside. Y 128 U 128 V 128 if none lies inside.
struct mouth_light mouth_light_of(const struct mouth_picture *planes, const float (*points)[3]);

struct mouths;

// own: the film's track and face. other: another film of the same person to take the pictures from
// (--mouth-from; its own where that one shows no open mouth), or NULL with other_face 0. Both are
// borrowed and must outlive it. Pictures in which the mouth is not open are left out. KB_NO_SPACE.
enum kb_code mouths_create(struct mouths **ret, const struct person *person,
                           const struct track *own, int face, const struct track *other,
                           int other_face, struct kb_error *err);
void mouths_free(struct mouths **m); // NULL is fine
int mouths_count(const struct mouths *m);
bool mouths_drawn(const struct mouths *m); // all there is was drawn

// What one frame of the job needs between its lips.
struct mouth_need {
    float inner[20][2]; // target: the inner lips, canonical, in the track's order
    float yaw, pitch;   // radians, of pose_angles()
    float light;        // mean luma around the mouth, 0..255; < 0 unknown
    bool open;          // something is to be seen at all
};
// What it gets: picture a, and mix of picture b over it (0: a alone). Both are valid even where
// nothing is open.
struct mouth_choice {
    int16_t a, b;
    float mix;
};
// The choice for all n frames of a job at once, by dynamic programming: shape, pose, light, and a
// price for switching, which is low where little is open; where it must switch while open, two
// pictures are cross-faded over four frames. Needs that hold what is no number count as closed.
// KB_NO_SPACE.
enum kb_code mouths_plan(const struct mouths *m, const struct mouth_need *needs, int n,
                         struct mouth_choice *ret, struct kb_error *err);

// A grid over the hole between the inner lips: vertex (column i, row k) at index k * MOUTH_COLUMNS
// + i, columns from the left corner to the right, rows from the upper lip to the lower.
#define MOUTH_COLUMNS 21
#define MOUTH_ROWS    15
struct mouth_grid {
    float target[MOUTH_COLUMNS * MOUTH_ROWS][2]; // canonical
    float source[MOUTH_COLUMNS * MOUTH_ROWS][2]; // pixels of the picture `from`, centres at + 0.5
    // Factor of luma: 1 = as it is; darker towards the lips and where the hole is narrow.
    float shade[MOUTH_COLUMNS * MOUTH_ROWS];
    // 0..1: how much of `cavity` is seen over the picture, where the picture has too little.
    float dark[MOUTH_COLUMNS * MOUTH_ROWS];
    struct mouth_picture from;
    struct mouth_light light;  // of `from`
    struct mouth_light cavity; // the mouth's inside behind the teeth, in that light
};
// target: all points of the frame to be made, canonical; person_jaw() tells how far its jaw is
// open.
void mouths_place(const struct mouths *m, int picture, const float (*target)[3],
                  struct mouth_grid *ret);

#endif
