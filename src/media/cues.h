// Subtitles as the API and a worker's line have them: a JSON list of [begin_ms, end_ms, "text"].
// Thread-safe: no state.
#ifndef MEDIA_CUES_H
#define MEDIA_CUES_H

#include "media/extras.h"

#include <jansson.h>

#define CUES_TAG       "koubo_cues" // in a film that a server made: cues_tag()
#define CUES_TAG_BYTES (1 << 20)
#define CUES_MOST      20000
#define CUES_LAST_MS   INT64_C(360000000) // 100 hours

// Those from *first on that fit into about so many bytes of JSON, at least one; *first moves behind
// them. NULL: memory is out, or a text is no UTF-8.
json_t *cues_pack(const struct subtitle_track *t, size_t *first, size_t bytes);

// The same back, appended to *ret, from whoever wrote it: times in order and within bounds, texts
// that are none are refused. False: it is no such list, and *ret may hold its beginning.
bool cues_unpack(struct subtitle_track *ret, const json_t *list);

// What a film says of the subtitles it was made with, in times of the film, and whether they are in
// its pictures: {"burned": true, "cues": [...]}. A new string; NULL: there are none, they take more
// than CUES_TAG_BYTES, or memory is out.
char *cues_tag(const struct subtitle_track *t, bool burned);
// The same back, from whoever wrote it, appended to *ret. False: as cues_unpack(), or it is too
// long.
bool cues_read_tag(struct subtitle_track *ret, bool *ret_burned, const char *tag);

#endif
