// A film as it is, in a new file that says more of itself: no picture and no sound is decoded.
// Thread-safe.
#ifndef MEDIA_COPY_H
#define MEDIA_COPY_H

#include "base/base.h"
#include "base/cancel.h"

struct copied {
    int n_left; // streams that the output's format cannot keep: data, some subtitles
};

// Pictures, sound, subtitles, chapters and what it says of itself; then the tag, in the place of
// one of that name. The output's ending chooses its format: .mp4, .m4v, .mov, .mkv, .webm. It
// appears when it is whole. KB_NOT_FOUND, KB_BAD_INPUT (no film, broken, or its format does not
// keep the pictures or the sound), KB_NO_SPACE, KB_CANCELLED.
enum kb_code copy_with_tag(const char *path, const char *output, const char *name,
                           const char *value, const struct cancel *cancel, struct copied *ret,
                           struct kb_error *err);

#endif
