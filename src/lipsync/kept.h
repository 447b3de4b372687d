// What a process keeps of a dub for the next one of the same film and speech: each part for as long
// as what it was made of stays the same. Internal to lipsync/. Not thread-safe.
#ifndef LIPSYNC_KEPT_H
#define LIPSYNC_KEPT_H

#include "lipsync/dub.h"
#include "lipsync/rigging.h"

struct dub_kept {
    // Each key says what the lines below it were made of; NULL: nothing is kept.
    char *speech_key;
    struct mel *mel; // NULL where the caller has it
    struct motion *motion;
    char *film_key;
    struct track *track;
    char *cast_key;
    struct cast *cast;
    char *people_key;
    struct rigging people;
    // For stills: the film, open, and its latest picture, as it is before anything is drawn.
    char *reader_key;
    struct reader *reader;
    char *frame_key;
    struct shown_frame frame;
};

// Of the key `now`, which is taken. False: *key was another and is this now.
bool kept_is(char **key, char *now);

// The speech, unless it is the one that is kept; *ret_mel is the caller's or what is kept.
enum kb_code kept_hear(struct dub_kept *k, struct engine *e, const struct dub_params *p,
                       const struct mel **ret_mel, struct kb_error *err);
// The track of a film that is open, up to limit_us (<= 0: all of it).
enum kb_code kept_track(struct dub_kept *k, struct face_models *faces, const struct dub_params *p,
                        struct reader *film, int64_t limit_us, bool *ret_cached,
                        struct kb_error *err);
// Whether the cast, or those who are rigged, have to be made anew; what is there is gone then.
bool kept_wants_cast(struct dub_kept *k, const struct dub_params *p);
bool kept_wants_people(struct dub_kept *k, const struct dub_params *p);
// The film for stills, as p wants its pictures.
enum kb_code kept_open(struct dub_kept *k, const struct dub_params *p, struct kb_error *err);
// Its picture at a time of the output.
enum kb_code kept_frame(struct dub_kept *k, const struct dub_params *p,
                        const struct timeline_params *source, struct kb_error *err);

#endif
