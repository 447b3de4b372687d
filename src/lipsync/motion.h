// From speech to lip motion: what the 40 lip points do, 40 times a second, whoever speaks.
//
// The network is a listener, `models/koubo-lips-research.safetensors` or one of its kind;
// docs/models.md has the contract of its file. It runs once over the whole speech before the first
// frame is drawn: some milliseconds for a second of it.
//
// motion_*: a struct motion is read-only once made, any thread. A struct motion_model is not
// thread-safe.
#ifndef LIPSYNC_MOTION_H
#define LIPSYNC_MOTION_H

#include "base/watch.h"
#include "media/mel.h"
#include "nn/tensor.h"

#define MOTION_RATE_HZ 40
#define MOTION_POINTS  40 // 20 outer lips, 20 inner lips, in the track's order

struct motion_model;

// Does the set say that it is a listener?
bool motion_recognize(const struct tensor_set *set);

// model: a path, the name of a bundled one, or NULL for MODEL_BUNDLED (base/file.h). KB_NOT_FOUND,
// KB_BAD_INPUT (not a listener).
enum kb_code motion_model_load(struct motion_model **ret, const char *model, int threads,
                               struct kb_error *err);
void motion_model_free(struct motion_model **m);
// The name in the file ("koubo-lips-research").
const char *motion_model_name(const struct motion_model *m);
// file_hash() of its file.
const char *motion_model_hash(const struct motion_model *m);

// Displacements of a speech in canonical units (rig/person.h) from the speaker's closed mouth, as a
// mean speaker moves.
struct motion {
    int n; // samples; sample i stands at i / MOTION_RATE_HZ seconds
    float (*delta)[MOTION_POINTS][2];
    float *voice; // 0..1: how much of a voice is heard; 0 in silence
};

// Progress: STAGE_AUDIO, done and total in samples. KB_CANCELLED.
enum kb_code motion_run(struct motion **ret, struct motion_model *m, const struct mel *mel,
                        const struct watch *watch, struct kb_error *err);
void motion_free(struct motion **m); // NULL is fine

// The displacements at a time, interpolated (cubic), times `amount`; silence fades them to 0, so
// that the mouth closes. Before the first and after the last sample: that sample's.
void motion_at(const struct motion *m, int64_t pts_us, float amount, float ret[MOTION_POINTS][2]);
// Mean height of the nine gaps of the inner lips, of MOTION_POINTS points.
float motion_opening(const float (*points)[2]);
// 5 % and 95 % of values, which get sorted; 0, 0 if there are none.
void motion_spread(float *values, int n, float *ret_low, float *ret_high);
// The spread of the opening over the voiced samples.
void motion_range(const struct motion *m, float *ret_low, float *ret_high);

#endif
