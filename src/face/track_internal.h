// What a track is made of; shared by the files that make, keep and read it. Threads: as track.h.
#ifndef FACE_TRACK_INTERNAL_H
#define FACE_TRACK_INTERNAL_H

#include "face/track.h"

// One face in one frame, 1336 bytes: ten minutes at 25 frames a second are 20 MB. Points are
// fractions of the box, which holds all of them by its definition: an error of at most half of
// 1/65535 of the box, 0.01 pixel for a face as high as a 1080p picture. Depth is 1/16384 of the
// box's larger side, so that two sides to the front and to the back can be told, at an error of at
// most 0.03 pixel for such a face.
struct track_record {
    float box[4];
    uint16_t points[TRACK_N_POINTS][2];
    int16_t angles[3]; // yaw, pitch, roll in 1/10000 radian
    uint16_t score;    // 1/65535
    int16_t depth[TRACK_N_POINTS];
    uint16_t cover, zero; // 1/65535
};
_Static_assert(sizeof(struct track_record) == 1336, "the file format has no gaps");

// A picture of the library; its points are those of the frame's record.
struct kept_mouth {
    int32_t frame, width, height;
    float x0, y0, scale;
    uint8_t *pixels; // owned: Y, U and V, one after the other without gaps
};

// Bytes of a mouth's pixels; width and height are even.
static inline size_t mouth_bytes(int width, int height)
{
    return (size_t)width * (size_t)height * 3 / 2;
}
_Static_assert(TRACK_MAX_MOUTHS *TRACK_MOUTH_MAX_WIDTH *TRACK_MOUTH_MAX_WIDTH * 3 / 2 <= 24 << 20,
               "the pictures of a face's mouth take no more than track.h says");

struct track_identity {
    int n_records;
    int32_t *at; // n_frames: index of the record, or -1
    struct track_record *records;
    float skin[3]; // see track_skin
    float hidden;  // track_hidden()
    int n_mouths;
    struct kept_mouth *mouths; // in the order of frames
};

struct track {
    struct track_info info;
    int64_t *pts;           // n_frames, strictly rising
    struct track_cut *cuts; // info.n_cuts, rising
    struct track_identity *faces;
};

// NULL where the face is absent, or there is no such face or frame.
const struct track_record *track_record(const struct track *t, int face, int frame);
// The frames [*first, *end) of the view that this one lies in.
void track_view_around(const struct track *t, int frame, int *first, int *end);
// How far the point is outside of the box; below 0 inside, least in its middle.
float record_distance(const struct track_record *r, const float point[2]);
void record_pack(struct track_record *ret, const struct mesh *mesh);
void record_unpack(const struct track_record *r, struct track_face *ret);
// The kept points of one record and their depth, in pixels of the frame.
void record_points(const struct track_record *r, float (*ret)[3]);
// yaw > 0: turned to the right side of the picture; pitch > 0: looking down; roll > 0: the head
// leans clockwise in the picture.
void mesh_angles(const struct mesh *mesh, float ret[3]);
void mesh_box(const struct mesh *mesh, float ret[4]);

#endif
