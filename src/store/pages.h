// Reads rows out of the pages of a database file that may be damaged, without SQLite, which gives
// up at the first page that it does not understand. Format: https://www.sqlite.org/fileformat2.html
// Every length and every page number is checked; whatever is in the file, nothing outside of it is
// read. What is committed in the WAL beside it counts.
// Not thread-safe; nobody may write the files meanwhile.
#ifndef STORE_PAGES_H
#define STORE_PAGES_H

#include "base/base.h"

enum value_kind { VALUE_NULL, VALUE_INT, VALUE_REAL, VALUE_TEXT, VALUE_BLOB };

struct value {
    enum value_kind kind;
    int64_t i;
    double d;
    const char *data; // of a text or blob; lasts until the next record
    size_t size;      // in bytes
};

#define RECORD_VALUES 100
struct record {
    int64_t rowid; // 0 in a table without
    uint32_t page; // where it stands
    int n;
    struct value values[RECORD_VALUES];
};

enum page_kind { PAGE_OTHER, PAGE_TABLE, PAGE_TABLE_INNER, PAGE_INDEX, PAGE_INDEX_INNER };

struct pages;

// path: the database; path-wal is read too. One of the two may be missing. KB_NOT_FOUND when
// neither holds a page; KB_BAD_INPUT, KB_NO_SPACE. Without a first page its pages count as 4096
// bytes large.
enum kb_code pages_open(struct pages **ret, const char *path, struct kb_error *err);
void pages_close(struct pages **p); // NULL is fine

uint32_t pages_count(const struct pages *p); // they are numbered from 1
// Of the first page: PRAGMA user_version; -1: there is none.
int64_t pages_version(const struct pages *p);

// A row was passed over because there was no memory for it, not because it is damaged.
bool pages_lacked_memory(const struct pages *p);

// By its first byte. Of a page that holds no rows, that is chance.
enum page_kind pages_kind(const struct pages *p, uint32_t page);
// Is it on the list of free ones, or a piece of a long row that was read?
bool pages_is_spoken_for(const struct pages *p, uint32_t page);

// Calls each for every row that can be read in a page of a table or index. How many cannot be.
typedef void record_fn(void *opaque, const struct record *r);
int pages_each(struct pages *p, uint32_t page, record_fn *each, void *opaque);
// The same for all below a root. Each page is visited once, however they point at each other.
// Pages that are not what they should be are passed over and added to *ret_bad.
void pages_walk(struct pages *p, uint32_t root, record_fn *each, void *opaque, int *ret_bad);

#endif
