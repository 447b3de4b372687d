// Copies of the database in backups/: one a day, one before a change of the schema, and what
// another took the place of.
//
//   2026-11-27_180501_daily.db     seven are kept
//   2026-11-27_180501_schema2.db   before version 2 became the next one; three are kept
//   2026-11-27_180501_replaced.db  perhaps with -wal: kept until the user removes it
//
// They are made by SQLite's own backup out of one state of the database, a piece at a time: nobody
// who writes waits. A copy has its name only when it is whole (looked through, on the disk).
// Thread-safe: each call has connections of its own.
#ifndef STORE_BACKUP_H
#define STORE_BACKUP_H

#include "base/base.h"
#include "base/cancel.h"

#define BACKUP_NAME 64

struct backup {
    char name[BACKUP_NAME]; // below backups/
    char why[16];           // "daily", "schema2", "replaced"
    int64_t time_ms, size_bytes;
};

// A backup of the database of this folder now, under a new name (*ret_name may be NULL; free()
// it); superfluous older ones of its kind go. why: "daily", or "schema" and the version.
// KB_NO_SPACE also when less would be left free than another one takes; KB_BAD_INPUT when the
// database is damaged; KB_CANCELLED. Nothing half is left.
enum kb_code backup_make(const char *folder, const char *why, const struct cancel *cancel,
                         char **ret_name, struct kb_error *err);

// Newest first; *ret is for free(). No folder: none; one that cannot be read is a failure.
enum kb_code backup_list(const char *folder, struct backup **ret, int *ret_n, struct kb_error *err);
enum kb_code backup_count(const char *folder, int *ret, struct kb_error *err);
// When the newest of the daily ones was made, by its name; 0: there is none. One that is more than
// a day in the future was made by a wrong clock, and does not count; it is also the first to go.
int64_t backup_last_ms(const char *folder);

// Copy the database at path from, with its WAL, into a new file at to, which is removed on failure,
// and look it through. Its schema may be an older one.
enum kb_code backup_copy(const char *from, const char *to, const struct cancel *cancel,
                         struct kb_error *err);

// For who puts a file there: the folder, and a name that is free in it.
enum kb_code backup_make_folder(const char *folder, struct kb_error *err);
char *backup_name(const char *folder, const char *why, int64_t time_ms); // a new string

#endif
