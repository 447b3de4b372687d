// What a track is made of; shared by the files that make, keep and read it.
#ifndef FACE_TRACK_INTERNAL_H
#define FACE_TRACK_INTERNAL_H

#include "face/track.h"

// One face in one frame, 408 bytes: ten minutes at 25 frames a second are 6 MB. Points are
// fractions of the box, which holds all of them by its definition: an error of at most half of
// 1/65535 of the box, 0.01 pixel for a face as high as a 1080p picture.
struct track_record {
    float box[4];
    uint16_t points[TRACK_N_POINTS][2];
    int16_t angles[3]; // yaw, pitch, roll in 1/10000 radian
    uint16_t score;    // 1/65535
};
_Static_assert(sizeof(struct track_record) == 408, "the file format has no gaps");

struct track_identity {
    int n_records;
    int32_t *at; // n_frames: index of the record, or -1
    struct track_record *records;
    struct track_reference reference; // rgb is owned here
};

struct track {
    struct track_info info;
    int64_t *pts; // n_frames, strictly rising
    struct track_identity *faces;
};

#define REFERENCE_MAX_SIDE 512

void record_pack(struct track_record *ret, const struct mesh *mesh);
void record_unpack(const struct track_record *r, struct track_face *ret);
// The kept points of one record, in pixels of the frame.
void record_points(const struct track_record *r, float (*ret)[2]);
// yaw > 0: turned to the right side of the picture; pitch > 0: looking down; roll > 0: the head
// leans clockwise in the picture.
void mesh_angles(const struct mesh *mesh, float ret[3]);
void mesh_box(const struct mesh *mesh, float ret[4]);

#endif
