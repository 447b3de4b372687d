// What dub.c and dub_check.c share. Internal to lipsync/. Thread-safe: no state.
#ifndef LIPSYNC_DUB_INTERNAL_H
#define LIPSYNC_DUB_INTERNAL_H

#include "lipsync/dub.h"
#include "media/reader.h"

// What is cut out of a film is as many rows as were asked for, not the film.
void dub_settle_rows(struct dub_params *p);
// As the film's pictures reach the finisher.
struct finish_picture dub_picture(const struct reader_info *v);

#endif
