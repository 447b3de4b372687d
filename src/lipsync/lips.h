// The mouth network: which crop it wants, which window of the mel, what it gives back. Everything
// that differs between networks is data in struct lips_spec; no code asks for a network's name.
// lips_load: any thread. A struct lips is not thread-safe, but may move between threads.
#ifndef LIPSYNC_LIPS_H
#define LIPSYNC_LIPS_H

#include "face/track.h"
#include "media/mel.h"
#include "nn/session.h"

struct lips_spec {
    char name[64];             // "koubo-lips", "wav2lip"
    int width, height;         // of the face the network sees
    int out_width, out_height; // of what it gives, rows out_top … of the face
    int out_top;
    bool bgr;
    int mask_top; // rows mask_top … height-1 of the target are set to 0
    int mel_columns;
    double mel_offset_s; // the window starts at 80 * (t + mel_offset_s) columns
    bool mel_round;      // to the nearest column; else down, as published Wav2Lip does
    bool mel_inside;     // a window past the end is moved back inside, as published Wav2Lip does;
                         // else the last column is repeated
    bool reference_is_self; // the frame itself (Wav2Lip); else one chosen frame of the person
    // The crop: a similarity through these points (n_points > 0), else the landmarks' box.
    int n_points;
    int points[16];         // positions among the track's points
    float canonical[16][2]; // where they go, fractions of the crop's side
};

struct lips;

struct lips_params {
    const char *model; // a path, or NULL / "koubo-lips" for the bundled weights
    enum precision precision;
    int batch;          // frames per run; 0 = what was fastest: 4, large networks 8
    int threads;        // 0 = 1
    bool beside_others; // decoder and encoder run at the same time: a network under 1 GMAC a
                        // frame then takes one thread and leaves them the rest
    const struct ranges *ranges; // for int8, instead of those that are kept
    const char *cache_folder;    // for what can be made anew: the packed network (HASH-….kbp), and
                                 // ranges; NULL = none
    struct observer *observer;   // see session_params
};

// KB_NOT_FOUND, KB_BAD_INPUT (another network: names the missing tensors), KB_NO_SPACE.
enum kb_code lips_load(struct lips **ret, const struct lips_params *params, struct kb_error *err);
void lips_free(struct lips **l);

// The ranges that int8 needs are kept in the model's metadata (key "int8"); or beside the model, as
// MODEL.koubo-int8.json; or in a folder as HASH.koubo-int8.json, HASH being that of the model's bytes.
char *lips_ranges_path(const char *model_path); // beside the model; free()
// Keep them beside the model or, where that cannot be, in folder (may be NULL). *ret_path: where;
// free().
enum kb_code lips_ranges_save(char **ret_path, const struct ranges *r, const char *model_path,
                              const char *folder, struct kb_error *err);
// The file behind --model: a path, or the name of a shipped model. KB_NOT_FOUND; free() the path.
enum kb_code lips_find(char **ret, const char *model, struct kb_error *err);

const struct lips_spec *lips_spec(const struct lips *l);
enum precision lips_precision(const struct lips *l);
int lips_batch(const struct lips *l);
// Whether it is worth a thread of its own for each processor: it is large, and another one loaded with
// the same parameters shares its weights.
bool lips_wants_lanes(const struct lips *l);
// Where frame i of the batch wants its mel window (mel_columns * 80 floats, band-major as
// mel_window() writes it), and its face: height * width pixels of 6 floats, 0..1: the target with
// the rows from mask_top on at 0, then the reference.
float *lips_mel(struct lips *l, int i);
float *lips_face(struct lips *l, int i);
// The column of the mel at which the window of a frame starts.
int lips_mel_start(const struct lips_spec *s, const struct mel *mel, int64_t pts_us);
// Run all of the batch (unused places cost as much as used ones).
enum kb_code lips_run(struct lips *l, struct kb_error *err);
// out_height * out_width pixels of 3 floats, 0..1, in the spec's channel order.
const float *lips_output(const struct lips *l, int i);

int64_t lips_params_count(const struct lips *l); // numbers the network learnt

#endif
