// What a worker process may use. Of the process, so from its main thread.
#ifndef WORKER_LIMITS_H
#define WORKER_LIMITS_H

#include "worker/worker.h"

// work/ID below the data folder, where alone it may write. The server makes it. A new string.
char *work_folder(const struct worker_params *p);

// Before threads are started: limits on memory and files, and the cage.
enum kb_code limits_enter(const struct worker_params *p, struct kb_error *err);

// From now on for a job whose result may become so long. Beyond it SIGXCPU ends the process.
void limits_processor_time(const struct worker_params *p, int64_t output_us);

// Was the address space ever nearly used up? What failed, failed for that, whatever the library in
// question says: some call the file damaged.
bool limits_memory_was_short(const struct worker_params *p);

#endif
