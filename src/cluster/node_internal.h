// What the files of a node share: the machine and the jobs that it has of the head.
//
// Threads: the main one (node.c) decides, has a store, tells the head, and alone changes the list
// of duties and their states. Two hear (node_hear.c): offers and orders, which they put into a box
// for the main one. Porters (node_porter.c) move files. Where a thread waits for nothing but memory
// it holds `lock`; what lies under it is said below.
#ifndef CLUSTER_NODE_INTERNAL_H
#define CLUSTER_NODE_INTERNAL_H

#include "cluster/depot.h"
#include "cluster/node.h"
#include "cluster/wire.h"
#include "queue/lease.h"

#include <pthread.h>

#define DUTY_FILES      (3 + MATERIAL_MOST) // speech, video, materials, model
#define MACHINE_PORTERS 4
#define MACHINE_BOX     512 // orders and offers that wait for the main thread

enum duty_state {
    DUTY_TAKEN,     // it is said so, and waits for "go"
    DUTY_FETCHING,  // what is not here
    DUTY_WORKING,   // it is a batch of one in the machine's own queue
    DUTY_SENDING,   // made; on its way
    DUTY_SENT,      // whole in the depot
    DUTY_FAILED,    // said again until the head has it
    DUTY_BACK,      // so too
    DUTY_FORGOTTEN, // another's by now; its worker or a porter may not know yet
};

// Strings are those of the order.
struct duty_file {
    const char *role, *sha256, *name;
    int64_t size;
    const json_t *facts; // an object, or null
};

// A job in the hands of this machine. What is said again at each start is kept in the setting
// "node-job-JOB-LEASE": the order. All else follows from it and from the batch of that name.
struct duty {
    struct duty *next;
    int64_t job, lease;
    enum duty_state state;
    json_t *order; // "go"; NULL: not heard yet
    int attempt;
    const char *note, *lang;
    const json_t *options;
    double face_at[3];
    struct duty_file files[DUTY_FILES];
    int n_files;
    int64_t batch, local;   // its own; 0: none yet
    bool cancel;            // the user's
    bool dropped;           // the batch was told to end
    bool trimmed;           // copies went to make room for it
    int64_t short_us;       // since when it waits for that
    int64_t told_us;        // when it was last told how it stands; 0: not yet
    int64_t since_us;       // of its state
    char *result;           // below the data folder
    struct dub_result made; // and what it is
    struct kb_error why;    // it failed
    const char *bad;        // it goes back as this content came as something else, again and again
    struct cancel stop;     // of the porter that has it; its parent is the machine's
    int tries;              // in vain since something moved
    int64_t again_us;       // not before

    // --- under lock while a porter has it
    bool wanted;              // that a porter does the errand
    enum duty_state errand;   // DUTY_FETCHING or DUTY_SENDING
    bool carried;             // one does
    bool carried_on;          // something moved, which never had come before
    int64_t most;             // bytes that had, in this state
    const char *came_bad;     // a content, as another one
    const char *awaits;       // a content that another porter fetches; NULL: none
    enum kb_code outcome;     // how that went; KB_EOF: not yet
    struct kb_error trouble;  // if not well
    struct job_report report; // where it is
    char sha256[65];          // of the result
    int64_t size;
};

struct machine {
    const struct node_params *params;
    const char *data;
    struct store *store; // the main thread's
    struct supervisor *supervisor;
    int lock_fd;
    bool owns;           // the folder is a machine's
    struct redis *redis; // so too
    pthread_t threads[2 + MACHINE_PORTERS];
    int n_threads;
    struct cancel stop; // all threads

    // --- the main thread's
    char boot[17];
    int living;         // workers
    int slots;          // jobs that it would hold at a time now
    bool beat_now;      // there is news for the head
    int64_t cache_used; // bytes
    int64_t version;    // of the database, when it was last looked at
    int64_t looked_us, beat_us, pulse_us, trimmed_us;
    int64_t lost_us;       // since when Redis is not reached
    int64_t heard_us;      // when the head last said anything; 0: never
    int64_t told_us;       // since when it is told anything
    int64_t complained_us; // that it does not answer
    int64_t wait_until_us; // takes nothing before, since a job had to go back or broke
    int n_back;            // so many in a row
    bool connected, was_connected, leaving;
    bool headless;        // it was said that no head is there
    int64_t drain_end_us; // 0: not draining
    enum { HEAD_UNKNOWN, HEAD_ACTIVE, HEAD_DRAINING, HEAD_REFUSED } head;

