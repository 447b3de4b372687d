// What the files about batches and jobs share. All of it inside the caller's transaction.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_INTERNAL_H
#define QUEUE_INTERNAL_H

#include "queue/batch.h"
#include "queue/job.h"
#include "queue/lease.h"
#include "store/sql.h"

// A job j with its batch b and the assets of its speech a and its video v, for FROM.
#define JOB_AND_FILES                                                                              \
    " job j JOIN batch b ON b.id = j.batch"                                                        \
    " LEFT JOIN asset a ON a.id = coalesce(j.audio, b.audio)"                                      \
    " LEFT JOIN asset v ON v.id = j.video "

// Keep what the queued jobs take (job.cost), of the batch or those that the sweep looks at (0).
enum kb_code job_price(struct store *s, int64_t batch, struct kb_error *err);

// What it will probably write, in bytes: 0.15 bits a pixel at 25 frames a second, which CRF 18
// seldom needs, and 192 kbit/s of sound. 200 MB while its files have not been looked at.
#define JOB_NEED                                                                                   \
    " coalesce(a.duration_ms / 1000.0 * (v.width * v.height * 0.15 * 25 / 8 + 24000), 200e6) "

// Does a queued one rest before its next attempt? now: a parameter. The longest pause is 30 s: what
// says more was written before somebody set the clock back, and would rest for as long.
#define JOB_RESTS(now) " j.not_before_ms BETWEEN " now " + 1 AND " now " + 60000 "

// What a result file says about itself, so that koubo restore can take it in again (restore.c).
// Users hand these files on: names only, nothing of the machine, of clients or of settings.
#define JOB_NOTE                                                                                   \
    " json_object('koubo', 1, 'job', j.id, 'batch', b.id, 'batch_name', b.name,"                   \
    " 'speech', coalesce(j.audio_name, b.audio_name), 'video', j.name, 'name', j.result_name, "    \
    "'lang', b.lang,"                                                                              \
    " 'created', j.created_ms, 'started', j.started_ms) "

// What jobs may still take of the disk: free, less min_free, less the need of the running ones.
enum kb_code job_room(struct store *s, int64_t min_free_bytes, int64_t *ret, struct kb_error *err);

bool job_state_parse(const char *name, enum job_state *ret);

// Claim the next job as job_claim() does, of the process c->pid. On failure job_drop_part() and
// job_claim_free() are to follow the rollback.
enum kb_code job_take(struct store *s, const char *worker, int64_t min_free_bytes,
                      struct job_claim *c, struct kb_error *err);
// Where the attempt of c (job, batch) writes: a name that nobody has.
enum kb_code job_choose_output(struct store *s, struct job_claim *c, struct kb_error *err);
// What the attempt only began. While its row still says that it writes there: afterwards the name
// may be another's.
void job_drop_part(struct store *s, const struct job_claim *c);
// Contents, names, options and note of c->job.
enum kb_code job_read_claim(struct store *s, struct job_claim *c, struct kb_error *err);
// The files that its options name.
enum kb_code job_read_materials(struct store *s, struct job_claim *c, struct kb_error *err);
// Are they options whose files a batch may use? The codes and sentences of batch_create().
enum kb_code batch_check_options(struct store *s, const char *options, struct kb_error *err);
// Could a job be made of p's speech and first video? The codes and sentences of batch_create().
enum kb_code batch_check_pair(struct store *s, const struct batch_params *p, struct kb_error *err);

// Whoever made the running job is gone, or late: queued again, or at its end. hung: it stood still,
// else it crashed. reason as in sweep.h.
enum kb_code job_lose(struct store *s, int64_t job, const char *reason, bool late, bool hung,
                      struct kb_error *err);
// The running job is queued again, uncounted.
enum kb_code job_take_back(struct store *s, int64_t job, struct kb_error *err);

// Results of other machines that nobody waits for any more go, row and bytes: their attempt is
// over. Not in a transaction. What cannot be removed now goes with the next call.
enum kb_code remote_sweep(struct store *s, struct kb_error *err);
// All that this machine has (NULL: all of all machines) is queued again, uncounted.
enum kb_code remote_take_back(struct store *s, const char *node, struct kb_error *err);
// store_end(), but KB_NOT_FOUND, after which nothing was written, does not spoil a transaction
// around this one.
enum kb_code remote_end_told(struct store *s, enum kb_code code, struct kb_error *err);
// Of an attempt: numbers and output of a claim, job_claim_free(). KB_NOT_FOUND: it is over.
struct remote;
enum kb_code remote_output(struct store *s, const struct remote *r, struct job_claim *ret,
                           struct kb_error *err);

// How the API calls a code: "bad_input".
const char *job_error_code(enum kb_code code);

// Add the time since state_since_ms to the stage the job is in.
enum kb_code job_lap(struct store *s, int64_t job, int64_t now_ms, struct kb_error *err);

// The end of a job in state "failed" or "cancelled"; error_code and text (a sentence as it is kept,
// base/sentence.h) may be NULL. Ends its batch when it was the last, and tells notify/.
enum kb_code job_end(struct store *s, int64_t job, const char *state, const char *error_code,
                     const char *text, struct kb_error *err);
enum kb_code job_end_cancelled(struct store *s, int64_t job, struct kb_error *err);
// Why a speech that is "bad" cannot be used; why: its own sentence as it is kept, or NULL.
enum kb_code speech_useless(const char *name, const char *why, struct kb_error *err);
// 0..9, else KB_BAD_INPUT.
enum kb_code batch_check_priority(int priority, struct kb_error *err);
// Mark the batch as ended if no job is left to do, and tell notify/.
enum kb_code batch_check_ended(struct store *s, int64_t batch, struct kb_error *err);

// Put a running job back into the queue; not before now + pause_ms.
enum kb_code job_requeue(struct store *s, int64_t job, int64_t pause_ms, const char *waiting,
                         const char *error_code, const char *text, struct kb_error *err);

// A name below results/ that nobody has, "SHELF/STEM.mp4" or with -2, -3…; a new string. ending:
// one of film_endings. It is taken: "NAME.part" is made, empty; the folder too. job: whom it is
// for; what its last attempt wrote may be taken again, if nothing lies there any more. In a
// transaction that writes.
enum kb_code result_take_name(struct store *s, const char *shelf, const char *stem,
                              const char *ending, int64_t job, char **ret, struct kb_error *err);
// What a user calls a result that ends in ending, without that, or ".mp4", behind it; a new string.
char *result_bare_name(const char *name, const char *ending);
// Files that a job left or began below results/. What cannot be removed is logged. In a transaction
// that writes, and only where the name is surely not another job's by now.
void result_unlink(struct store *s, const char *name);
// The same in a transaction of its own, if no job has the name. lease: of the attempt that wrote
// them, 0 for a result that was. What stays, as the database is locked, goes with the clean-up.
void result_release(struct store *s, const char *name, int64_t lease);

// Order by a number that has room in between. The literals take the scope (a batch) as ?1, the
// other one as ?2, and the one that moves as ?3.
struct place_sql {
    const char *ends;     // before the first, behind the last
    const char *beside;   // of the other one, and of the one below that (or NULL)
    const char *renumber; // to 1, 2, 3…
};
// Where id stands to come before that other one; 0 = last, -1 = first. KB_NOT_FOUND (no sentence
// is written) when there is no such other one.
enum kb_code place_find(struct store *s, const struct place_sql *sql, int64_t scope, int64_t id,
                        int64_t before, double *ret, struct kb_error *err);

#endif
