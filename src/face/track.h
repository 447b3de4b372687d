// Where the faces of a video are, for every frame: made once per video, kept as a .kbt file under
// the hash of the video's bytes. docs/track-file.md describes the format.
//
// Coordinates are pixels of the upright, unscaled picture (track_info.width x height).
// Not thread-safe while being made; read-only and safe from any thread afterwards.
#ifndef FACE_TRACK_H
#define FACE_TRACK_H

#include "base/base.h"
#include "base/watch.h"
#include "face/models.h"

// FaceMesh points kept per face and frame.
#define TRACK_OVAL_FIRST   0 // 36 points of the face oval, in order around it
#define TRACK_N_OVAL       36
#define TRACK_OUTER_FIRST  36 // 20 points of the outer lips, in order around
#define TRACK_INNER_FIRST  56 // 20 points of the inner lips, in order around
#define TRACK_N_LIPS       20
#define TRACK_OTHER_FIRST  76  // eyes, nose, brows: 33 133 362 263 168 6 197 195 5 4 1 2 …
#define TRACK_MIDDLE_FIRST 96  // 20 points between outer and inner lips, in order around
#define TRACK_LOWER_FIRST  116 // 49 of chin, jaw and cheeks, which follow the lips
#define TRACK_N_LOWER      49
#define TRACK_STILL_FIRST  165 // 29 of nose, cheeks and forehead, which do not
#define TRACK_N_STILL      29
#define TRACK_LIDS_FIRST                                                                           \
    194 // 24 of the lids: with 33 133 159 145, and 362 263 386 374, two rings of 16
#define TRACK_N_POINTS    218
#define TRACK_MAX_AT_ONCE 4  // faces that are followed at a time
#define TRACK_MAX_FACES   32 // of a film with cuts; of one view TRACK_MAX_AT_ONCE

extern const uint16_t track_point_ids[TRACK_N_POINTS]; // FaceMesh index of each
// Position of a FaceMesh index among the kept ones, or -1.
int track_point_of(int mesh_index);

struct track;

struct track_info {
    int width, height;
    int n_frames, n_faces, n_cuts;
    int64_t covered_us; // pts up to which frames were looked at; INT64_MAX = the whole video
    char video_hash[33];
};
const struct track_info *track_info(const struct track *t);

// One face in one frame.
struct track_face {
    bool present;
    float score;
    float cover; // of the mouth by something else: 0 = it looks as ever, 1 = surely covered
    float yaw, pitch, roll; // radians, 0 = frontal; from the landmarks' depth
    float box[4];           // x0, y0, x1, y1 around all 468 points
    float points[TRACK_N_POINTS][2];
    float depth[TRACK_N_POINTS]; // in the scale of the points; nearer < 0
};

int64_t track_pts_us(const struct track *t, int frame);
void track_face(const struct track *t, int face, int frame, struct track_face *ret);

// Where the film is cut (face/cut.h), in the order of frames. A view is what lies between two cuts
// that are no jumps; who is seen in two views is one face where that could be told
// (face/likeness.h), else two.
struct track_cut {
    int32_t frame; // the first one after it, 1 or more
    int32_t jump;  // 1: the same view goes on, with the same faces; 0: another view
};
const struct track_cut *track_cuts(const struct track *t); // info.n_cuts of them
// Number of the stretch without any cut that the frame lies in; from 0.
int track_shot(const struct track *t, int frame);

// The part of the lower lip that is not seen in most frames, 0..1: a microphone before the mouth
// all the time, which `cover` does not tell.
float track_hidden(const struct track *t, int face);

// Points smoothed over time with a Gaussian of sigma frames (0 = as measured); only neighbours in
// the same unbroken stretch of frames count, and none beyond a cut. False if the face is absent in
// this frame.
bool track_points_smooth(const struct track *t, int face, int frame, float sigma, float (*ret)[2]);
// The same with depth as the third coordinate.
bool track_points3_smooth(const struct track *t, int face, int frame, float sigma, float (*ret)[3]);
// Mean of the boxes of the n frames from this one on, as Wav2Lip's get_smoothened_boxes (window
// moved back at the end of a stretch or before a cut); n = 1: as measured.
bool track_box_smooth(const struct track *t, int face, int frame, int n, float ret[4]);

