// The sound of a file on its way into an mp4: AAC packets as they are, or encoded anew. Either way
// it stands where sound.h has it: what lips are made from is what is heard. Not thread-safe; may
// move between threads.
#ifndef MEDIA_SOUNDTRACK_H
#define MEDIA_SOUNDTRACK_H

#include "base/base.h"
#include "media/mix.h"
#include "media/mux.h"
#include "media/sound.h"

struct soundtrack;

struct soundtrack_params {
    const char *path;
    // What was found when it was read to its end, or NULL. Packets of a sound that is whole may be
    // copied; one with holes, damage or several formats is encoded anew, as it was read, and what
    // is above 0 dB is scaled.
    const struct sound_facts *facts; // borrowed while soundtrack_open() runs
    bool loudnorm;
    const struct mix_params *mix; // this instead of path; NULL: none. Its strings are borrowed
    int64_t from_us; // begins there: what comes before is read and not written; then encoded anew
};

// Adds a stream to mux, which must not have been started. mux must outlive the soundtrack.
enum kb_code soundtrack_open(struct soundtrack **ret, struct mux *mux,
                             const struct soundtrack_params *params, struct kb_error *err);
// Write what ends at or before until_us.
enum kb_code soundtrack_write(struct soundtrack *t, int64_t until_us, struct kb_error *err);
// Write the rest up to end_us.
enum kb_code soundtrack_finish(struct soundtrack *t, int64_t end_us, struct kb_error *err);
void soundtrack_close(struct soundtrack **t);

#endif
