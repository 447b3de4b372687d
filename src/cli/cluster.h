// Where a cluster's Redis and depot are: --cluster, --cluster-file, --depot, --depot-credentials of
// serve, node and doctor. What they are to each of them its own table of options says, with these
// keys. Main thread only.
#ifndef CLI_CLUSTER_H
#define CLI_CLUSTER_H

#include "cli/secret.h"

enum { OPT_CLUSTER = 8000, OPT_CLUSTER_FILE, OPT_DEPOT, OPT_DEPOT_CREDENTIALS };

struct cluster_options {
    struct secret redis; // secret_settle() with KOUBO_CLUSTER, secret_free()
    const char *depot, *credentials;
};
// False: the key is none of these.
bool cluster_option(struct cluster_options *o, int key, char *arg);

#endif
