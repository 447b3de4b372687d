// The lock of a data folder: the file "lock" holds "PID\nADDRESS\n" and is locked by the running
// server, or by a command that puts another database in place. It falls with its process.
// Thread-safe.
#ifndef STORE_LOCK_H
#define STORE_LOCK_H

#include "base/base.h"

// On success *ret_fd is the locked file, for folder_unlock(). KB_UNAVAILABLE when another process
// has it, with its number; KB_BAD_INPUT. An exchange of databases that a crash interrupted is
// finished first (store/replace.h).
enum kb_code folder_lock(int *ret_fd, const char *folder, struct kb_error *err);
void folder_unlock(int fd); // -1 is fine

// Who has it: its number, and its address (NULL: none is told). False: it could not be written.
bool folder_lock_tell(int fd, const char *address);

#endif
