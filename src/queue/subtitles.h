// What the database has of subtitles: when the words of a speech are said, those of an uploaded
// file, and those that a result was made with.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_SUBTITLES_H
#define QUEUE_SUBTITLES_H

#include "media/extras.h"
#include "store/store.h"

struct batch_options;

// Do options make subtitles of the text of a speech (an asset) that nobody knows? KB_BAD_INPUT.
enum kb_code subtitles_check(struct store *s, const struct batch_options *o, const char *speech,
                             struct kb_error *err);

// When each word of the job's speech is said (media/words.h: its JSON), "" unless that is known. A
// new string.
enum kb_code subtitles_words(struct store *s, int64_t job, char **ret, struct kb_error *err);

// Options of a job for where the words themselves do not come (another machine): those that
// make subtitles of the text of a speech (a content) get that text, which is then laid along its
// pauses. A new string, or NULL: they may stay as they are.
char *subtitles_tell_text(struct store *s, const char *options, const char *speech_sha256);

// As the database keeps those of a result (job_done()) or a file: {"cues": [...]}, a new string;
// NULL: there are none, or memory is out.
char *subtitles_pack(const struct subtitle_track *t);
// Those with which a job's result was made, appended to *ret. KB_NOT_FOUND: no such result, or it
// has none.
enum kb_code subtitles_of_result(struct store *s, int64_t job, struct subtitle_track *ret,
                                 struct kb_error *err);

// What an inspector found in an uploaded file, or in what another machine made of a job, before its
// facts.
enum kb_code subtitles_set_file(struct store *s, const char *asset, const struct subtitle_track *t,
                                struct kb_error *err);
// Those of an uploaded file as they are, or of a speech whose words are known as they will be in
// pictures of that size with letters of that size (captions_params). KB_NOT_FOUND: no such asset,
// or it has none (yet).
enum kb_code subtitles_of_asset(struct store *s, const char *asset, int width, int height,
                                float size, struct subtitle_track *ret, struct kb_error *err);

#endif
