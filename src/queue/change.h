// Changes, for live pages.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_CHANGE_H
#define QUEUE_CHANGE_H

#include "store/store.h"

// Every insert, update and delete gets the next number of one counter. This appends one object
//   {"rev":N,"batches":[…],"jobs":[…],"assets":[…],"gone":[{"kind":"job","id":5},…]}
// with the present form of all that changed after rev; *ret_rev is N. A rev that is too old to know
// what was deleted since is answered with "reset":true: load everything again. "now":ms is wall
// clock. It is made in each wanted language, all of one state of the database, into its place of
// ret.
enum kb_code change_list_json(struct store *s, int64_t rev, const bool wanted[KB_LANGUAGES],
                              struct text ret[KB_LANGUAGES], int64_t *ret_rev,
                              struct kb_error *err);
int64_t change_revision(struct store *s);

#endif
