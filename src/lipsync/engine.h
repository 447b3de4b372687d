// What a process loads once for all its dubs: what makes the mouth, and the face networks.
// Not thread-safe: one dub at a time.
#ifndef LIPSYNC_ENGINE_H
#define LIPSYNC_ENGINE_H

#include "base/watch.h"
#include "face/models.h"
#include "face/track.h"
#include "lipsync/lips.h"
#include "lipsync/motion.h"
#include "media/mel.h"
#include "rig/follow.h"

struct engine_params {
    const char *model; // NULL = bundled
    enum precision precision;
    int batch;                // 0 = default
    int threads;              // for the whole process; 0 = all processors
    const char *cache_folder; // see lips_params
    struct watch watch;       // STAGE_LOADING, 0..2
};

#define ENGINE_MAX_LANES 4

struct engine {
    // What makes the mouth: the listener and what the skin does with its motion, for the rig
    // (koubo-lips-research); or a network that paints (Wav2Lip). The other ones are NULL; follow is
    // not once such a network has led the rig.
    struct motion_model *motion;
    struct follow *follow;
    struct lips *lips;
    struct face_models *faces;
    // The network once for each thread that is to run it, lips first. A large network runs faster
    // as several single threads than as one in several, which wait for each other whenever decoder
    // or encoder take a processor; packed they share their weights.
    struct lips *lanes[ENGINE_MAX_LANES];
    int n_lanes;
    // --- private
    bool wants_ranges; // int8 would be the fastest here, but nobody knows the ranges yet
    char *model, *cache_folder;
    int batch, threads;
};

// For people: the model's name, and the precision it runs in.
const char *engine_name(const struct engine *e);
const char *engine_precision(const struct engine *e);

enum kb_code engine_load(struct engine *ret, const struct engine_params *params,
                         struct kb_error *err);
void engine_free(struct engine *e); // an all-zero engine is fine

// If the precision is auto and int8 only lacks the ranges of this model, find them on the first
// frames of a video (some seconds, once), keep them, and go on in int8. Where int8 comes out worse
// than 36 dB of f32, or too few faces are seen, the engine stays as it is: that is no error.
// Progress: STAGE_PREPROCESSING. KB_CANCELLED.
enum kb_code engine_prepare_int8(struct engine *e, const char *video, const struct track *track,
                                 const struct mel *mel, const struct watch *watch,
                                 struct kb_error *err);

// For --paint no (lead.h): loads what the rig needs beside a network that paints, once.
// KB_BAD_INPUT if the network paints nothing; KB_NOT_FOUND.
enum kb_code engine_prepare_lead(struct engine *e, struct kb_error *err);

// As many threads as were asked for; 0 or less: one a processor. Thread-safe.
int engine_threads(int wanted);

#endif
