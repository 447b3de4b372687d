// What Linux tells in the text files of /proc (proc(5)). Thread-safe (no state).
#ifndef BASE_PROC_H
#define BASE_PROC_H

#include "base/base.h"

// The value of the first line "key : value" of a file, without blanks before it, cut at size - 1
// bytes. False: no such file or key; then ret is "".
bool proc_value(const char *path, const char *key, char *ret, size_t size);

// One that is counted in kB, as in meminfo and status; 0 where it is not there.
int64_t proc_bytes(const char *path, const char *key);

// Calls each with the name of every NVIDIA card whose driver is there.
void proc_gpus(void (*each)(void *ctx, const char *name), void *ctx);

// Memory of this process that is resident.
int64_t proc_resident_bytes(void);

#endif
