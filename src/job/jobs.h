// Batches and their jobs: the durable queue. A batch is one speech, N videos and options; each pair
// is a job:
//
//   queued ─► loading ─► preprocessing ─► generating ─► finishing ─► done | failed | cancelled
//     ▲                       │ worker lost, hung, out of memory (at most 3 attempts)
//     └───────────────────────┘
//
// A worker holds a job by a lease: a random number stored with the job, kept alive by heartbeats.
// Whoever lost the lease cannot change the job any more, so a job ends once. Which job is next:
// batches of higher priority first; among them the one with the fewest running jobs, then the one
// whose turn is lowest (a claim moves the batch behind the others); in it, jobs by position.
#ifndef JOB_JOBS_H
#define JOB_JOBS_H

#include "job/store.h"
#include "lipsync/job.h"

#define JOB_MAX_ATTEMPTS 3

// --- batches: what the API does

struct batch_params {
    const char *name;          // NULL or "": named after the speech
    const char *audio;         // asset
    const char *const *videos; // assets
    int n_videos;              // 1..1000
    const char *options;       // JSON object, see batch_options_parse(); NULL = defaults
    const char *notify;        // JSON as the setting "notify", for this batch alone; NULL
    int priority;              // 0..9, 5 is usual
    const char *client, *lang;
};
// All or nothing. KB_NOT_FOUND names an unknown asset; one still uploading or "bad" is
// KB_BAD_INPUT with its name ("bad" videos are accepted: they fail alone).
enum kb_code batch_create(struct store *s, const struct batch_params *p, int64_t *ret_id,
                          struct kb_error *err);

// The options of a batch, named as those of koubo generate (docs/openapi.yaml: Options): model,
// precision, face, loop, keep_video, start, duration, height, denoise, loudnorm, crf, bitrate,
// preset, mouth_amount, mouth_from, style_from, still_motion, and of Wav2Lip's paint, pads, nosmooth,
// mask_feather, mask_dilate, sharpen. Unknown names and values out of range are KB_BAD_INPUT.
// Strings in *ret live as long as *keep (json_decref it).
struct json_t;
struct batch_options {
    const char *model; // NULL = bundled; a name listed by "koubo model list", never a path
    enum precision precision;
    // Assets; their paths are job_claim.mouth_path and style_path. NULL: each video itself
    const char *mouth_from, *style_from;
    struct job_params job;
    struct json_t *keep;
};
enum kb_code batch_options_parse(const char *json, struct batch_options *ret, struct kb_error *err);
void batch_options_free(struct batch_options *o);

struct batch_filter {
    const char *state, *search; // state: "active", "paused", "ended"
    int offset, limit;
};
enum kb_code batch_list_json(struct store *s, const struct batch_filter *f, struct text *ret,
                             struct kb_error *err);
enum kb_code batch_json(struct store *s, int64_t id, struct text *ret, struct kb_error *err);
enum kb_code batch_cancel(struct store *s, int64_t id, struct kb_error *err);
enum kb_code batch_pause(struct store *s, int64_t id, bool paused, struct kb_error *err); // running
                                                                  // jobs end, no new ones start
enum kb_code batch_retry(struct store *s, int64_t id, struct kb_error *err); // failed and cancelled
enum kb_code batch_set_priority(struct store *s, int64_t id, int priority, struct kb_error *err);
enum kb_code batch_rename(struct store *s, int64_t id, const char *name, struct kb_error *err);
// Before that other batch; 0 = behind all, -1 = before all.
enum kb_code batch_move(struct store *s, int64_t id, int64_t before, struct kb_error *err);
// With its jobs and results. KB_BAD_INPUT while a job runs.
enum kb_code batch_delete(struct store *s, int64_t id, struct kb_error *err);

// --- jobs

struct jobs_filter {
    int64_t batch;              // 0 = any
    const char *state, *search; // NULL = any; state "running" is all four; "unfinished" too
    int offset, limit;          // limit 1..1000, 0 = 50
};
// In the order in which they are served; ended ones last, newest first.
enum kb_code jobs_list_json(struct store *s, const struct jobs_filter *f, struct text *ret,
                            struct kb_error *err);
enum kb_code jobs_json(struct store *s, int64_t id, struct text *ret, struct kb_error *err);
enum kb_code jobs_cancel(struct store *s, int64_t id, struct kb_error *err);
enum kb_code jobs_retry(struct store *s, int64_t id, struct kb_error *err); // failed or cancelled
enum kb_code jobs_move(struct store *s, int64_t id, int64_t before, struct kb_error *err); // in its
                                                                  // batch; 0 last, -1 first
enum kb_code jobs_delete(struct store *s, int64_t id, struct kb_error *err); // ended ones

// --- results: what done jobs left

struct result_filter {
    const char *search;
    int64_t batch; // 0 = any
    int offset, limit;
};
enum kb_code result_list_json(struct store *s, const struct result_filter *f, struct text *ret,
                              struct kb_error *err); // newest first
