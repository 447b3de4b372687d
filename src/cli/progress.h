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

// What AUTO means here.
enum progress_mode progress_mode_of(enum progress_mode mode);

struct progress_view;

// Where work stands of which a view shows one part: a batch, whose videos have a view each.
struct progress_whole {
    double done;      // 0..1
    double left_s;    // until all of it is done; < 0: not known yet
    int64_t began_us; // kb_now_us()
    int part, parts;  // this one, from 1, of how many
    // Which part is prepared meanwhile, 0: none; how far that is; ready: it waits for its turn.
    int next;
    struct progress next_at;
    bool next_ready;
};
// Called with the part's progress, never two at once, from the threads that call progress_update()
// and from the view's own.
typedef void progress_whole_fn(void *opaque, const struct progress *now,
                               struct progress_whole *ret);

// label (may be NULL) stands before every line, "[2/5] person.mp4". Bars and lines go to stderr,
// JSON to stdout. A bar is of fixed width and takes one line, however narrow the terminal and long
// the label. Never NULL; starts the thread.
struct progress_view *progress_start(enum progress_mode mode, const char *label);
// The same for a part of something larger: percent and times are those of the whole, and nothing of
// the bar stays when it ends.
struct progress_view *progress_start_part(enum progress_mode mode, const char *label,
                                          progress_whole_fn *whole, void *opaque);

// A progress_fn; opaque is the view. Thread-safe.
void progress_update(void *opaque, const struct progress *p);

// The work succeeded: close the last stage's line and stop the thread. NULL is fine; sets *v to
// NULL.
void progress_done(struct progress_view **v);
// The work failed or ended early: leave the last line as it is (of a part: erase it) and stop.
void progress_stop(struct progress_view **v);

#endif
