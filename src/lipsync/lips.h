// Wav2Lip, as published: a network that paints the lower half of a face. The user brings its
// weights. lips_load: any thread. A struct lips is not thread-safe, but may move between threads.
#ifndef LIPSYNC_LIPS_H
#define LIPSYNC_LIPS_H

#include "media/mel.h"
#include "nn/session.h"

#define LIPS_NAME        "wav2lip" // for people
#define LIPS_SIDE        96        // of the face that the published network sees and paints
#define LIPS_MEL_COLUMNS 16

// Numbers of a face of that side: B, G, R of each pixel, 0..1.
#define LIPS_FLOATS_OF(side) ((size_t)(side) * (size_t)(side)*3)
#define LIPS_FLOATS          (LIPS_SIDE * LIPS_SIDE * 3)

struct lips;

struct lips_params {
    const char *model; // a path
    enum precision precision;
    int batch;                   // frames per run; 0 = what was fastest: 8
    int threads;                 // 0 = 1
    const struct ranges *ranges; // for int8, instead of those that are kept
    const char *cache_folder;  // for what can be made anew: the packed network (HASH-….kbp), and
                               // ranges, and what was measured (tuning-….json); NULL = none
    struct observer *observer; // see session_params
};

// KB_NOT_FOUND, KB_BAD_INPUT (another network: names the missing tensors), KB_NO_SPACE.
enum kb_code lips_load(struct lips **ret, const struct lips_params *params, struct kb_error *err);
void lips_free(struct lips **l);

// The ranges that int8 needs are kept in the model's metadata (key "int8"); or beside the model, as
// MODEL.koubo-int8.json; or in a folder as HASH.koubo-int8.json, HASH being that of the model's
// bytes.
char *lips_ranges_path(const char *model_path); // beside the model; free()
// Keep them beside the model or, where that cannot be, in folder (may be NULL). *ret_path: where;
// free().
enum kb_code lips_ranges_save(char **ret_path, const struct ranges *r, const char *model_path,
                              const char *folder, struct kb_error *err);

// Where what was measured on this machine is kept in a cache folder (nn/tuning.h): one file for
// each library and instruction set, for machines may share the folder. free().
char *lips_tuning_path(const char *folder);

enum precision lips_precision(const struct lips *l);
bool lips_was_measured(const struct lips *l); // the precision was auto, and chosen by a tuning
// What --precision auto means for networks kept in this cache folder (may be NULL): as it was
// measured on this machine, *ret_measured (may be NULL) then, else by a rule.
enum precision lips_auto(const char *cache_folder, bool has_ranges, bool *ret_measured);
int lips_batch(const struct lips *l);
int lips_side(const struct lips *l); // LIPS_SIDE, or what the graph of an .onnx file says
// Whether another one loaded with the same parameters shares its weights, so that each processor
// may have one of its own.
bool lips_wants_lanes(const struct lips *l);
// Where frame i of the batch wants its mel window (LIPS_MEL_COLUMNS * 80 floats, band-major as
// mel_window() writes it), and its face: lips_side() squared pixels of 6 floats, the target with
// its lower half at 0, then the same whole.
float *lips_mel(struct lips *l, int i);
float *lips_face(struct lips *l, int i);
// The column of the mel at which the window of a frame starts: rounded down, and moved back where
// the mel ends before it.
int lips_mel_start(const struct mel *mel, int64_t pts_us);
// Run all of the batch (unused places cost as much as used ones).
enum kb_code lips_run(struct lips *l, struct kb_error *err);
// LIPS_FLOATS_OF(lips_side()) of frame i.
const float *lips_output(const struct lips *l, int i);

#endif
