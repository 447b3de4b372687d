// What the files of the head share: the machines and the jobs that they have, as the database and
// the machines themselves last told. All of it from the head's thread but where it says otherwise.
//
// A turn of that thread: hear what was told, write it down in as few transactions as may be, answer
// what is written, look after who is silent, offer as many jobs as there are free places.
#ifndef CLUSTER_HEAD_PARTS_H
#define CLUSTER_HEAD_PARTS_H

#include "cluster/head.h"
#include "cluster/wire.h"
#include "queue/node.h"
#include "queue/remote.h"
#include "store/patience.h"
#include "worker/flood.h"

#include <pthread.h>

#define HEAD_TURN_MS  100     // how long it listens before it looks at the database again
#define HEAD_LOOK_US  1000000 // also without a change: pauses end and disks get free by time
#define HEAD_AGAIN_US 500000  // after which what failed is tried again
#define HEAD_TOLD     500     // messages of a turn
#define HEAD_NONCES   3       // the latest, with which machines may speak
#define HEAD_JOBS     1024    // that one machine may have at a time
#define HEAD_NEEDS    (3 + MATERIAL_MOST) // files of a job: speech, video, materials, model
#define HEAD_OWED     16 // that it may have made beyond four for each place, not whole here yet
#define HEAD_SENDS    3  // so often may a machine send a file that is not what it told

enum mate_state { MATE_UNTOLD, MATE_ACTIVE, MATE_DRAINING, MATE_REFUSED };

// A machine. Times ending in _us are those of kb_now_us() unless they say "clock".
struct mate {
    struct node row;
    bool here;    // it was heard lately
    bool refused; // another version
    bool leaves;  // it takes nothing more by its own will
    char version[32], boot[17];
    int slots;           // jobs that it would do at a time
    int n_lost;          // answers of this turn that a job is not its
    int busy;            // of the places in which it has a job, counted anew when it matters
    int owes;            // files of what it has made that are not whole here, as busy
    int64_t heard_clock; // head.clock_us when it was last heard
    int64_t off_us;      // it gave a job back: until then its places do not count
    int64_t row_us;      // when its row was last written
    enum mate_state told;
    int64_t told_us;
    struct flood flood;
    int64_t warned_us; // that it said what makes no sense
};

struct need {
    char sha256[65];
    char *path; // of the file that is to be there
};

// A job that is on offer or a machine's.
struct held {
    struct remote r;
    int64_t heard_clock; // head.clock_us when its machine last mentioned it
    int64_t since_us;    // of its state
    int64_t moved_clock; // head.clock_us when it was last further than before
    enum stage stage;    // as it was then
    int64_t done;
    char boot[17];       // of the machine's process when it took it; "" = not known
    int missing;         // beats on end that did not mention it, of another process
    bool offered;        // it stands in the stream as that is now
    bool ended;          // since the rows were last read
    int64_t cancel_us;   // when the machine was last told that it is to end
    int64_t asked_clock; // head.clock_us when it was first told so; 0 = not yet
    int64_t came;        // bytes of its file when that was last looked at
    bool wanted;         // its file is there to be brought in (S3)
    int sends;           // how often that was not what was told
    char bad[65];        // its machine gives it back, as this file came as another; "" = no
    struct need *needs;  // of HEAD_NEEDS, in an S3 depot; NULL: not looked at yet
};

// What a machine said, taken apart and checked.
enum said_kind { SAID_BEAT, SAID_TAKEN, SAID_MADE, SAID_DONE, SAID_FAILED, SAID_BACK };
struct said {
    enum said_kind kind;
    char node[NODE_NAME_BYTES];
    int64_t job, lease;
    char sha256[65];
    int64_t size;
    struct dub_result result;
    struct kb_error why;
    char bad[65]; // "back": the content that came as something else; "" = none
    // Of a beat.
    bool is_last; // no later one of that machine is waiting
    int slots;
    char *facts;
    struct remote_report *reports;
    int n_reports;
};
void said_free(struct said *s);

// What is to be said once the transaction is over.
enum answer_kind { ANSWER_NONE, ANSWER_GO, ANSWER_CANCEL, ANSWER_LOST, ANSWER_AGAIN, ANSWER_OVER };
struct answer {
    enum answer_kind kind;
    char node[NODE_NAME_BYTES]; // "" = nobody is told
    int64_t job, lease;
    char entry[WIRE_ID_BYTES]; // of the stream, to be taken out; "" = none
    char sha256[65];           // an object of the depot that may go; "" = none
    const char *why;           // of "again": a sentence, not translated yet
};

struct files; // head_files.c: who moves files from and to an S3 depot

struct head {
    char *data, *redis_url, *depot, *credentials;
    int64_t min_free_bytes, depot_keep_ms;
    int64_t silent_us, still_us, pause_for_us;
    pthread_t thread;
    struct cancel cancel; // raised by head_stop()
    char identity[33];

    // --- the thread's alone
    struct redis *redis;
    struct store *store;
    struct patience patience;
    struct files *files; // NULL: no S3
    bool is_head;        // nobody else is, as of the last look
    bool listens;        // and messages can be heard
    int64_t look_us;     // when pulse and head are looked at again
    int64_t pulse_us;    // when the pulse was last changed
    int64_t clock_us;    // how long it has listened in all
    int64_t heard_us;    // when it last listened; 0 = not since it could
    char after[WIRE_ID_BYTES];
    int64_t version, looked_us; // when it was last looked for jobs
    bool stale;                 // rows are to be read again; what we changed ourselves is known
    bool stale_mates;           // and so are the machines, a little later
    int64_t mates_us;           // when those were read
    bool look;                  // there may be a job that was none before
    bool complained;            // of the database
    int64_t again_us;           // not before, after it failed
    int64_t settle_us;          // no result gets its place before: that failed
    int64_t settle_said_us;     // when that was last said
    struct hasher *hasher;      // head_hash.c: who reads a file; NULL: nobody
    struct settler *settler;    // head_settle.c: who copies results to another disk; NULL: nobody
    int64_t turn_us;            // when this turn began to hear
    int64_t pause_us;           // no jobs are claimed before: the depot failed
    int64_t strangers_us;       // when unknown machines were last named
    struct mate *mates;         // by name
    int n_mates;
    struct held *held; // by job
    int n_held;
    struct wire_told told[HEAD_TOLD];
    struct said said[HEAD_TOLD]; // what is not written yet
    int n_said;
    bool has_ended; // something, since it was last looked what the depot keeps
    struct answer *answers;
    int n_answers, room_for_answers;

