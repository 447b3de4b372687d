// Where people are in a picture, roughly: the segmentation (segment.h) of the whole picture, and
// once more from near around the heads that the track knows, where hair is. Not thread-safe; may
// move between threads.
#ifndef FINISH_PEOPLE_H
#define FINISH_PEOPLE_H

#include "base/crew.h"
#include "finish/finish.h"

struct people;

// The track is borrowed; NULL: no head is looked at from near. KB_NOT_FOUND when the models were
// not fetched.
enum kb_code people_open(struct people **ret, const struct finish_picture *picture,
                         const struct finish_source *source, struct kb_error *err);
void people_close(struct people **p);
// ret: height rows of width values 0..1, which cover the picture.
enum kb_code people_find(struct people *p, struct crew *crew, const AVFrame *frame, int track_frame,
                         float *ret, int width, int height, struct kb_error *err);

#endif
