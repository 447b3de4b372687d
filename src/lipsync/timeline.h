// The frames of a dub in the order they are shown: the video from its start point on, then, when
// the speech is longer, again in the way the loop mode says. Internal to lipsync/. Not thread-safe;
// may move between threads.
#ifndef LIPSYNC_TIMELINE_H
#define LIPSYNC_TIMELINE_H

#include "face/track.h"
#include "lipsync/dub.h"
#include "media/reader.h"

struct timeline;

struct timeline_params {
    struct reader *reader;     // borrowed
    const struct track *track; // borrowed; tells the time stamps
    enum loop_mode loop;
    int64_t start_us;  // first frame: the one shown at this time of the video
    int64_t length_us; // frames are given until this time of the output
};

struct shown_frame {
    AVFrame *frame;              // the caller's; maybe shared with others: make it writable first
    int track_frame;             // its place in the track
    int64_t pts_us, duration_us; // in the output
};

// The same order ahead of time, without reading: where pictures are missing or the last one is
// shown longer than the others, it is off by that. ret: n frames, free().
struct planned_frame {
    int track_frame;
    int64_t pts_us;
};
enum kb_code timeline_plan(const struct timeline_params *p, struct planned_frame **ret, int *ret_n,
                           struct kb_error *err);

struct timeline *timeline_create(const struct timeline_params *p); // never NULL
// KB_EOF when length_us is reached, or at the video's end if the loop mode is none.
enum kb_code timeline_next(struct timeline *s, struct shown_frame *ret, struct kb_error *err);
void timeline_free(struct timeline **s);

#endif
