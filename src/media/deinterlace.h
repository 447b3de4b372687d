// Makes whole pictures of interlaced ones. Internal to media/. Not thread-safe; may move between
// threads.
#ifndef MEDIA_DEINTERLACE_H
#define MEDIA_DEINTERLACE_H

#include "media/demux.h"
#include "media/filters.h"

// All-zero: at the beginning of a film.
struct deinterlacer {
    struct filters filters; // none until a picture says that it is interlaced
    int width, height, format;
    AVFrame *held; // decoded, for the next filters
    bool ending;   // nothing more goes into these filters
    int threads;
};

// As demux_decode(), of which it takes pictures: as many come out as go in, with their times and
// marks, one picture later. FRAME_DURATION is 0 of those that passed the filter.
enum kb_code deinterlacer_next(struct deinterlacer *d, struct demux *source, AVFrame *ret,
                               struct kb_error *err);
// Forget what came before, after a seek; also the end.
void deinterlacer_reset(struct deinterlacer *d);

#endif