    pthread_mutex_t lock;
    pthread_cond_t stir;   // the main thread has something to do
    pthread_cond_t errand; // porters and the taker have
    // --- under lock
    struct duty *duties;
    char pulse[WIRE_NONCE_BYTES];
    int places;                  // jobs that may be taken now
    json_t *orders[MACHINE_BOX]; // oldest first
    struct wire_offer offers[MACHINE_BOX];
    int n_orders, n_offers;
    int n_porters;
    const char *carrying[MACHINE_PORTERS]; // contents that are being fetched
};

// --- node_hear.c: threads, and what is done about what they heard

void *machine_ears(void *machine);
void *machine_taker(void *machine);
void machine_empty_box(struct machine *m); // the main thread

// --- node_duty.c: the main thread's

struct duty *duty_find(struct machine *m, int64_t job, int64_t lease);
struct duty *duty_add(struct machine *m, int64_t job, int64_t lease, enum duty_state state);
void duty_become(struct duty *d, enum duty_state state);
// An order "go" for d, which is taken. KB_BAD_INPUT: it makes no sense.
enum kb_code duty_read(struct duty *d, json_t *order, struct kb_error *err);
enum kb_code duty_keep(struct machine *m, const struct duty *d, struct kb_error *err);
// All that was kept, and batches of which nothing was: those are forgotten.
enum kb_code duty_load(struct machine *m, struct kb_error *err);
// Its files are here: it gets its batch.
enum kb_code duty_begin(struct machine *m, struct duty *d, struct kb_error *err);
// How its batch stands.
enum kb_code duty_look(struct machine *m, struct duty *d, struct kb_error *err);
// The batch is to end.
void duty_drop(struct machine *m, struct duty *d);
// It goes back to the head, and this machine takes nothing for a while.
void duty_back(struct machine *m, struct duty *d);
// The head knows the end of it.
void duty_forget(struct machine *m, struct duty *d);
// Takes those away that are forgotten and that nobody works on any more.
void duty_bury(struct machine *m);
void duty_free_all(struct machine *m);
bool duty_is_over(const struct duty *d); // nothing is to be done but to say so

// --- node_copies.c: contents that are here. store: of the thread that asks

// Is it? Then it was just used.
enum kb_code copies_find(struct store *s, const char *sha256, int64_t size, char ret_asset[33],
                         struct kb_error *err);
// An unfinished one, or a new one.
enum kb_code copies_begin(struct store *s, const struct duty_file *f, char ret_asset[33],
                          struct kb_error *err);
// Which asset it is, by the name and with the facts that the head knows. Inside a transaction.
enum kb_code copies_use(struct store *s, const struct duty_file *f, char ret_asset[33],
                        struct kb_error *err);
// A model gets a name by which workers find it; ret: that name, without folder.
#define MODELS_NAME      "models" // below the data folder
#define MODEL_NAME_BYTES 64
enum kb_code copies_name_model(struct store *s, const struct duty_file *f,
                               char ret[MODEL_NAME_BYTES], struct kb_error *err);
// What no duty needs goes, the one that was not used for longest first, until what is left has at
// most so many bytes, and so many are free on the disk. *ret: what is left.
enum kb_code copies_trim(struct machine *m, int64_t limit, int64_t free_bytes, int64_t *ret,
                         struct kb_error *err);
int64_t copies_free_bytes(const char *folder); // of its disk

// --- node_porter.c

void *machine_porter(void *machine);

// --- node_tell.c: the main thread's

// Reads the pulse, tells what is to be told. KB_UNAVAILABLE: later.
enum kb_code machine_tell(struct machine *m, struct kb_error *err);

#endif
