// The cage of a process that decodes what strangers gave. Of the process, so from its main thread.
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include "base/base.h"

// After this the process can neither reach a network, start programs, nor write outside data (it
// may read everything). Each limit that the kernel lacks is named in *ret_missing ("" = none), and
// is no error. Call before threads are started, after models were located.
enum kb_code sandbox_enter(const char *data, char ret_missing[200], struct kb_error *err);

#endif
