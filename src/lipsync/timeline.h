// The frames of a dub in the order they are shown: the video from its start point on, then, when
// the speech is longer, again in the way the loop mode says. A picture that is shown for longer
// than one of a film at 24 a second is given as several frames of at most 40 ms, so that each can
// have a mouth of its own: slides, animations, a screen that stands still. Internal to lipsync/.
// Not thread-safe; may move between threads.
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
    int64_t start_us;  // first frame: the one shown at this time of the video, or the piece of it
    int64_t length_us; // frames are given until this time of the output
    int64_t last_us;   // how long the track's last frame is shown; 0 = as long as the one before
    int64_t from_us;   // those that end before that time of the output are passed over, mostly
                       // unread. timeline_plan() has all of them
};

struct shown_frame {
    AVFrame *frame;              // the caller's; maybe shared with others: make it writable first
    int64_t number;              // its place in timeline_plan()
    int track_frame;             // its place in the track
    int64_t pts_us, duration_us; // in the output
};

// The time of the film at which the output begins: start_us, or a little earlier.
int64_t timeline_begin_us(const struct timeline_params *p);

// Asks the film for last_us, if the output comes so far. The reader is left anywhere: restart it.
// The codes of reader_seek() and reader_next().
enum kb_code timeline_measure(struct timeline_params *p, struct kb_error *err);

// The rate of the frames that are given for a film of this one: its own, or, below 24 a second, the
// multiple of it that is.
AVRational timeline_rate(AVRational film);

// The same order ahead of time, without reading: where pictures are missing this time, it is off by
// that. ret: n frames, free().
struct planned_frame {
    int track_frame;
    int64_t pts_us;
    int64_t offset_us; // since the picture's beginning: the pieces before this one
};
enum kb_code timeline_plan(const struct timeline_params *p, struct planned_frame **ret, int *ret_n,
                           struct kb_error *err);

// When the frame begins that is shown at that time of the output.
int64_t timeline_shown_us(const struct timeline_params *p, int64_t time_us);

// Where the last frame ends that begins before length_us: there the output ends.
int64_t timeline_end_us(const struct timeline_params *p);

// How many frames are given; no more than can be planned.
int64_t timeline_count(const struct timeline_params *p);

struct timeline *timeline_create(const struct timeline_params *p); // never NULL
// KB_EOF when length_us is reached, or at the video's end if the loop mode is none.
enum kb_code timeline_next(struct timeline *s, struct shown_frame *ret, struct kb_error *err);
void timeline_free(struct timeline **s);

// For pictures that need not be decoded (pass.h). The place in timeline_plan() of what comes next.
int64_t timeline_number(const struct timeline *s);
// Does a picture come next, whole and forwards, and is it that one of the track?
bool timeline_is_at(struct timeline *s, int track_frame);
// Then: it is passed over, unread. When it is shown; returns how many frames it would have been.
int64_t timeline_pass(struct timeline *s, int64_t *ret_pts_us, int64_t *ret_duration_us);

#endif
