// Another database in the place of the one that is there, which is kept in backups/ with its WAL:
// nothing is ever deleted here. A crash at any moment loses neither: "koubo.db.new" is whole and on
// the disk, and says that it shall take the place; whoever takes the folder's lock next goes on.
// Call with the lock of the folder (store/lock.h). Thread-safe.
#ifndef STORE_REPLACE_H
#define STORE_REPLACE_H

#include "base/base.h"

// part: the name of a whole database in the folder itself, synced and closed. It is gone
// afterwards, also on failure. *ret_kept (may be NULL): what the old one is called below backups/,
// free() it, or NULL where there was none. KB_NO_SPACE, KB_BAD_INPUT.
enum kb_code replace_database(const char *folder, const char *part, char **ret_kept,
                              struct kb_error *err);

// Go on with an exchange that was interrupted; mostly there is none.
enum kb_code replace_finish(const char *folder, struct kb_error *err);

// What is left of a database into backups/: for one that begins anew.
enum kb_code replace_set_aside(const char *folder, struct kb_error *err);

#endif
