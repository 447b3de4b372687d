// Shows how far long work is: a bar on a terminal, lines elsewhere, or one JSON object a line.
// A thread of its own keeps the display moving even while the work reports nothing.
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "base/progress.h"

#include <stdbool.h>
#include <stdio.h>

enum progress_mode {
    PROGRESS_AUTO, // bar when stderr is a terminal, else lines
    PROGRESS_BAR,
    PROGRESS_LINES,
    PROGRESS_JSON,
    PROGRESS_NONE,
};

struct progress_view;

// label (may be NULL) stands before every line, "[2/5] person.mp4". Bars and lines go to stderr,
// JSON to stdout. Never NULL; starts the thread.
struct progress_view *progress_start(enum progress_mode mode, const char *label);

// A progress_fn; opaque is the view. Thread-safe.
void progress_update(void *opaque, const struct progress *p);

// The work succeeded: close the last stage's line and stop the thread. NULL is fine; sets *v to
// NULL.
void progress_done(struct progress_view **v);
// The work failed or ended early: leave the last line as it is and stop.
void progress_stop(struct progress_view **v);

#endif
