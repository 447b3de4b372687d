// What a disk holds when the power goes: the calls of a program are written down, and a folder is
// built as it would be found after any of them.
//
// A disk promises nothing about what was not synced. Bytes of a file are safe when the file was
// synced after them; that a name exists, or is gone, is safe when its folder was.
#ifndef TESTS_FAULTS_POWER_H
#define TESTS_FAULTS_POWER_H

#include "tests/faults/scenes.h"

enum loss {
    LOSS_NONE,  // all that was done reached the disk: also what kill -9 leaves
    LOSS_ALL,   // nothing that was not synced did
    LOSS_BYTES, // names did, bytes did not: the empty file after a rename
    LOSS_NAMES, // bytes did, names did not
    LOSS_SOME,  // names up to some moment, and of the bytes some writes, whole or half
    N_LOSSES
};
const char *loss_name(enum loss l);

struct power;

// What lies in folder is on the disk; from now on calls are written down, each with what ledger
// says before it. One at a time.
struct power *power_record(const char *folder, const struct ledger *ledger);
void power_end(struct power *p); // no more
void power_free(struct power *p);

int power_calls(const struct power *p);
int power_syncs(const struct power *p); // of them
// What was answered before call n + 1, n calls having been made.
const struct ledger *power_ledger(const struct power *p, int n);

// The folder to as n calls and a power cut leave it; seed is for LOSS_SOME. Its files are from
// before this machine started. Returns a number that is equal for equal folders; to NULL: only
// that.
uint64_t power_build(const struct power *p, int n, enum loss loss, uint32_t seed, const char *to);

#endif
