// Batches and their jobs: the durable queue. A batch is one speech, N videos and options, or pairs
// that each have a speech of their own; each pair is a job:
//
//   queued ─► loading ─► audio ─► preprocessing ─► generating ─► finishing ─► done | failed |
//   cancelled
//     ▲                                │ worker lost, hung, out of memory (at most 3 attempts)
//     └────────────────────────────────┘
//   skipped: its video was known to be useless when the batch was made; not tried
//
// A worker holds a job by a lease: a random number stored with the job, kept alive by heartbeats.
// Whoever lost the lease cannot change the job any more, so a job ends once. Which job is next:
// batches of higher priority first; among them the one with the fewest running jobs, then the one
// whose turn is lowest (a claim moves the batch behind the others); in it, jobs by position.
//
// This is how batches are made and steered; the jobs themselves: job.h, the worker's side: lease.h,
// the supervisor's: sweep.h.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_BATCH_H
#define QUEUE_BATCH_H

#include "store/store.h"

struct batch_pair {
    const char *audio, *video; // assets
    const char *name;          // of the result, without ".mp4"; NULL: after film and speech
    const char *options;       // JSON object, laid over the batch's; NULL
    double face_at[3];         // as dub_params.face_at; x < 0: the options say whom
};

struct batch_params {
    const char *name;          // NULL or "": named after the speech
    const char *audio;         // asset
    const char *const *videos; // assets
    int n_videos;              // 1..1000
    // Of each video, as dub_params.face_at; x < 0: the options say whom. NULL: they do for all.
    const double (*face_at)[3];
    // Of each video, a JSON object laid over the batch's options, or NULL. NULL: none has such.
    const char *const *own_options;
    // Instead of audio, videos, face_at and own_options.
    const struct batch_pair *pairs;
    int n_pairs;         // 1..1000; 0 = none
    const char *options; // JSON object, see batch_options_parse(); NULL = defaults
    // What of them holds where the client says nothing, also a JSON object; NULL: nothing, and the
    // options stay as they are.
    const char *defaults;
    const char *notify; // JSON as the setting "notify", for this batch alone; NULL
    int priority;       // 0..9, 5 is usual
    const char *client, *lang;
    const char *note; // job_claim.note of its jobs, JSON; NULL = made of what the rows say
};
// All or nothing. KB_NOT_FOUND names an unknown asset; one still uploading, or a speech that is
// "bad", is KB_BAD_INPUT with its name. Videos that are known to be useless ("bad", or a sound),
// and pairs with a "bad" speech, become "skipped" jobs; a batch of nothing else is KB_BAD_INPUT and
// says why of the first. What is wrong with a pair says which one it is.
enum kb_code batch_create(struct store *s, const struct batch_params *p, int64_t *ret_id,
                          struct kb_error *err);

struct batch_filter {
    const char *state, *search; // state: "active", "paused", "ended"
    int offset, limit;
};
enum kb_code batch_list_json(struct store *s, const struct batch_filter *f, struct text *ret,
                             struct kb_error *err);
enum kb_code batch_json(struct store *s, int64_t id, struct text *ret, struct kb_error *err);
enum kb_code batch_cancel(struct store *s, int64_t id, struct kb_error *err);
enum kb_code batch_pause(struct store *s, int64_t id, bool paused,
                         struct kb_error *err); // running
                                                // jobs end, no new ones start
enum kb_code batch_retry(struct store *s, int64_t id, struct kb_error *err); // failed and cancelled
enum kb_code batch_set_priority(struct store *s, int64_t id, int priority, struct kb_error *err);
enum kb_code batch_rename(struct store *s, int64_t id, const char *name, struct kb_error *err);
// Before that other batch; 0 = behind all, -1 = before all.
enum kb_code batch_move(struct store *s, int64_t id, int64_t before, struct kb_error *err);
// With its jobs and results. KB_BAD_INPUT while a job runs.
enum kb_code batch_delete(struct store *s, int64_t id, struct kb_error *err);

// Control characters become spaces; cut at 255 bytes. A new string.
char *batch_clean_name(const char *name);

#endif
