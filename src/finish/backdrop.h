// What is shown behind the people instead: a colour, a picture or a film, as large as the frames,
// in their colours, cut so that it covers them. Not thread-safe; may move between threads.
#ifndef FINISH_BACKDROP_H
#define FINISH_BACKDROP_H

#include "finish/background.h"
#include "finish/finish.h"

struct backdrop;

// Of BACKGROUND_COLOUR and BACKGROUND_FILE. KB_NOT_FOUND, KB_BAD_INPUT.
enum kb_code backdrop_open(struct backdrop **ret, const struct background_params *p,
                           const struct finish_picture *picture, const struct finish_source *source,
                           struct kb_error *err);
void backdrop_close(struct backdrop **b);
// What is shown at this time of the dub; a film begins again at its end. The frame is the
// backdrop's, until it is asked again.
enum kb_code backdrop_at(struct backdrop *b, int64_t at_us, const AVFrame **ret,
                         struct kb_error *err);

#endif
