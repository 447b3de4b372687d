// The judge of sync: how far the sound of a film is off from the lips of the face in it, and how
// sure that is. It needs no true video.
//
// Two small networks look at the motion of the lips and listen to the mel, both 40 times a second,
// and give a vector of length 1 each; their product says how well that moment of the lips goes with
// that moment of the sound. Summed over a film for every lag in question, the best lag is the
// offset (after Chung and Zisserman 2016, "Out of time", with points instead of pictures). The file
// is `models/koubo-sync.safetensors`; docs/models.md has its contract, models/README.md its
// figures.
//
// A struct sync_judge is not thread-safe (it runs networks); a struct sync_result is plain data.
#ifndef LIPSYNC_SYNC_H
#define LIPSYNC_SYNC_H

#include "base/cancel.h"
#include "face/track.h"
#include "media/mel.h"
#include "nn/tensor.h"
#include "rig/person.h"

#define SYNC_RATE_HZ    40   // moments a second
#define SYNC_MAX_LAG_MS 600  // lags that are tried: this far both ways
#define SYNC_WINDOW_MS  4000 // a window; the next one begins half a window later
#define SYNC_MIN_MS     1500 // of lips and voice; less is no film to judge

struct sync_judge;

// Does the set say that it is a judge of sync?
bool sync_recognize(const struct tensor_set *set);

// model: a path, or NULL / "koubo-sync" for the bundled one. KB_NOT_FOUND, KB_BAD_INPUT (not a
// judge, or one of another version).
enum kb_code sync_judge_load(struct sync_judge **ret, const char *model, int threads,
                             struct kb_error *err);
void sync_judge_free(struct sync_judge **j); // NULL is fine

// What the judge says of a stretch of film.
struct sync_fit {
    double offset_ms; // > 0: the sound is late, its events come after those of the lips
    // 0..1: how probable it is that the sound belongs to these lips and that it is off by
    // offset_ms, give or take 40 ms (a frame of 25 a second). Fitted on clips of people whom the
    // judge had not seen, half of them with the sound of others.
    double sureness;
    double agreement; // -1..1: mean product of the vectors at that offset
};

// A window of the film. Where the face is seen for less than a second of it, or no voice is heard,
// there is nothing to say: sureness 0.
struct sync_window {
    int64_t begin_us, end_us; // of the film, as its track counts
    struct sync_fit fit;
};

struct sync_result {
    struct sync_fit film; // all of the film at one offset
    int64_t judged_us;    // how much of it showed the face and had a voice around
    int n_windows;
    struct sync_window *windows; // in order; a film shorter than a window is one
};

// A face of a track against the sound of its film. The first picture is shown start_us after the
// mel begins (reader_info.start_us with a mel_from_file() of the same film; mostly 0). All frames
// are used, frame rates may vary; the lips are unposed by person, which is of this face.
// KB_BAD_INPUT, each with its own sentence: the face is seen for less than SYNC_MIN_MS; the mouth
// does not move (a still picture); no voice is heard (voice.h) while the face is seen.
// KB_CANCELLED, KB_NO_SPACE. *ret is untouched on failure.
enum kb_code sync_measure(struct sync_result *ret, struct sync_judge *j, const struct track *t,
                          int face, const struct person *person, const struct mel *mel,
                          int64_t start_us, const struct cancel *cancel, struct kb_error *err);
void sync_result_clear(struct sync_result *r); // frees the windows

#endif
