// Files that the database does not know. The data folder may hold some of an earlier database: it
// was moved away, or an older backup was put in its place. They are counted and told; only the user
// says what becomes of them (koubo restore, koubo clean --lost). docs/store.md tells how files that
// this database is done with are told from them.
#ifndef JOB_LOST_H
#define JOB_LOST_H

#include "job/store.h"

struct lost {
    int n_results; // whole videos below results/
    int n_others;  // contents, pictures, unfinished uploads and results
    int64_t bytes; // of all of them
};

// Count them, remember the numbers for lost_remembered(), and see to it that the next job gets a
// number above all that lie in results/. A server does this before it makes any job.
enum kb_code lost_survey(struct store *s, struct lost *ret, struct kb_error *err);

// What the last survey or clean-up of any process counted. All 0 when there was none.
enum kb_code lost_remembered(struct store *s, struct lost *ret, struct kb_error *err);

#endif
