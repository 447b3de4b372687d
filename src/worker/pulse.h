// The pulse of a worker process: a thread that has the line to the server (worker/line.h). It tells
// every 0.2 s where the job is and every second that the process lives, hears of new work and of
// cancelling, and notices when the server is gone. The work never waits for it: where it is stands
// under a lock that is held for a moment only.
//
// A worker that does not stop when it is to leave gives its job back from here and ends, whatever
// the work still does; an inspector that cannot be stopped at a file ends, too.
//
// Thread-safety: pulse_progress(), pulse_say() and pulse_log() from any thread, the rest from the
// one that works.
#ifndef WORKER_PULSE_H
#define WORKER_PULSE_H

#include "base/log.h"
#include "base/progress.h"
#include "worker/worker.h"

#include <jansson.h>

struct pulse;

// Its state is "starting". params is borrowed until pulse_stop().
enum kb_code pulse_start(struct pulse **ret, const struct worker_params *params,
                         struct kb_error *err);
void pulse_stop(struct pulse **p); // joins the thread; NULL is fine

// Raised when the server is gone or wants this process to end.
const struct cancel *pulse_leave(const struct pulse *p);
// Ends the job or the asset in work; its parent is pulse_leave().
const struct cancel *pulse_work(const struct pulse *p);

// The server hears of it at once. state: "idle" or "busy", a literal.
void pulse_set_state(struct pulse *p, const char *state);
// What is loaded, for the next time it hears; NULL: nothing. precision: a literal.
void pulse_set_engine(struct pulse *p, const char *model, const char *precision);

// A message to the server; taken.
void pulse_say(struct pulse *p, json_t *message);
// A log_sink_fn, opaque is the pulse.
void pulse_log(void *pulse, enum log_level level, const char *text);

// Asks for work and waits until there is some: the server's message, for json_decref(). NULL: this
// process is to leave.
json_t *pulse_ask(struct pulse *p);
// From begin to end the job is told of. *ret_lost: it is no longer this worker's, leave it alone.
void pulse_begin_job(struct pulse *p);
void pulse_end_job(struct pulse *p, bool *ret_lost);
// The model is loaded: says so, and waits until the server has taken what it takes of a process
// that has read no user's file, which is at most as long as a job may stand still. Ends early if
// the job is to.
void pulse_await_go(struct pulse *p);
// A progress_fn, opaque is the pulse: remembers where the work is.
void pulse_progress(void *pulse, const struct progress *now);

// Between them a file is read, which may take no longer than 30 s.
void pulse_begin_asset(struct pulse *p);
void pulse_end_asset(struct pulse *p);

#endif
