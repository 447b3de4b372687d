// The face networks: MediaPipe's BlazeFace (short and full range) and FaceMesh with attention (468
// points, those of the lips seen a second time from near), Apache-2.0, read from .tflite files in
// the folder models/face.
// Not thread-safe; may move between threads.
#ifndef FACE_MODELS_H
#define FACE_MODELS_H

#include "base/base.h"

#include <libavutil/frame.h>

#define MESH_POINTS 468

struct face_models;

// Load all three. They run on one thread: they are small, and beside busy decoder and encoder
// threads a second one costs far more in waiting for it than it gives (docs/performance.md).
// KB_NOT_FOUND when the files were not fetched.
enum kb_code face_models_load(struct face_models **ret, struct kb_error *err);
void face_models_free(struct face_models **m);

// A found face, in pixels of the frame.
struct detection {
    float x, y, width, height; // box
    float points[6][2];        // right eye, left eye, nose, mouth, right ear, left ear
    float score;               // 0..1
};

// Faces of a frame, best first, overlaps merged (weighted non-maximum suppression as in
// MediaPipe). Thorough, some 15 ms: the short-range and the full-range network over the whole
// picture, and the latter over overlapping squares of it for small faces. Writes at most capacity,
// returns the number through *ret_n.
enum kb_code face_detect(struct face_models *m, const AVFrame *frame, struct detection *ret,
                         int capacity, int *ret_n, struct kb_error *err);

// 468 landmarks of one face.
struct mesh {
    float points[MESH_POINTS][3]; // x, y in pixels of the frame, z in the same scale (nearer < 0)
    float score;                  // probability that this is a face, 0..1
    float logit;                  // the same before the logistic function, where it is near 1
};

// The region FaceMesh looks at: a rotated square.
struct face_region {
    float cx, cy, size, angle; // pixels, radians
};
struct face_region region_from_detection(const struct detection *d);
struct face_region region_from_mesh(const struct mesh *mesh); // for the next frame
// The same from what a track keeps of a mesh: the box around it (x0, y0, x1, y1) and the outer
// corners of the eyes (points 33 and 263).
struct face_region region_from_box(const float box[4], const float right_eye[2],
                                   const float left_eye[2]);

enum kb_code face_mesh(struct face_models *m, const AVFrame *frame,
                       const struct face_region *region, struct mesh *ret, struct kb_error *err);

#endif
