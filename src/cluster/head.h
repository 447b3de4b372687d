// The head of a cluster: it offers jobs to nodes, hears what they say of them, takes what they made
// in, and decides with the database (queue/remote.h) what counts. One thread talks with Redis, a
// few move files where the depot is S3.
//
// head_start() and head_stop(): one thread. The rest: any.
#ifndef CLUSTER_HEAD_H
#define CLUSTER_HEAD_H

#include "base/text.h"
#include "store/store.h"

struct head;
struct head_params {
    const char *data;
    const char *redis;       // address, see cluster/redis.h
    const char *depot;       // "s3://…"; NULL: nodes take and bring files by HTTP
    const char *credentials; // of the depot, see cluster/depot.h
    int64_t min_free_bytes;
    int64_t depot_keep_ms; // how long what no job needs stays in an S3 depot; 0 = as soon as may be
    int64_t
        silent_ms; // a node's job of which nothing was heard for so long goes to others; 0 = 30000
    int64_t still_ms; // one that is mentioned and gets no further for so long, too; 0 = 60 times
                      // that. Eight times as long where its file does not come
    int64_t pause_ms; // after an S3 depot failed no jobs are offered for so long; 0 = 10000
};
enum kb_code head_start(struct head **ret, const struct head_params *p, struct kb_error *err);
void head_stop(struct head **h); // NULL is fine. Jobs of nodes go on without it

// For the system view, /metrics and koubo doctor:
// {"redis":{"place","connected","since","version","error"},
// "depot":{"place","kind","error"},"offers":N,"arriving":N}.
void head_json(struct head *h, struct text *ret);

// Is a request of the HTTP depot really that node's: mac signs text, nonce is one of the latest,
// and the node is not removed. Any thread; store is the caller's.
bool head_admits(struct head *h, struct store *store, const char *node, const char *nonce,
                 const char *mac, const char *text);
// The file of the model with that hash which a job of that node needs, a new string. KB_NOT_FOUND.
// Any thread; store is the caller's.
enum kb_code head_model(struct store *store, const char *node, const char *sha256, char **ret_path,
                        struct kb_error *err);
// Something changed that it should look at soon (a node was added, drained, a result has come): at
// once where it rests, else when it has listened, within 0.1 s.
void head_wake(struct head *h);

#endif
