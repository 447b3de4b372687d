// A machine of a cluster: a koubo queue of its own, with its own caged workers, that gets its jobs
// from a head (docs/cluster.md). Of the process, so from its main thread.
#ifndef CLUSTER_NODE_H
#define CLUSTER_NODE_H

#include "base/cancel.h"
#include "worker/supervisor.h"

// The setting that tells whose its data folder is: {"name": …}.
#define NODE_SETTING "node"

// Where its data folder is if nothing is said, a new string: koubo-node in .local/share.
char *node_default_folder(void);

struct node_params {
    const char *name, *secret;
    const char *redis;       // see cluster/redis.h
    const char *depot;       // see cluster/depot.h
    const char *credentials; // of the depot
    const char *version;     // "0.3.0"; the head's must be the same
    int64_t cache_bytes;     // what its copies of speeches, videos and models may take; < 0 = 20 GB
    struct supervisor_params supervisor; // data: its own folder
    const struct cancel *cancel;         // finish what runs, take nothing new; see drain_ms
    const struct cancel *hurry;          // and give the rest back at once; may be NULL
    int64_t drain_ms; // how long that may last before the rest is given back; 0 = at once
};
// Until cancelled. The data folder's lock is taken as a server does; one that is a server's is
// KB_BAD_INPUT, as are an address, a token or a password that are wrong. A Redis or a head that is
// not there is waited for. Blocks; one thread. It sets KOUBO_FETCHED_MODELS (base/file.h).
enum kb_code node_run(const struct node_params *p, struct kb_error *err);

#endif
