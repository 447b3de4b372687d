// What the next dub of a batch needs first - its speech heard, the faces of its film found - made
// by a thread of its own while the one before is generated, so that no processor waits at the
// seams. At most one is ahead. What comes of it does not depend on when: it is what the dub would
// have made itself.
//
// Nothing is said and no error is kept of a film: the dub meets it again in its own turn.
// Thread-safety: preparer_begin() and preparer_state() from any thread, the rest from one.
#ifndef CLI_PREPARER_H
#define CLI_PREPARER_H

#include "cli/hearing.h"
#include "lipsync/dub.h"

struct preparer;

// What is to be prepared. Pointers are borrowed until it is taken or the preparer is freed.
struct preparing {
    int number; // of the pair, from 1
    const struct pair *pair;
    const struct speech_options *how; // of hearing_make()
    const struct hearing *heard;      // the speech of the dub that runs: used if it fits
    struct dub_params dub;            // audio and mel do not count
};

// What came of it.
struct prepared {
    // The speech, unless that of the dub before fits; with code and err if it could not be heard.
    bool tried;
    struct hearing hearing;
    enum kb_code code;
    struct kb_error err;
    struct dub_kept *kept; // with the film's track, for dub_params.kept; NULL: there is none
};

// No thread is started before there is something to do. Never NULL.
struct preparer *preparer_create(void);
// Nothing happens while something else is prepared, or was and has not been taken.
void preparer_begin(struct preparer *p, const struct preparing *what);
// Which number is prepared, and how far that is; 0: none, or nothing came of it. *ret_ready: it
// waits to be taken.
int preparer_state(struct preparer *p, struct progress *ret, bool *ret_ready);
// Waits for that number, telling watch how far it is; of another one, or where nothing was begun,
// *ret is all zero at once. What is in *ret is the caller's: prepared_clear().
void preparer_take(struct preparer *p, int number, const struct watch *watch, struct prepared *ret);
void prepared_clear(struct prepared *r);
void preparer_free(struct preparer **p); // cancels what is being made; NULL is fine

#endif
