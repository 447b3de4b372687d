// Looking into a result file that may be anybody's: in a process of its own, caged like a worker.
// One thread: the process is forked.
#ifndef WORKER_PEEK_H
#define WORKER_PEEK_H

#include "base/base.h"
#include "base/cancel.h"
#include "media/extras.h"

struct peek {
    int64_t duration_ms, frames; // frames 0: unknown
    int width, height;
    bool picture; // the picture was made, or was there
    char *note;   // the file's comment, UTF-8; NULL: none
    // The subtitles that it says it was made with (media/cues.h), and whether they are burned in.
    struct subtitle_track cues;
    bool burned;
};
void peek_clear(struct peek *p);

// picture: where the thumbnail of the video is to be put if it is missing; NULL = make none. That
// process makes it in a folder of its own below work/ of the data folder, and writes nowhere else.
// KB_BAD_INPUT with a sentence when it is no video, or takes too long; then nothing is in *ret. The
// process that calls must have one thread only (it is forked).
enum kb_code peek_video(const char *path, const char *picture, const char *data,
                        const struct cancel *cancel, struct peek *ret, struct kb_error *err);

#endif
