// Files that the database does not know. The data folder may hold some of an earlier database: it
// was moved away, or an older backup was put in its place. They are counted and told; only the user
// says what becomes of them (koubo restore, koubo clean --lost). docs/store.md tells how files that
// this database is done with are told from them.
// Threads: as the store they are given (store/store.h).
#ifndef STORE_LOST_H
#define STORE_LOST_H

#include "store/names.h"
#include "store/store.h"

struct lost {
    int n_results; // whole videos below results/
    int n_others;  // contents, pictures, unfinished uploads and results
    int64_t bytes; // of all of them
};

// Count them, remember the numbers for lost_remembered(), and see to it that the next job
// and batch get numbers above all that lie in results/. A server does this before it makes any job.
enum kb_code lost_survey(struct store *s, struct lost *ret, struct kb_error *err);

// The files with koubo's names in a folder whose database is gone; nothing is asked of one.
enum kb_code folder_count(const char *folder, struct lost *ret, struct kb_error *err);

// What the last survey or clean-up of any process counted. All 0 when there was none.
enum kb_code lost_remembered(struct store *s, struct lost *ret, struct kb_error *err);

// For the clean-up and koubo restore, which count as they go.
// Count one lost file.
void lost_count(struct lost *l, const char *folder, const struct file_name *name, int64_t size);
// Keep the numbers for lost_remembered().
enum kb_code lost_remember(struct store *s, const struct lost *l, struct kb_error *err);

#endif
