// Jobs that are in the hands of other machines. Each has a row beside its job's: which machine has
// it, by which lease, how far its result has come. To the sweep (sweep.h) they are nobody's: the
// head of the cluster answers for them. A row goes with the end of the attempt.
//
//   offered ─► taken ─► made ─► coming ─► here ─► (done)
//      │         │        │        │        └ the inspector looks at it as at an upload
//      │         │        │        └ its bytes are on their way to an asset that no user sees
//      │         │        └ the machine has made it, and has a free place again
//      └─────────┴──► lost, given back, failed, cancelled: no row any more
//
// Several of these may stand in one transaction; that something is no longer theirs (KB_NOT_FOUND)
// does not spoil it.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_REMOTE_H
#define QUEUE_REMOTE_H

#include "queue/lease.h"

enum remote_state { REMOTE_OFFERED, REMOTE_TAKEN, REMOTE_MADE, REMOTE_COMING, REMOTE_HERE };

struct remote {
    int64_t job, lease;
    int attempt;
    enum remote_state state;
    char entry[48];  // of the offer; "" = not offered yet
    char node[33];   // "" while it is only offered
    char sha256[65]; // of the result, "" = not known yet
    int64_t size;
    char asset[33];   // into which it comes, "" = none yet
    bool cancel;      // the user wants it to end
    bool paused;      // so is its batch
    int64_t since_ms; // of this state, the wall clock's
};

// The next job of the queue, as job_claim() gives it to a worker, for whoever takes it. KB_EOF.
// Several at once: at most max, one transaction. *ret_n. job_claim_free() each.
enum kb_code remote_claim(struct store *s, int64_t min_free_bytes, struct job_claim *ret, int max,
                          int *ret_n, struct kb_error *err);
// It stands in the stream under that entry.
enum kb_code remote_offered(struct store *s, int64_t job, int64_t lease, const char *entry,
                            struct kb_error *err);
// A machine has taken it. KB_NOT_FOUND: it is not on offer (any more), or another one's; KB_OK also
// if it is this machine's already.
enum kb_code remote_taken(struct store *s, int64_t job, int64_t lease, const char *node,
                          struct kb_error *err);
// All of them, by job. free(*ret).
enum kb_code remote_list(struct store *s, struct remote **ret, int *ret_n, struct kb_error *err);
// One, KB_NOT_FOUND. And what job_claim() told of it: for orders, reports and its end.
enum kb_code remote_get(struct store *s, int64_t job, struct remote *ret, struct kb_error *err);
enum kb_code remote_read(struct store *s, const struct remote *r, struct job_claim *ret,
                         struct kb_error *err);

// Where several are, in one transaction that need not last; as job_report(). lost: not theirs any
// more.
struct remote_report {
    int64_t job, lease;
    struct job_report at;
    bool lost, cancel; // out
};
enum kb_code remote_report(struct store *s, const char *node, struct remote_report *reports, int n,
                           struct kb_error *err);

// The machine has made it: what is known of it, as job_done() takes it. For its bytes, which may
// come before it is told of (over HTTP they do), an asset is made that no user sees and nobody else
// can name, or it is the one of before. What is told of another file than before, or than came,
// comes anew. KB_NOT_FOUND as above.
enum kb_code remote_made(struct store *s, int64_t job, int64_t lease, const char *node,
                         struct kb_error *err);
enum kb_code remote_result(struct store *s, int64_t job, int64_t lease, const char *node,
                           const char *sha256, int64_t size, const struct dub_result *r,
                           struct kb_error *err);
enum kb_code remote_asset(struct store *s, int64_t job, int64_t lease, const char *node,
                          char ret_asset[33], struct kb_error *err);
// The machine has another file now than came before it was told of: that goes, and the file comes
// anew. *ret: it went; false: what came was told of, or nothing came.
enum kb_code remote_anew(struct store *s, int64_t job, int64_t lease, const char *node, bool *ret,
                         struct kb_error *err);
// Those whose asset was looked at end here, in one transaction each: the result gets its place and
// the job is done; or it is no video, not as long or not as large as was told: the job fails as by
// a crash, an attempt counted. *ret: the job, and whether it was good. KB_EOF: none now; what those
// that ended leave goes with it, so ask until then. Where results/ is another disk it takes as long
// as a copy.
struct remote_end {
    int64_t job, lease;
    char node[33], entry[48], sha256[65];
    bool good;
    struct kb_error why;
};
enum kb_code remote_settle(struct store *s, struct remote_end *ret, struct kb_error *err);
// Would it find one? Nothing is written.
enum kb_code remote_arrived(struct store *s, bool *ret, struct kb_error *err);

// The other ends. KB_NOT_FOUND: it was not theirs.
enum kb_code remote_failed(struct store *s, const struct remote *r, const struct kb_error *why,
                           struct kb_error *err); // as job_failed()
// Its workers broke there (KB_INTERNAL), which may be the machine's fault: queued again with that
// sentence, the attempt counted; failed after the last one.
enum kb_code remote_crashed(struct store *s, const struct remote *r, const struct kb_error *why,
                            struct kb_error *err);
enum kb_code remote_back(struct store *s, const struct remote *r,
                         struct kb_error *err); // uncounted
enum kb_code remote_lost(struct store *s, const struct remote *r, const char *reason,
                         struct kb_error *err); // as sweep_worker_lost()
// No cluster any more: all are queued again, uncounted.
enum kb_code remote_disband(struct store *s, struct kb_error *err);

// May that machine read that content: is it a file of a job that it has?
enum kb_code remote_may_read(struct store *s, const char *node, const char *sha256, bool *ret,
                             struct kb_error *err);
// Is it one of those below?
enum kb_code remote_needs(struct store *s, const char *sha256, bool *ret, struct kb_error *err);
// Contents that queued and running jobs of other machines need, or whose result is coming: what an
// S3 depot keeps. *ret: 64 digits each, one after the other, sorted. free(*ret).
enum kb_code remote_contents(struct store *s, char (**ret)[65], int *ret_n, struct kb_error *err);

#endif
