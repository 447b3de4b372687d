// The server's side of its workers: one thread that has a store of its own, gives jobs and assets
// out, and writes down what becomes of them. It serves all lines (worker/line.h) and believes
// nothing that comes over them: what a worker says counts for what was given to this worker alone,
// and only where it makes sense; where a file lies and how it is called the broker knows itself.
//
// What cannot be written down, because somebody holds the database or the disk is full, waits here
// for as long as that lasts, whatever the worker does meanwhile.
//
// broker_start() and broker_stop(): one thread. The rest: any thread, and none of it waits for the
// database.
#ifndef WORKER_BROKER_H
#define WORKER_BROKER_H

#include "base/progress.h"
#include "store/store.h"

struct broker;
struct previews;

#define BROKER_SEATS 80 // workers at a time

enum kb_code broker_start(struct broker **ret, const char *data, int64_t min_free_bytes,
                          struct kb_error *err);
// What processes that have ended have left unsaid is still written, for at most wait_ms.
void broker_stop(struct broker **b, int64_t wait_ms);

// A seat for a process that is about to be started as this worker; its folder work/ID is made, and
// empty of what an earlier one left. *ret_line is to be its standard input, and the caller's to
// close afterwards. -1: err says why, for instance that another process has a worker of that name
// there. The seat of an earlier process of that name must be free.
enum seat_kind { SEAT_JOBS, SEAT_INSPECTS, SEAT_PREVIEWS };
int broker_seat(struct broker *b, const char *worker, enum seat_kind kind, int *ret_line,
                struct kb_error *err);
// The process lives, and gets work. 0: it could not be started, the seat is free again.
void broker_begin(struct broker *b, int seat, int pid);
// It has ended. reason: as in sweep_worker_lost(), a literal; NULL: as it should. hung: it was
// ended since it stood still.
void broker_end(struct broker *b, int seat, const char *reason, bool hung);
// Something of that process is still to be written down.
bool broker_is_seated(struct broker *b, int seat);

// All workers are to give their work back and end; nothing is given out any more, and what comes
// back does not count as an attempt.
void broker_leave(struct broker *b);

// What is known of a worker; times are those before the lines were last looked at.
struct broker_look {
    bool starting;     // its model is being loaded for the first time
    bool bad;          // it said what makes no sense: it is to be killed
    int64_t job;       // 0: none, or it has nothing to do with it any more
    bool preview;      // it makes one
    enum stage stage;  // of the job, or of the preview
    int64_t still_ms;  // since that last moved
    int64_t silent_ms; // since anything was heard
    bool leaves;       // it was told to end, in peace
    int64_t told_ms;   // since it was told to end what it is at, or itself; 0: it was not
    int64_t asset_ms;  // since it was given an asset whose end it has not told; 0: none
    int64_t idle_ms;   // since it could have asked for work and has not
};
void broker_look(struct broker *b, int seat, struct broker_look *ret);

// Where looks before the long run are asked for. The one who makes them is to be there while one
// waits (previews_wait()); without work for a minute it is sent away.
struct previews *broker_previews(struct broker *b);

// The jobs that are in the hands of a worker or wait to be written down: for sweep_run(). How many.
int broker_jobs(struct broker *b, int64_t ret[BROKER_SEATS]);

#endif
