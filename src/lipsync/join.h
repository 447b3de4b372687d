// A film or picture that is shown before or after a dub, in its shape, rate and colours: what has
// other proportions lies on a blurred copy of itself. With its own sound (media/mix.h). Internal to
// lipsync/. Not thread-safe; may move between threads.
#ifndef LIPSYNC_JOIN_H
#define LIPSYNC_JOIN_H

#include "base/watch.h"
#include "finish/finish.h"
#include "media/reader.h"
#include "media/writer.h"

#define JOIN_STILL_US 3000000                  // a picture is shown for so long
#define JOIN_MAX_US   (INT64_C(600) * 1000000) // longer films are films of their own

struct join;

struct join_params {
    const char *path;      // borrowed
    AVRational frame_rate; // of the dub
    int threads;
    const struct cancel *cancel;
};

// Reads through the film once, to know how long it is. KB_NOT_FOUND, KB_BAD_INPUT, KB_NO_SPACE,
// KB_CANCELLED.
enum kb_code join_open(struct join **ret, const struct join_params *p, struct kb_error *err);
int64_t join_frames(const struct join *j);
int64_t join_length_us(const struct join *j); // of so many frames of the dub's rate
bool join_has_sound(const struct join *j);
// What of the sound lies before the first picture.
int64_t join_sound_from_us(const struct join *j);

// The sentence of a film that is longer than JOIN_MAX_US. KB_BAD_INPUT.
enum kb_code join_too_long(const char *path, struct kb_error *err);

struct join_place {
    enum finish_part part;
    int64_t at_us;                 // of the output: where it begins
    struct finish_picture picture; // of the dub, as it leaves the finisher
    struct finisher *finisher;     // or NULL
    struct writer *writer;
    struct watch watch; // told STAGE_GENERATING, frames so far, from 0
};
// Put all frames into the writer, once.
enum kb_code join_play(struct join *j, const struct join_place *place, struct kb_error *err);
void join_close(struct join **j); // NULL is fine

#endif