// Which face a job animates.
enum face_choice { FACE_LARGEST, FACE_LEFT, FACE_RIGHT, FACE_CENTER, FACE_NUMBER, FACE_AT };
// "largest", "left", "right", "center", or a number from 1 (in order of size). False if none of
// them.
bool face_choice_parse(const char *text, enum face_choice *ret, int *ret_number);
// The face's index, or -1 when there is none (then *err says so, KB_NOT_FOUND is its code).
int track_choose(const struct track *t, enum face_choice choice, int number, struct kb_error *err);
// FACE_AT: who is at a point of the film: x and y, 0..1 from the left and top of the upright
// picture, and when that picture is shown, in seconds from the first one; < 0: not said. They are
// looked for from that picture outwards, first in its view: in the frame nearest to it in which a
// face's box holds the point; if there is none, who comes nearest to the point in any. Where
// nothing was said it begins at the first frame; where the track ends before, at its last.
int track_choose_at(const struct track *t, const double at[3], struct kb_error *err);
// "0.25,0.4" or "0.25,0.4,12.5": two numbers from 0 to 1, and seconds (-1 if they are not there).
// False if it is anything else.
bool face_at_parse(const char *text, double ret[3]);

// Mean Y, U and V (8 bits) of the skin around the mouth, over all frames with the face.
void track_skin(const struct track *t, int face, float ret[3]);

// The mouth library: the film's own pixels around the mouth from frames in which it shows what
// other frames hide: teeth, tongue, open mouths, in the poses that occur. Chosen while tracking so
// that they cover them; at most TRACK_MAX_MOUTHS and 24 MB a face.
#define TRACK_MAX_MOUTHS      64
#define TRACK_MOUTH_MAX_WIDTH 512
struct track_mouth {
    int frame;         // index in the video
    int width, height; // of Y, even; U and V have half of both
    float x0, y0;      // where its first pixel's corner lies in the picture
    float scale;       // its pixels per pixel of the picture, 1 unless the mouth was wider than
                       // TRACK_MOUTH_MAX_WIDTH
    const uint8_t *planes[3];        // owned by the track; strides width, width / 2, width / 2
    float points[TRACK_N_POINTS][3]; // in pixels of the picture, as the frame's record has them
};
int track_n_mouths(const struct track *t, int face);
void track_mouth(const struct track *t, int face, int i, struct track_mouth *ret);

// Make a track by decoding the video. limit_us: look no further than that pts (<= 0: everything).
// A video without any face gives a track with n_faces 0. Progress: STAGE_PREPROCESSING.
struct reader;
struct track_params {
    int64_t limit_us;
    const char *video_hash; // file_hash() of the video, where it is known; NULL: it is computed
    struct reader *film;    // the video, if it is open; left somewhere in it. NULL: it is opened
    int decoder_threads;    // 0 = 1
    bool look;              // track_obtain: kept apart (HASH-look.kbt) unless it has the whole film
    bool deep;              // as reader_params: its library of mouths has those colours
    int64_t cache_limit;    // track_obtain: bytes of tracks that the folder may keep; 0 = no limit
    struct watch watch;
};
enum kb_code track_make(struct track **ret, const char *video_path, struct face_models *models,
                        const struct track_params *params, struct kb_error *err);

enum kb_code track_save(const struct track *t, const char *path, struct kb_error *err);
// KB_BAD_INPUT for anything that is not exactly a track file of this version (magic, version,
// sizes, checksum).
enum kb_code track_load(struct track **ret, const char *path, struct kb_error *err);
void track_free(struct track **t);

// Load folder/HASH.kbt (HASH-deep.kbt of a deep one) if it is there, valid, and covers the limit;
// else make it and save it there. A damaged file is made anew. folder may be NULL: no cache. A
// cache that cannot be written is not an error. *ret_cached tells (may be NULL). With `look` the
// track of some seconds never takes the place of one of all that a job needs, nor is taken for it:
// HASH-look.kbt (HASH-deep-look.kbt) is where it is kept, and looked for second.
enum kb_code track_obtain(struct track **ret, const char *video_path, const char *folder,
                          struct face_models *models, const struct track_params *params,
                          bool *ret_cached, struct kb_error *err);

#endif
