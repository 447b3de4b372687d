// What a mouth library is made of; shared by the files that make it, choose from it and place it.
// Threads: as mouth.h.
#ifndef RIG_MOUTH_INTERNAL_H
#define RIG_MOUTH_INTERNAL_H

#include "rig/mouth.h"

// person_jaw() against the mean gap of the lips: 0.50 to 0.60 in five films.
#define JAW_OF_GAP       0.55f
#define MOUTH_DRAWN_EDGE 0.016f             // of the drawn upper incisors, below the closed seam
#define LIPS_RIGHT       (TRACK_N_LIPS / 2) // index of the picture's right corner in a ring

struct mouth_entry {
    struct mouth_picture picture;
    struct mouth_light light;
    struct pose pose;             // from canonical to the film's pixels
    float x0, y0, scale;          // from these to the picture's: (p - x0) * scale
    float inner[TRACK_N_LIPS][3]; // canonical
    float jaw;                    // person_jaw()
    float aperture, yaw, pitch;
    // Where the skull's part of the picture ends and where the jaw's begins, canonical, below the
    // closed seam. upper_end <= lower_end.
    float upper_end, lower_end;
};

struct mouths {
    struct person person;
    bool drawn;
    // The same where all pictures agree; the jaw's with the jaw closed.
    float upper_end, lower_end;
    struct mouth_light cavity, cavity_skin; // behind the teeth, in the light of that skin
    uint8_t *pixels;                        // of the drawn one
    int n;
    struct mouth_entry entries[TRACK_MAX_MOUTHS];
};

// The upper or the lower edge of the hole at x: y and z. Beyond the corners: the corner.
struct lip_edge {
    float y, z;
};
struct lip_edge lip_edge_at(const float (*inner)[3], bool lower, float x);

// y of the closed mouth in its middle, canonical.
float mouth_seam(const struct mouths *m);

// How much of the light in front of the mouth reaches a place so far below the upper lip and above
// the lower one (canonical units): the lips' contact shadows.
float mouth_shadow(float below_upper, float above_lower);

// What a picture in a frame costs, and changing to another one there; squares of canonical units.
float mouth_cost(const struct mouth_entry *e, const struct mouth_need *need);
float mouth_switch_cost(const struct mouth_need *need);

// Finds upper_end, lower_end of all and of each, and the cavity in the pictures.
void mouth_find_teeth(struct mouths *m);

// Fills the library's one drawn picture, for a face in this light and of so many pixels in a
// canonical unit.
enum kb_code mouth_draw(struct mouths *m, const struct mouth_light *skin, float scale,
                        struct kb_error *err);

#endif
