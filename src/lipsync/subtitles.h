// A film's subtitles in its dub: each stays with the pictures that it was shown with. Internal to
// lipsync/. Thread-safe: no state.
#ifndef LIPSYNC_SUBTITLES_H
#define LIPSYNC_SUBTITLES_H

#include "lipsync/timeline.h"
#include "media/extras.h"

// Turn the times of a film's subtitles into those of the dub: what is not shown is left out, what
// is shown again comes again, and of two at once the later one is seen. Tracks of which nothing is
// left are dropped. KB_NO_SPACE.
enum kb_code subtitles_place(struct extras *e, const struct timeline_params *source,
                             struct kb_error *err);

#endif
