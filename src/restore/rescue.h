// koubo restore, its first half: a database that can be worked with, whatever became of the old
// one. Afterwards restore_run() takes in the results that it does not know.
// Threads: from one; takes the lock of the folder, so no server may run where something is changed.
#ifndef RESTORE_RESCUE_H
#define RESTORE_RESCUE_H

#include "base/cancel.h"
#include "store/salvage.h"

struct rescue_params {
    const char *backup; // take this one of backups/, or "latest"; NULL = none
    bool salvage;       // row by row, though it may be whole
    bool adopt;         // the database is this folder's, whatever it says
    bool dry_run;       // look only: nothing is put into its place
    const struct cancel *cancel;
};

enum rescue_way {
    RESCUE_NOTHING, // it is whole; or it was adopted
    RESCUE_BACKUP,  // a backup took its place
    RESCUE_SALVAGE, // what could be read of it did
    RESCUE_ANEW,    // nothing is left of it: an empty one was made
};

struct rescue_report {
    enum rescue_way way;
    char *backup; // that was taken, free()
    char *kept;   // what the one before is called now, below backups/; or NULL. free()
    struct salvage_report salvaged;
};

// With none of backup, salvage and adopt it is chosen: a whole database stays, a damaged one is
// salvaged, of a lost one the latest whole backup is taken, or an empty one is made where files
// lie. Nothing is deleted. KB_UNAVAILABLE when a server runs on the folder and something is to be
// changed; KB_NOT_FOUND when there is no such backup, or nothing at all.
enum kb_code rescue_database(const char *folder, const struct rescue_params *p,
                             struct rescue_report *ret, struct kb_error *err);
void rescue_report_free(struct rescue_report *r);

#endif
