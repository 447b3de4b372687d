// The machines of a cluster as the head knows them. Names are those of cluster/wire.h.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_NODE_H
#define QUEUE_NODE_H

#include "store/store.h"

struct node {
    char name[33];
    char secret[65];
    bool draining;    // gets no more jobs
    int slots;        // jobs that it would do at a time, as it last told
    int64_t heard_ms; // the wall clock's; 0 = never
};
// A new one. KB_BAD_INPUT: the name is none, a local worker's ("w1"), or taken (a removed one's may
// be taken again).
// ret_secret is shown once and never again.
enum kb_code node_add(struct store *s, const char *name, const char *title, char ret_secret[65],
                      struct kb_error *err);
enum kb_code node_get(struct store *s, const char *name, struct node *ret, struct kb_error *err);
enum kb_code node_list(struct store *s, struct node **ret, int *ret_n, struct kb_error *err);
enum kb_code node_rename(struct store *s, const char *name, const char *title,
                         struct kb_error *err);
enum kb_code node_drain(struct store *s, const char *name, bool draining, struct kb_error *err);
// Another secret: who has the old one is out.
enum kb_code node_renew(struct store *s, const char *name, char ret_secret[65],
                        struct kb_error *err);
// It is out at once, and its jobs go to others, uncounted.
enum kb_code node_remove(struct store *s, const char *name, struct kb_error *err);
// What it told of itself (docs/cluster.md: beat, without its jobs), checked by the caller. Not
// durable. error: why it is refused, a kept sentence, NULL = it is not.
enum kb_code node_heard(struct store *s, const char *name, int slots, const char *facts_json,
                        const char *error, struct kb_error *err);
// For the API (docs/openapi.yaml: Node), an array by name. state: "new" (never heard), "silent"
// (not for 10 s), "refused", "draining", "active"; jobs: those that it has.
enum kb_code node_list_json(struct store *s, struct text *ret, struct kb_error *err);

#endif
