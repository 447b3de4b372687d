// Shared by models.c and detector.c. Threads: as models.h.
#ifndef FACE_MODELS_INTERNAL_H
#define FACE_MODELS_INTERNAL_H

#include "face/models.h"
#include "face/warp.h"
#include "nn/session.h"

struct face_models {
    struct session *short_range; // faces within about 2 m: 128 x 128
    struct session *full_range;  // faces within about 5 m: 192 x 192
    struct session *mesh;        // 468 landmarks, 80 of the lips: 192 x 192
};

// How hard to look. DETECT_QUICK: short range, some 2 ms. DETECT_THOROUGH: also the full-range
// network over the whole picture and, for a picture that is far from square, over its squares, some
// 15 ms. DETECT_SMALL: then also over squares of half the side, if nothing was found and the
// picture is large: faces of a thirtieth of its height, up to 50 ms.
enum detect_effort { DETECT_QUICK, DETECT_THOROUGH, DETECT_SMALL };

enum kb_code detect_faces(struct face_models *m, const AVFrame *frame, enum detect_effort effort,
                          struct detection *ret, int capacity, int *ret_n, struct kb_error *err);

// Weighted non-maximum suppression, in place; best first. Returns how many are left.
int detections_merge(struct detection *d, int n);

// Overlap of two boxes x0, y0, x1, y1: intersection over union.
float box_iou(const float a[4], const float b[4]);

#endif
