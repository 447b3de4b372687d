// Training data out of films of people who speak, in the form that training/ reads: a folder with
//   mel.npy     f32 (rows, 80): the mel of every film, 80 rows a second, 0..63 for Wav2Lip's -4..4
//   motion.npy  f32 (frames, 41, 2): how the 40 points of the lips, in the track's order, and the
//               chin stand away from the person's own closed mouth; canonical units
//               (rig/person.h), without the head's pose: what a listener tells (lipsync/motion.h)
//   index.json  version 2; motion_points (FaceMesh's numbers of the points); the clips: name,
//               frame and n (in motion.npy), mel and mel_n (rows of the film),
//               mel_lead (row of the first frame, from mel on), fps, split (train or val), group
//               ("own") and cluster (-1)
// A clip is a stretch in which the face is always there and frames come at a steady rate. Not
// thread-safe.
#ifndef LAB_DATASET_H
#define LAB_DATASET_H

#include "face/track.h"

struct dataset;

struct dataset_params {
    const char *folder; // made if it is missing
    enum face_choice face;
    int face_number;
    const char *track_folder; // cache of face tracks, or NULL; the caller's until dataset_free()
    int64_t track_limit;      // see track_params
    int threads;              // of the decoder; 0 = 1
};

// KB_BAD_INPUT for a folder that holds training data already. KB_NOT_FOUND, KB_NO_SPACE.
enum kb_code dataset_create(struct dataset **ret, const struct dataset_params *params,
                            struct kb_error *err);

struct dataset_source {
    const char *video;  // with sound
    bool alone;         // the only film: its last tenth is kept for validation (and the second
                        // before that is left out)
    struct watch watch; // STAGE_AUDIO, STAGE_PREPROCESSING
};

// Add the clips of a film. *ret_frames: how many frames they have. KB_NOT_FOUND and KB_BAD_INPUT
// (no sound, or nowhere 25 frames with a face) leave the dataset as it was before.
enum kb_code dataset_add(struct dataset *d, const struct dataset_source *source,
                         struct face_models *faces, int64_t *ret_frames, struct kb_error *err);
// Write the rest. Of several films every tenth is for validation, or the last one. KB_BAD_INPUT
// when there is nothing to train on or nothing to check with. Without a success here
// dataset_free() leaves no training data behind.
enum kb_code dataset_finish(struct dataset *d, struct kb_error *err);
void dataset_free(struct dataset **d); // NULL is fine

#endif
