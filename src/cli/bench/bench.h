// What the files of koubo bench share: the folder of one run, the materials made in it, and the
// measurements. Main thread of one process each; every measurement and every material has a process
// of its own, so nothing that one of them loads or caches helps the next.
#ifndef CLI_BENCH_BENCH_H
#define CLI_BENCH_BENCH_H

#include "base/base.h"
#include "face/track.h"
#include "lipsync/lips.h"
#include "media/reader.h"

// Files that measurements read. Made when first needed.
enum material {
    MATERIAL_SPEECH = 1 << 0,      // speech.wav: at least 60 s
    MATERIAL_CLIP = 1 << 1,        // clip.mp4: 60 s, 1280x720, 25 frames a second, one face
    MATERIAL_FULL_HD = 1 << 2,     // full_hd.mp4: 20 s, 1920x1080
    MATERIAL_WAV2LIP = 1 << 3,     // wav2lip.safetensors: the published network, random weights
    MATERIAL_TRACK = 1 << 4,       // the clip's face track, in the cache
    MATERIAL_LONG_SPEECH = 1 << 5, // long_speech.wav: at least 600 s
    MATERIAL_LONG_FILMS = 1 << 6,  // full_hd_60.mp4, _300, _600: full_hd.mp4 again and again
    MATERIAL_PACKS = 1 << 7,       // networks/: Wav2Lip, packed
};
#define N_MATERIALS 8

struct bench_part;

struct bench {
    const char *folder;    // private, removed at the end
    const char *user_clip; // --clip, or NULL: a clip is made
};

// Where a file of this name lies in the folder; free(). bench_clip: the user's clip or ours.
char *bench_path(const struct bench *b, const char *name);
char *bench_clip(const struct bench *b);

// Wav2Lip as the part measures it. ranges and observer as in lips_params.
enum kb_code bench_load(struct lips **ret, const struct bench *b, const struct bench_part *part,
                        const struct ranges *ranges, struct observer *observer,
                        struct kb_error *err);

// The first frames of a film, decoded.
#define BENCH_FRAMES 48
struct bench_frames {
    AVFrame *at[BENCH_FRAMES];
    int n;
};
enum kb_code bench_frames_read(struct bench_frames *f, struct reader *reader, struct kb_error *err);
void bench_frames_free(struct bench_frames *f);
// Look for faces in a film up to a time; *ret_us: how long that took.
enum kb_code bench_track(struct track **ret, const char *film, int64_t limit_us, int64_t *ret_us,
                         struct kb_error *err);

enum kb_code bench_make(const struct bench *b, enum material m, struct kb_error *err);
const char *bench_material_title(enum material m);

// Where the number of a measurement comes from.
enum bench_source {
    BENCH_RETURNED, // run() gives it
    BENCH_WALL,     // run() becomes another program: seconds until that ends
};

// What finish.* draws.
enum bench_step { BENCH_COLOUR, BENCH_BLUR, BENCH_CROP, BENCH_LOGO, BENCH_CAPTIONS, BENCH_LABEL };

struct bench_part {
    const char *key, *unit;
    enum kb_code (*run)(const struct bench *b, const struct bench_part *part, double *ret,
                        struct kb_error *err);
    enum bench_source source;
    const char *memory_key; // BENCH_WALL: its peak of resident memory in MB (2^20 bytes); NULL = no
    unsigned needs, leaves; // sets of enum material
    int repeat;             // unless --repeat is given; 0 = 5
    bool wav2lip;           // paints whole jobs, else the rig moves
    bool packed;            // load.*: from networks/
    bool full_hd;           // rig.*: full_hd.mp4, else the clip
    enum bench_step step;   // finish.*
    bool wall;              // finish.*: frames a second, else processor time of one
    enum precision precision;
    int seconds; // of speech, for whole jobs
};

// Measure Wav2Lip's layers, keep in the cache folder what is fastest here, and print it.
enum kb_code bench_tune(struct kb_error *err);

// Of the default way: how many seconds of speech the listener hears in one, and the milliseconds of
// processor time that moving the lips of a frame takes.
enum kb_code bench_listener(const struct bench *b, const struct bench_part *part, double *ret,
                            struct kb_error *err);
enum kb_code bench_rig(const struct bench *b, const struct bench_part *part, double *ret,
                       struct kb_error *err);

// What is drawn after the mouth, alone: frames a second on all processors, or milliseconds of
// processor time a frame.
enum kb_code bench_finish(const struct bench *b, const struct bench_part *part, double *ret,
                          struct kb_error *err);

extern const struct bench_part bench_parts[];
extern const size_t bench_n_parts;

#endif
