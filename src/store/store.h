// The data folder of a koubo server and the database in it. Everything that must survive a crash
// is here; docs/store.md describes the tables.
//
//   koubo.db              SQLite, WAL; the server's (and its broker's, for the workers)
//   files/<sha256>        what users uploaded, one copy of each content
//   uploads/<id>.part     uploads under way; its size is the offset
//   thumbs/<sha256>.jpg   of files
//   results/<batch>_<name>/<film>_<speech>_<date>.mp4 and .jpg
//   tracks/<hash>.kbt     face tracks;  networks/ packed networks;  logs/koubo.log
//   work/<worker>/        temporary files
//   backups/              copies of the database;  id  whose it is;  lock  of the server
// store/names.h has the exact names. Files of an earlier database may lie there, too: store/lost.h.
//
// A store is one connection: not thread-safe, one per thread or under a lock. Many processes may
// have the same folder open; SQLite's locks order them (a connection waits up to 5 s, or as
// store/patience.h says, then KB_UNAVAILABLE with a sentence that says the database is locked).
// Times are wall clock milliseconds. Functions that return JSON append it to a struct text. All of
// them: KB_NO_SPACE when the disk is full, KB_BAD_INPUT when the database is damaged
// (KB_INTERNAL for one with a struct patience, a server's: who asks it did not choose the
// database), KB_UNAVAILABLE when it is locked or no file can be opened any more, KB_INTERNAL when
// the folder or the database may not be written or its disk is broken.
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/base.h"
#include "base/text.h"

struct store;

// create: make folder and database if missing; else KB_NOT_FOUND. No database is made beside files
// of a lost one (KB_NOT_FOUND with what to do), and one of another folder is KB_BAD_INPUT:
// store/identity.h. One of a newer koubo is KB_BAD_INPUT; an older one is brought up to date, after
// a backup.
enum kb_code store_open(struct store **ret, const char *folder, bool create, struct kb_error *err);

// The same where the user has said more. Call with the folder's lock (store/lock.h).
struct store_params {
    bool create;
    bool anew;  // if the database is lost, make an empty one; what is left of it goes to backups/
    bool adopt; // the database is this folder's, whatever it says
};
enum kb_code store_open_as(struct store **ret, const char *folder, const struct store_params *p,
                           struct kb_error *err);
void store_close(struct store **s); // NULL is fine

// A new string: folder/KIND/NAME. kind is one of the folders above.
char *store_path(const struct store *s, const char *kind, const char *name);

// Is the database whole (SQLite's quick_check: every page, not the indices against their tables)?
// KB_BAD_INPUT and the sentence of a damaged one if not. 110 MB take 0.2 s; one of more than
// max_bytes is not looked at (0 = however large).
enum kb_code store_check(struct store *s, int64_t max_bytes, struct kb_error *err);

// The same of a folder's database that may not even be opened as a store. *ret: it is there, and
// damaged.
enum kb_code store_is_damaged(const char *folder, bool *ret, struct kb_error *err);

// Must a commit survive a power cut (fsync)? Default true. Progress and heartbeats turn it off.
void store_set_durable(struct store *s, bool durable);

// Changes when another connection has committed something. Cheap: to be polled.
int64_t store_data_version(struct store *s);

// Where koubo keeps its data when --data is not given: $KOUBO_DATA, else
// $XDG_DATA_HOME/koubo, else ~/.local/share/koubo. A new string.
char *store_default_folder(void);

// A small JSON document by name, for instance "notify". Get appends nothing when there is none.
enum kb_code setting_get(struct store *s, const char *name, struct text *ret, struct kb_error *err);
enum kb_code setting_put(struct store *s, const char *name, const char *json, struct kb_error *err);

#endif
