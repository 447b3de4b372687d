// What a worker does with --inspect: looks at what users gave, and speaks texts.
// From the thread that works.
#ifndef WORKER_INSPECT_H
#define WORKER_INSPECT_H

#include "worker/pulse.h"

// message: the asset that the server gave. folder: where this process may write. What is found, or
// why nothing was, is told through the pulse. KB_INTERNAL: the message makes no sense.
struct face_models;
enum kb_code inspect_asset(struct pulse *pulse, const json_t *message, const char *data,
                           const char *folder, struct face_models *faces, struct kb_error *err);

#endif
