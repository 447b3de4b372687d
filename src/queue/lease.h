// The worker's side of the queue: take a job, tell where it is, end it. batch.h tells what a lease
// is. Threads: as the store they are given (store/store.h).
#ifndef QUEUE_LEASE_H
#define QUEUE_LEASE_H

#include "base/progress.h"
#include "lipsync/dub.h"
#include "queue/material.h"
#include "store/states.h"
#include "store/store.h"

// A file that an option of the job names.
struct job_material {
    const struct material_role *role;
    char *path, *name; // the content; the user's name
    char sha256[65];   // "": it was deleted since; then path and name are NULL
};

struct job_claim {
    int pid; // of the process that is to do it; in: 0 = this one
    int64_t job, batch, lease;
    int attempt;                   // 1..JOB_MAX_ATTEMPTS
    char *audio_path, *video_path; // contents; the names are the users'
    char audio_sha256[65], video_sha256[65];
    char *audio_name, *video_name;
    struct job_material materials[MATERIAL_MOST];
    int n_materials;
    char *output_name; // below results/, "12_news/film_speech_2026-11-27.mp4"; no file has it yet
    char *output;      // its path. "output.part" is there, empty
    char *options;
    double face_at[3]; // whom somebody chose in this video (dub_params.face_at); x < 0: nobody did
    char *note;        // what koubo restore needs to know about the output, JSON
};
// The next job, its state is "loading" from now on. KB_EOF: nothing to do now. Jobs whose estimated
// need does not leave min_free_bytes on the data folder's disk are passed over.
enum kb_code job_claim(struct store *s, const char *worker, int64_t min_free_bytes,
                       struct job_claim *ret, struct kb_error *err);
void job_claim_free(struct job_claim *c);

// Where the job is. Also a heartbeat. *ret_cancel: the user wants it to end. KB_NOT_FOUND: the
// lease is lost (or the job deleted): stop and leave everything alone.
struct job_report {
    enum stage stage; // its id is the job's state
    int64_t done, total;
    double fps; // frames a second lately, 0 unknown
};
enum kb_code job_report(struct store *s, const struct job_claim *c, const struct job_report *r,
                        bool *ret_cancel, struct kb_error *err);
// The output is whole under its name; thumb: its picture was written as .jpg beside it. cues: the
// subtitles it was made with, as subtitles_pack() has them, NULL: none.
enum kb_code job_done(struct store *s, const struct job_claim *c, const struct dub_result *r,
                      bool thumb, const char *cues, struct kb_error *err);
// Failed for good (bad input), or cancelled when why->code is KB_CANCELLED, or queued again when
// why->code is KB_NO_SPACE and attempts are left.
enum kb_code job_failed(struct store *s, const struct job_claim *c, const struct kb_error *why,
                        struct kb_error *err);
// Back into the queue without counting the attempt: the worker is told to stop.
enum kb_code job_give_back(struct store *s, const struct job_claim *c, struct kb_error *err);
// Remove what the attempt wrote, unless it is another attempt's by now or somebody's result. For
// who lost the lease, or could not say that it was done.
void job_remove_output(struct store *s, const struct job_claim *c);

#endif
