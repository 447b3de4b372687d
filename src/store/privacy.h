// Who may look into the data folder: its user alone, unless the owner opens a folder. Threads: as
// the store they are given (store/store.h).
#ifndef STORE_PRIVACY_H
#define STORE_PRIVACY_H

#include "store/sql.h"

// Makes the folder path below the data folder, and those above it, as far as they are missing: the
// first part for this user alone, as all of the data folder is made; what is below it as the umask
// says, for the owner may open the first part. False with errno, as base/beneath.h says.
bool privacy_make_folder(const char *data, const char *path);

// New folders are made for this user alone (0700). Those of an older koubo had what the umask gave:
// here they are closed, once for each database. What the owner opens again afterwards (results/ for
// a share of the network) stays as he has it. *ret_closed: the names of those that others could
// enter, with commas between; "" = none, or it was done before. *ret_open: those that others may
// still enter, because another disk is mounted there or the system refused; they are told once,
// too, for what the owner opened meanwhile must not be closed by another try.
enum kb_code privacy_close_folders(struct store *s, struct text *ret_closed, struct text *ret_open,
                                   struct kb_error *err);

#endif
