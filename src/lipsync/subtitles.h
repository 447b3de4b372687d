// A film's subtitles in its dub: each stays with the pictures that it was shown with. Internal to
// lipsync/. Thread-safe: no state.
#ifndef LIPSYNC_SUBTITLES_H
#define LIPSYNC_SUBTITLES_H

#include "finish/captions.h"
#include "lipsync/timeline.h"
#include "media/extras.h"
#include "media/mel.h"

// Turn the times of a film's subtitles into those of the dub: what is not shown is left out, what
// is shown again comes again, and of two at once the later one is seen. Tracks of which nothing is
// left are dropped. KB_NO_SPACE.
enum kb_code subtitles_place(struct extras *e, const struct timeline_params *source,
                             struct kb_error *err);

// All times that much later.
void subtitles_shift(struct extras *e, int64_t by_us);

// Subtitles that somebody asked for, instead of the film's own. All-zero: none.
struct subtitles {
    struct captions *captions; // for finish_params
    struct words words;        // of p->text, as they are said in the speech
};

// Load what p wants, if it wants any: a text without times is laid along the speech. p is borrowed
// until subtitles_clear(). The codes of captions_load() and spoken_align().
enum kb_code subtitles_load(struct subtitles *ret, const struct captions_params *p,
                            const struct mel *mel, const struct cancel *cancel,
                            struct kb_error *err);
// After a finisher was opened with them: what goes into the file as a stream, if that is wanted,
// before_us later than in the dub. The film's own are left out.
void subtitles_stream(const struct subtitles *s, int64_t before_us, struct extras *e);
// As an SRT beside output, if that is wanted.
enum kb_code subtitles_write(const struct subtitles *s, int64_t before_us, const char *output,
                             struct kb_error *err);
// What the film says of them (cues_tag()), free(); NULL: nothing.
char *subtitles_tag(const struct subtitles *s, int64_t before_us);
// All of them, appended to *ret.
void subtitles_give(const struct subtitles *s, int64_t before_us, struct subtitle_track *ret);
void subtitles_clear(struct subtitles *s);

// Where that SRT lies: output with another ending; free().
char *subtitles_path(const char *output);

#endif
