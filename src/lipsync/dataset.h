// Training data out of films of people who speak, in the form that training/ reads: a folder with
//   faces.mp4   the crops of all clips one after another, as the mouth network sees them
//   mel.npy     (rows, 80): the mel of every film, 80 rows a second, 0..63 for Wav2Lip's -4..4
//   lips.npy    (frames, 40, 2): lip landmarks in half pixels of the crop, 20 outer, 20 inner
//   index.json  the clips: name, frame and n (in faces.mp4), mel and mel_n (rows of the film),
//               mel_lead (row of the first frame, from mel on), fps, split (train or val)
// A clip is a stretch in which the face is always there. Not thread-safe.
#ifndef LIPSYNC_DATASET_H
#define LIPSYNC_DATASET_H

#include "face/track.h"
#include "lipsync/lips.h"

struct dataset;

struct dataset_params {
    const char *folder; // made if it is missing
    const char *model;  // whose crops are wanted; NULL = bundled
    enum face_choice face;
    int face_number;
    const char *track_folder; // cache of face tracks, or NULL
    int64_t track_limit;      // see track_params
    int threads;              // of decoder and encoder; 0 = 1
    const struct cancel *cancel;
};

// Which part of a film is kept for validation: none, all, or its last tenth (a second before that
// belongs to neither).
enum dataset_split { SPLIT_TRAIN, SPLIT_VAL, SPLIT_TAIL };

// KB_BAD_INPUT for a model that crops by the landmarks' box (Wav2Lip), KB_NOT_FOUND, KB_NO_SPACE.
enum kb_code dataset_create(struct dataset **ret, const struct dataset_params *params,
                            struct kb_error *err);

struct dataset_source {
    const char *video; // with sound
    enum dataset_split split;
    progress_fn *progress; // STAGE_AUDIO, STAGE_PREPROCESSING, then STAGE_GENERATING in frames
    void *opaque;
};

// Add the clips of a film. *ret_frames: how many frames they have. KB_NOT_FOUND and KB_BAD_INPUT
// (no sound, or no face for a second or longer) leave the dataset as it was before.
enum kb_code dataset_add(struct dataset *d, const struct dataset_source *source,
                         struct face_models *faces, int64_t *ret_frames, struct kb_error *err);
// Write the rest; KB_BAD_INPUT when no film gave anything to train on. Without it, dataset_free()
// leaves no file behind.
enum kb_code dataset_finish(struct dataset *d, struct kb_error *err);
void dataset_free(struct dataset **d); // NULL is fine

#endif
