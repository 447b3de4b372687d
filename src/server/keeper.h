// Makes the daily backup of the database (store/backup.h), on a thread of its own: it takes as long
// as the disk is slow, and nobody shall wait for it.
#ifndef SERVER_KEEPER_H
#define SERVER_KEEPER_H

#include "base/base.h"

struct keeper;
// Looks first after first_ms, then every hour, whether the last daily backup is a day old. What
// fails is in the log, and tried again an hour later. One keeper makes no more than one in 24 hours
// that pass, whatever the clock says: else one that leaps would wear out a week of backups.
enum kb_code keeper_start(struct keeper **ret, const char *folder, int64_t first_ms,
                          struct kb_error *err);
void keeper_stop(struct keeper **k); // at once; NULL is fine

// The rule. last_ms: backup_last_ms(). own_ms: how long ago this keeper made one, -1: it has not.
bool keeper_is_due(int64_t last_ms, int64_t now_ms, int64_t own_ms);

#endif
