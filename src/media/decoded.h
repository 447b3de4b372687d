// The sound of a file as it was recorded, frame after frame without a gap: decoded, with silence
// where something is missing or damaged. Internal to media/.
// Not thread-safe; may move between threads.
#ifndef MEDIA_DECODED_H
#define MEDIA_DECODED_H

#include "media/clock.h"
#include "media/demux.h"
#include "media/sound.h"

// A frame that waits until those behind it are known.
struct upcoming {
    AVFrame *frame;
    struct piece piece;
    bool damaged; // something before it did not decode
};

// All-zero is closed. Stays where it is while it is open.
struct decoded {
    char *path;
    struct demux source; // of the part that is being read; closed between two
    int n_parts;
    int64_t part_at;     // byte of the file where the source begins
    int64_t duration_us; // as demux_duration_us() said of the first part
    float gain;          // of float samples
    struct sound_facts facts;
    // --- private
    const struct cancel *cancel;
    struct upcoming ahead[CLOCK_AHEAD];
    int n_ahead;
    bool is_lossy;
    bool ended;      // nothing is left to decode
    bool placed;     // ahead[0] is, with so much silence before it
    int64_t silence; // samples
    struct clock clock;
    int64_t n_broken;    // of the source, when the last frame came
    int format, rate_hz; // of the last frame that was given, or of ahead[0]
    AVChannelLayout layout;
};

// gain: 0 = 1. KB_NOT_FOUND, KB_BAD_INPUT (no sound, or none that decodes), KB_NO_SPACE. On failure
// *d is closed.
enum kb_code decoded_open(struct decoded *d, const char *path, float gain,
                          const struct cancel *cancel, struct kb_error *err);
// The first frame, which is still to come; NULL after all of them. The decoder's.
const AVFrame *decoded_first(const struct decoded *d);
// The next frame, the caller's. KB_EOF, KB_CANCELLED.
enum kb_code decoded_next(struct decoded *d, AVFrame **ret, struct kb_error *err);
void decoded_close(struct decoded *d);

#endif
