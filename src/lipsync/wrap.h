// What is around a dub in its output: a film before it, one after it, music under it. Internal to
// lipsync/. Not thread-safe.
#ifndef LIPSYNC_WRAP_H
#define LIPSYNC_WRAP_H

#include "lipsync/dub.h"
#include "lipsync/join.h"
#include "lipsync/timeline.h"
#include "media/mix.h"

// All-zero is closed.
struct wrap {
    struct join *intro, *outro; // or NULL
    int64_t before_us;          // where the dub begins
    int64_t dub_us;    // how long it is: with something after it, to its last picture's end
    int64_t output_us; // all of it
    bool mixed;        // the sound is mix, not that of the speech alone
    struct mix_params mix;
    struct watch watch;                  // of who is told
    int64_t frames_before, frames_after; // of others than who reports
};

// length_us: of the dub. speech: what mel_sound() says of it. Its parameters must outlive *ret,
// which is cleared on failure.
enum kb_code wrap_open(struct wrap *ret, const struct dub_params *p,
                       const struct timeline_params *source, AVRational frame_rate,
                       const struct sound_facts *speech, int64_t speech_us, struct kb_error *err);
// What wrap_open() does last: the sound of all, once its lengths are there. Music is under the
// speech and under all that has no sound of its own.
void wrap_plan_mix(struct wrap *w, const struct dub_params *p, const struct sound_facts *speech,
                   int64_t speech_us);
// Who is told of the dub's frames while others come before and after.
struct watch wrap_watch(struct wrap *w, const struct watch *watch);
// Put the frames of the intro, or outro, into the writer; nothing if there is none.
enum kb_code wrap_play(struct wrap *w, enum finish_part part, const struct finish_picture *picture,
                       struct finisher *finisher, struct writer *writer, int64_t *ret_frames,
                       struct kb_error *err);
void wrap_clear(struct wrap *w);

#endif
