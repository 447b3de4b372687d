// Where the faces of a video are, for every frame: made once per video, kept as a .kbt file under
// the hash of the video's bytes. docs/track-file.md describes the format.
//
// Coordinates are pixels of the upright, unscaled picture (track_info.width x height).
// Not thread-safe while being made; read-only and safe from any thread afterwards.
#ifndef FACE_TRACK_H
#define FACE_TRACK_H

#include "base/base.h"
#include "base/cancel.h"
#include "base/progress.h"
#include "face/models.h"

// FaceMesh points kept per face and frame.
#define TRACK_OVAL_FIRST   0  // 36 points of the face oval, in order around it
#define TRACK_N_OVAL       36
#define TRACK_OUTER_FIRST  36 // 20 points of the outer lips, in order around
#define TRACK_INNER_FIRST  56 // 20 points of the inner lips, in order around
#define TRACK_N_LIPS       20
#define TRACK_OTHER_FIRST  76 // eyes, nose, brows: 33 133 362 263 168 6 197 195 5 4 1 2 …
#define TRACK_N_POINTS     96
#define TRACK_MAX_FACES    4

extern const uint16_t track_point_ids[TRACK_N_POINTS]; // FaceMesh index of each
// Position of a FaceMesh index among the kept ones, or -1.
int track_point_of(int mesh_index);

struct track;

struct track_info {
    int width, height;
    int n_frames, n_faces;
    int64_t covered_us;  // pts up to which frames were looked at; INT64_MAX = the whole video
    char video_hash[33];
};
const struct track_info *track_info(const struct track *t);

// One face in one frame.
struct track_face {
    bool present;
    float score;
    float yaw, pitch, roll;              // radians, 0 = frontal; from the landmarks' depth
    float box[4];                        // x0, y0, x1, y1 around all 468 points
    float points[TRACK_N_POINTS][2];
};

int64_t track_pts_us(const struct track *t, int frame);
void track_face(const struct track *t, int face, int frame, struct track_face *ret);

// Points smoothed over time with a Gaussian of sigma frames (0 = as measured); only neighbours in
// the same unbroken stretch of frames count. False if the face is absent in this frame.
bool track_points_smooth(const struct track *t, int face, int frame, float sigma,
                         float (*ret)[2]);
// Mean of the boxes of the n frames from this one on, as Wav2Lip's get_smoothened_boxes (window
// moved back at the end of a stretch); n = 1: as measured.
bool track_box_smooth(const struct track *t, int face, int frame, int n, float ret[4]);

// Which face a job animates.
enum face_choice { FACE_LARGEST, FACE_LEFT, FACE_RIGHT, FACE_CENTER, FACE_NUMBER };
// "largest", "left", "right", "center", or a number from 1 (in order of size). False if none of them.
bool face_choice_parse(const char *text, enum face_choice *ret, int *ret_number);
// The face's index, or -1 when there is none (then *err says so, KB_NOT_FOUND is its code).
int track_choose(const struct track *t, enum face_choice choice, int number, struct kb_error *err);

// The picture of a face that the mouth network takes as reference: of all frames, one that is
// sharp, frontal, with the mouth slightly open and the pose nearest to the face's usual one.
struct track_reference {
    int frame;                        // index in the video
    int width, height;                // <= 512: the face box grown by half, scaled down if larger
    const uint8_t *rgb;               // width * height * 3, owned by the track
    float points[TRACK_N_POINTS][2];  // in pixels of rgb
    float box[4];                     // in pixels of rgb
};
void track_reference(const struct track *t, int face, struct track_reference *ret);

// Make a track by decoding the video. limit_us: look no further than that pts (<= 0: everything).
// A video without any face gives a track with n_faces 0. Progress: STAGE_PREPROCESSING.
struct track_params {
    int64_t limit_us;
    int decoder_threads;  // 0 = 1
    int64_t cache_limit;  // track_obtain: bytes of tracks that the folder may keep; 0 = no limit
    const struct cancel *cancel;
    progress_fn *progress;
    void *opaque;
};
enum kb_code track_make(struct track **ret, const char *video_path, struct face_models *models,
                        const struct track_params *params, struct kb_error *err);

enum kb_code track_save(const struct track *t, const char *path, struct kb_error *err);
// KB_BAD_INPUT for anything that is not exactly a track file of this version (magic, version,
// sizes, checksum).
enum kb_code track_load(struct track **ret, const char *path, struct kb_error *err);
void track_free(struct track **t);

// Load folder/HASH.kbt if it is there, valid, and covers the limit; else make it and save it there.
// A damaged file is made anew. folder may be NULL: no cache. A cache that cannot be written is not
// an error. *ret_cached tells (may be NULL).
enum kb_code track_obtain(struct track **ret, const char *video_path, const char *folder,
                          struct face_models *models, const struct track_params *params,
                          bool *ret_cached, struct kb_error *err);

#endif