struct result {
    int64_t job;
    char name[300];     // "STEM.mp4" after the video; -2, -3… behind equal ones of a batch
    char *path, *thumb; // free with result_free()
    int64_t size_bytes, created_ms, duration_ms;
    int width, height;
};
enum kb_code result_find(struct store *s, int64_t job, struct result *ret, struct kb_error *err);
void result_free(struct result *r);
enum kb_code result_delete(struct store *s, int64_t job, struct kb_error *err);
// The jobs of all results that a filter chooses (offset and limit ignored), for a zip. free(*ret).
enum kb_code result_ids(struct store *s, const struct result_filter *f, int64_t **ret, int *ret_n,
                        struct kb_error *err);

// --- the worker's side

struct job_claim {
    int64_t job, batch, lease;
    int attempt; // 1..JOB_MAX_ATTEMPTS
    char *audio_path, *video_path; // contents; the names are the users'
    char *mouth_path, *style_path; // of mouth_from and style_from; NULL: not given, or gone
    char audio_sha256[65];
    char *audio_name, *video_name;
    char *output; // results/<job>-<attempt>.mp4; a higher number where such a file lies already
    char *options;
    char *note; // what koubo restore needs to know about the output, JSON
    char lang[4];
};
// The next job, its state is "loading" from now on. KB_EOF: nothing to do now. Jobs whose estimated
// need does not leave min_free_bytes on the data folder's disk are passed over.
enum kb_code jobs_claim(struct store *s, const char *worker, int64_t min_free_bytes,
                        struct job_claim *ret, struct kb_error *err);
void job_claim_free(struct job_claim *c);

// Where the job is. Also a heartbeat. *ret_cancel: the user wants it to end. KB_NOT_FOUND: the
// lease is lost (or the job deleted): stop and leave everything alone.
struct job_report {
    enum stage stage; // LOADING and AUDIO are "loading"
    int64_t done, total;
    double fps;       // frames a second lately, 0 unknown
};
enum kb_code jobs_report(struct store *s, const struct job_claim *c, const struct job_report *r,
                         bool *ret_cancel, struct kb_error *err);
// The output is whole under its name; thumb: its picture was written as .jpg beside it.
enum kb_code jobs_done(struct store *s, const struct job_claim *c, const struct job_result *r,
                       bool thumb, struct kb_error *err);
// Failed for good (bad input), or cancelled when why->code is KB_CANCELLED, or queued again when
// why->code is KB_NO_SPACE and attempts are left.
enum kb_code jobs_failed(struct store *s, const struct job_claim *c, const struct kb_error *why,
                         struct kb_error *err);
// Back into the queue without counting the attempt: the worker is told to stop.
enum kb_code jobs_give_back(struct store *s, const struct job_claim *c, struct kb_error *err);

// --- the supervisor's side

// The worker is gone (reason: a sentence fragment such as "the worker crashed (signal 11)"): its
// job is queued again after a pause, or failed after the last attempt, with a sentence that names
// the stage. KB_OK also when it had none.
enum kb_code jobs_worker_lost(struct store *s, const char *worker, const char *reason,
                              struct kb_error *err);
// Jobs of workers that no longer exist (their lease is older than lease_ms, or their process is
// gone), and the column "waiting" of queued jobs. Call it every second.
struct sweep_params {
    int64_t lease_ms;       // 0 = 15000
    int64_t min_free_bytes;
};
enum kb_code jobs_sweep(struct store *s, const struct sweep_params *p, struct kb_error *err);
// The running job of a worker without progress for this long, 0 if none. *ret_stage: its state.
int64_t jobs_hung(struct store *s, const char *worker, int64_t limit_ms, char ret_stage[16]);

// --- workers, as the API lists them

struct worker_row {
    char id[16];
    const char *kind; // "generate", "inspect"
    int pid;
    const char *state; // "starting", "idle", "busy", "stopped"
    const char *model, *precision;
    int64_t rss_bytes;
};
enum kb_code workers_put(struct store *s, const struct worker_row *w, struct kb_error *err);
// When this process last told of itself, and whether it still starts; 0: never.
enum kb_code workers_heard(struct store *s, const char *id, int pid, int64_t *ret_ms,
                           bool *ret_starting, struct kb_error *err);
enum kb_code workers_remove(struct store *s, const char *id, struct kb_error *err); // "" = all
enum kb_code workers_json(struct store *s, struct text *ret, struct kb_error *err); // an array

// --- changes, for live pages

// Every insert, update and delete gets the next number of one counter. This appends one object
//   {"rev":N,"batches":[…],"jobs":[…],"assets":[…],"gone":[{"kind":"job","id":5},…]}
// with the present form of all that changed after rev; *ret_rev is N. A rev that is too old to know
// what was deleted since is answered with "reset":true: load everything again. "now":ms is wall
// clock.
enum kb_code changes_json(struct store *s, int64_t rev, struct text *ret, int64_t *ret_rev,
                          struct kb_error *err);
int64_t changes_revision(struct store *s);

// Numbers for /metrics, the system view and koubo doctor, one object:
// {"jobs":{"queued":n,…},"batches":n,"assets":n,"results":n,"bytes":{"files":n,"results":n,
//  "tracks":n,"uploads":n},"done_total":n,"failed_total":n,"seconds_total":x,
//  "stage_average_s":{"loading":x,…}}
enum kb_code store_stats_json(struct store *s, struct text *ret, struct kb_error *err);

#endif
