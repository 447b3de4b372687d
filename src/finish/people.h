// Where people are in the pictures of a film, roughly and steadily: the segmentation (segment.h) of
// the whole picture, and from near of the heads that the track knows. Not thread-safe; may move
// between threads.
#ifndef FINISH_PEOPLE_H
#define FINISH_PEOPLE_H

#include "finish/finish.h"

struct people;

// The track is borrowed. KB_NOT_FOUND when the models were not fetched.
enum kb_code people_open(struct people **ret, const struct finish_picture *picture,
                         const struct finish_source *source, struct kb_error *err);
void people_close(struct people **p);
// Of the next picture. *ret: rows of *ret_width values 0..1 that cover it, the people's own until
// the next call. is_cut: it has nothing to do with the one before.
enum kb_code people_find(struct people *p, const AVFrame *frame, int track_frame, bool is_cut,
                         const float **ret, int *ret_width, int *ret_height, struct kb_error *err);

#endif
