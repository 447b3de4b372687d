// Jobs, one by one: what the API does. batch.h tells their life.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_JOB_H
#define QUEUE_JOB_H

#include "base/progress.h"
#include "store/states.h"
#include "store/store.h"

enum job_state {
    JOB_QUEUED,
    JOB_LOADING, // the models
    JOB_AUDIO,   // reading the speech
    JOB_PREPROCESSING,
    JOB_GENERATING,
    JOB_FINISHING,
    JOB_DONE,
    JOB_FAILED,
    JOB_CANCELLED,
    JOB_SKIPPED, // its video was useless when the batch was made: not tried
};
#define N_JOB_STATES (JOB_SKIPPED + 1)
const char *job_state_name(enum job_state state); // "queued", as the database and the API call it

// What koubo itself asks about a job. The page is given more, as JSON.
struct job {
    int64_t id, batch;
    char name[300]; // of the video
    enum job_state state;
    enum stage stage; // of a running one
    char waiting[16]; // why it is still queued: "worker", "disk"…; else ""
    char error[600];  // the sentence, "" = none
    double progress;  // 0..1
    int64_t started_ms, ended_ms, state_since_ms, progressed_ms; // 0 = not yet
};
enum kb_code job_get(struct store *s, int64_t id, struct job *ret, struct kb_error *err);

struct job_filter {
    int64_t batch;              // 0 = any
    const char *state, *search; // NULL = any; state "running" is all five; "unfinished" too
    int offset, limit;          // limit 1..1000, 0 = 50
};
// In the order in which they are served; ended ones last, newest first. free(*ret).
enum kb_code job_list(struct store *s, const struct job_filter *f, struct job **ret, int *ret_n,
                      struct kb_error *err);
// How many there are; offset and limit are ignored.
enum kb_code job_count(struct store *s, const struct job_filter *f, int64_t *ret,
                       struct kb_error *err);

// The same for the API (docs/openapi.yaml: JobList, Job).
enum kb_code job_list_json(struct store *s, const struct job_filter *f, struct text *ret,
                           struct kb_error *err);
enum kb_code job_json(struct store *s, int64_t id, struct text *ret, struct kb_error *err);
enum kb_code job_cancel(struct store *s, int64_t id, struct kb_error *err);
enum kb_code job_retry(struct store *s, int64_t id, struct kb_error *err); // failed or cancelled
enum kb_code job_move(struct store *s, int64_t id, int64_t before,
                      struct kb_error *err); // in its
                                             // batch; 0 last, -1 first
enum kb_code job_delete(struct store *s, int64_t id, struct kb_error *err); // ended ones

#endif
