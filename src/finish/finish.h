// What becomes of a picture after its mouth is drawn and before it is encoded: another background,
// another shape, logo, subtitles, the label. Each is a step (finish/internal.h); those that nobody
// asked for cost nothing.
//
//   background ──► reframe ──► logo ──► captions ──► label      in this order
//
// Not thread-safe: a finisher belongs to one thread at a time.
#ifndef FINISH_FINISH_H
#define FINISH_FINISH_H

#include "base/base.h"
#include "base/cancel.h"
#include "face/cast.h"
#include "face/track.h"
#include "finish/background.h"
#include "finish/captions.h"
#include "finish/label.h"
#include "finish/logo.h"
#include "finish/reframe.h"

#include <libavutil/frame.h>

// What the user asked for, one struct a step. All zero: nothing.
struct finish_params {
    struct background_params background;
    struct reframe_params reframe;
    struct logo_params logo;
    struct captions_params captions;
    struct label_params label;
};

// A window that moves over the film, all in pixels of the pictures that it was taken from.
struct finish_view {
    const float (*begin)[2]; // x, y for every frame of the track
    int n;                   // frames
    int height, of;          // rows of the window, and of those pictures
};

// The pictures: as they come in and, after finisher_open(), as they go out.
struct finish_picture {
    int width, height; // even
    AVRational frame_rate, sample_aspect;
    enum AVColorRange range;
    enum AVColorSpace space;
    bool deep;  // frames carry ten bits (media/deep.h)
    bool alpha; // frames are yuva420p
    // Which part of the film's pictures they show; NULL: all. It is of the step that chose it, and
    // there while the finisher is.
    const struct finish_view *view;
};

// Of what the dub is made; borrowed while the finisher lives.
struct finish_source {
    const struct track *track;
    const struct cast *cast;
    int64_t length_us;            // of the dub
    int64_t before_us, output_us; // of what is joined before it; of the whole output
    int threads;                  // that steps may use, >= 1
    const struct cancel *cancel;
};

// One picture's place. Intro and outro have no place in the track, and steps that belong to the
// person leave them alone.
enum finish_part { PART_DUB, PART_INTRO, PART_OUTRO };
struct finish_moment {
    enum finish_part part;
    int64_t pts_us;    // within the part
    int64_t output_us; // from the start of the output
    int64_t duration_us;
    int track_frame; // of PART_DUB
};

struct finisher;

// *ret is NULL where nothing is asked for. picture is changed to what comes out. KB_BAD_INPUT,
// KB_NOT_FOUND, KB_UNAVAILABLE, KB_NO_SPACE.
enum kb_code finisher_open(struct finisher **ret, const struct finish_params *p,
                           const struct finish_source *source, struct finish_picture *picture,
                           struct kb_error *err);
// What can be told before there is a track: every file, model and font that the steps will open is
// there and can be read, and the picture is large enough. source: cancel and threads; no track. As
// finisher_open().
enum kb_code finisher_check(const struct finish_params *p, const struct finish_source *source,
                            const struct finish_picture *picture, struct kb_error *err);
// *frame is drawn into, or becomes another one; its properties (pts, duration) stay. It may be
// shared: what is drawn into is made writable.
enum kb_code finisher_put(struct finisher *f, AVFrame **frame, const struct finish_moment *at,
                          struct kb_error *err);
void finisher_close(struct finisher **f); // NULL is fine

#endif
