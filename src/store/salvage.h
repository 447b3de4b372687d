// A new database out of the rows that can still be read of a damaged one, whatever is damaged: the
// first page, pages in the middle, the end. Rows are found through their table's pages, and where
// the way to them is lost, by looking at every page; indices are made anew. What breaks a rule of
// the schema, or belongs to what is gone, is left out and counted.
// Thread-safe; nobody may have the damaged database open.
#ifndef STORE_SALVAGE_H
#define STORE_SALVAGE_H

#include "base/base.h"

struct salvaged {
    const char *table; // "job"
    int64_t n_rows;    // that are in the new database
    int64_t n_lost;    // that an index still tells of, or that were left out
};

#define SALVAGE_TABLES 8
struct salvage_report {
    struct salvaged tables[SALVAGE_TABLES];
    int n_tables;
    int64_t n_bad; // pages and rows that could not be read
    bool headless; // the first page was lost, so nothing tells how many rows there were
};

// from: the database, with its WAL, left as it is. to: a file that is made, synced; on failure it
// is gone. KB_NOT_FOUND when there is nothing to be read, KB_BAD_INPUT also for one of a newer
// koubo, KB_NO_SPACE.
enum kb_code salvage_run(const char *from, const char *to, struct salvage_report *ret,
                         struct kb_error *err);

#endif
