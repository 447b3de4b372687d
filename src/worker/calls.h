// Which system calls a caged process may make. Of the process, so from its main thread.
#ifndef WORKER_CALLS_H
#define WORKER_CALLS_H

#include <stdbool.h>

// From now on (in this thread and those it starts) only what decoding, computing and writing files
// needs; all else fails with EPERM, or ENOSYS where libraries have another way for kernels that
// lack it. False: the kernel has no seccomp filters.
//
// With KOUBO_CAGE=tell in the environment each refused call is named on stderr: for who looks for a
// fault.
bool calls_confine(void);

#endif