    pthread_mutex_t lock;
    pthread_cond_t woken;
    // --- under lock, which is held for a moment only
    bool wake;
    char nonces[HEAD_NONCES][WIRE_NONCE_BYTES]; // the newest first; "" = none
    bool shown_connected;
    int64_t shown_since_ms;
    char shown_version[32];
    struct kb_error shown_error, shown_depot_error; // text "" = none
    int shown_offers, shown_arriving;
};

// --- head_rows.c: nodes and jobs as the database has them

// Read them again where something changed. False: the database cannot be asked now.
bool head_refresh(struct head *h);
// The machines too, as somebody speaks whom we do not know, or with another secret: once in a turn.
void head_refresh_mates(struct head *h);
void head_forget_rows(struct head *h); // free them
struct mate *head_mate(struct head *h, const char *name);
void head_count_places(struct head *h);              // each machine's busy and owes
bool head_has_place(const struct mate *m);           // by those
struct held *head_held(struct head *h, int64_t job); // NULL: none, or ended
// It is that machine's, by that lease. NULL if not.
struct held *head_held_by(struct head *h, const char *node, int64_t job, int64_t lease);
// The database failed (KB_UNAVAILABLE: it is locked): said once, tried again soon.
void head_store_failed(struct head *h, const struct kb_error *err);

// --- head_hear.c

// Take apart what was told, note who lives. What is to be written is in h->said.
void head_take(struct head *h, const struct wire_told *told, int n);

// --- head_write.c

// What was said, into the database.
void head_write(struct head *h);

// --- head_say.c

void head_answer(struct head *h, const struct answer *a); // kept until head_say()
void head_say(struct head *h);                            // all answers
void head_say_states(struct head *h);                     // to machines that do not know theirs
void head_refusal(const struct mate *m, struct kb_error *ret); // why that one gets no jobs

// --- head_jobs.c

void head_look_after(struct head *h); // the silent, the cancelled, the paused, the untaken
void head_offer(struct head *h);      // as many as there are free places
// The stream is another one now: nothing stands in it.
void head_offer_anew(struct head *h);

// --- head_settle.c

void head_settle(struct head *h); // results that were looked at; it waits for no copy
// Waits for the copy that is under way, if one is.
void head_settler_stop(struct head *h);

// --- head_hash.c

// The SHA-256 of fd, which is taken, or, where fd is -1, of the model that options name (key; it is
// known to model.h then). KB_EOF: it is being read, or another one is: ask again.
enum kb_code head_hash(struct head *h, const char *key, int fd, char ret[65], struct kb_error *err);
// Waits for the file that is being read, if one is.
void head_hasher_stop(struct head *h);

// --- head_go.c

// The order to begin, a new object. KB_NOT_FOUND: a file of it is gone; the job ended with that.
// KB_EOF: its model is still being read.
enum kb_code head_go(struct head *h, const struct held *held, json_t **ret, struct kb_error *err);
// The files that the job needs: h's needs, HEAD_NEEDS of them, those that are not there "". Codes
// as of head_go().
enum kb_code head_needs(struct head *h, struct held *held, struct kb_error *err);
void needs_free(struct need **needs);
// A file of the job, held->bad, came to its machine as another one. Is it ours that is damaged?
// KB_OK: it is, it went, and the job ended with a sentence; KB_EOF: no; or, with *ret_later, that
// is not known yet.
enum kb_code head_end_damaged(struct head *h, const struct held *held, bool *ret_later,
                              struct kb_error *err);
// A content that is not there any more: the job fails with the sentence, as does who else needs it.
bool head_is_gone(struct head *h, const struct job_claim *c, struct kb_error *why);

// --- head_files.c: threads of its own. All of these from the head's.

enum kb_code files_start(struct files **ret, struct head *h, struct kb_error *err);
void files_stop(struct files **f); // NULL is fine
// Is the content in the depot? If not, it is sent, once for all who need it. KB_EOF: on its way.
// Another code: that failed, told once; KB_INTERNAL: its file here cannot be read.
enum kb_code files_send(struct files *f, const struct need *n, struct kb_error *err);
// That machine could not get it: it is looked for again.
void files_doubt(struct files *f, const char *sha256);
// It got something else: what is there is written over, of whatever size it is.
void files_send_anew(struct files *f, const struct need *n);
// The result of that job goes into its asset. KB_EOF: on its way; KB_OK: it is there; KB_NOT_FOUND
// and KB_BAD_INPUT: nothing is there, or something else; told once.
enum kb_code files_fetch(struct files *f, const struct held *held, struct kb_error *err);
void files_drop_fetch(struct files *f, int64_t job); // nobody wants it any more
void files_remove(struct files *f, const char *sha256);
// Once in a while: what nobody needs any more goes. ended: something has ended since.
void files_tidy(struct files *f, const struct head *h, bool ended);
// The latest failure. False: none since the last success.
bool files_error(struct files *f, struct kb_error *ret);

#endif
