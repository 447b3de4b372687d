// A data folder with something of everything in it, copies of it, and the question whether one is
// still whole after it was broken.
#ifndef TESTS_FAULTS_WORLD_H
#define TESTS_FAULTS_WORLD_H

#include "base/base.h"
#include "store/sql.h"

#define WORLD_WHY 1000

// Made once and copied. Ids and numbers of what lies in it:
#define WORLD_SPEECH   "00000000000000000000000000000001" // ready, needed by a queued job
#define WORLD_FILM     "00000000000000000000000000000002" // ready, needed by a queued job
#define WORLD_KEPT_JOB 1                                  // done, young
#define WORLD_NEW_JOB  2                                  // queued
#define WORLD_OLD_JOB  3                                  // done, a year ago
// Into an empty folder. Fails the test when it does not succeed.
void world_make(const char *folder);
// The same as a koubo left it that knew the schema of that version (1 or 2) only.
void world_make_old(const char *folder, int version);

// Folders are made and removed a thousand times: in memory, where the system has room for it there.
void world_choose_disk(void);

// A copy of all regular files and folders below from, into the new folder to.
void world_copy(const char *to, const char *from);

// The bytes that uploads in the tests have: n of them, after seed.
void world_bytes(unsigned char *bytes, size_t n, uint32_t seed);
// A tiny film of grey through koubo's own writer, as a job's result is written.
enum kb_code world_film(const char *path, struct kb_error *err);

// As a server does that begins: it ends what a crash interrupted.
enum kb_code world_open(struct store **ret, const char *folder, struct kb_error *err);

// False: *why says what is broken. The database must be whole; what rows name must lie there with
// its bytes, and nothing half may lie under a whole one's name. settled: nobody works in it any
// more and the clean-up has run, so every file must be named by a row.
bool world_is_whole(struct store *s, bool settled, char why[WORLD_WHY]);
// What a new server does about all that a crash left: workers that are gone, then the clean-up, as
// if ten minutes had passed. False: *why.
bool world_settle(struct store *s, char why[WORLD_WHY]);

// The first column of the first row as a number, -1 without one.
int64_t world_ask(struct store *s, const char *sql);

#endif
