// Does the database in a data folder belong to the files that lie there? Both know a random number:
// the folder in a file of its own ("id"), the database as the setting "folder". A folder whose
// database is gone is no new folder, and a database from elsewhere would take its files for those
// of a stranger.
// Threads: as the store they are given (store/store.h).
#ifndef STORE_IDENTITY_H
#define STORE_IDENTITY_H

#include "store/sql.h"

#define IDENTITY_DIGITS 32

// Before a database is opened that is not there, or empty: is one to be expected? KB_NOT_FOUND with
// what lies in the folder and what can be done.
enum kb_code identity_expect(const char *folder, struct kb_error *err);

// Of an opened database. Whichever of the two numbers is missing is made, quietly; where they
// differ: KB_BAD_INPUT with the way out, or with adopt the database gets that of the folder.
enum kb_code identity_check(struct store *s, bool adopt, struct kb_error *err);

// The folder is to have a new one with its next database.
void identity_forget(const char *folder);

#endif
