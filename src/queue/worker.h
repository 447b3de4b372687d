// The worker processes as they tell of themselves, for the supervisor and the API.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_WORKER_H
#define QUEUE_WORKER_H

#include "store/store.h"

struct worker_row {
    char id[16];
    const char *kind; // "generate", "inspect"
    int pid;
    const char *state; // "starting", "idle", "busy", "stopped"
    const char *model, *precision;
    int64_t rss_bytes;
};
enum kb_code worker_put(struct store *s, const struct worker_row *w, struct kb_error *err);
enum kb_code worker_remove(struct store *s, const char *id, struct kb_error *err); // "" = all

struct worker_status {
    char id[16];
    char kind[16], state[16]; // as above
    int64_t heartbeat_ms;
};
// Generators before inspectors, w2 before w10. free(*ret).
enum kb_code worker_list(struct store *s, struct worker_status **ret, int *ret_n,
                         struct kb_error *err);
// The same for the API, with all there is, an array (docs/openapi.yaml: Worker).
enum kb_code worker_list_json(struct store *s, struct text *ret, struct kb_error *err);

#endif
