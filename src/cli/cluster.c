#include "cli/cluster.h"

bool cluster_option(struct cluster_options *o, int key, char *arg)
{
    if (key == OPT_CLUSTER)
        secret_take(&o->redis, arg);
    else if (key == OPT_CLUSTER_FILE)
        o->redis.file = arg;
    else if (key == OPT_DEPOT)
        o->depot = arg;
    else if (key == OPT_DEPOT_CREDENTIALS)
        o->credentials = arg;
    else
        return false;
    return true;
}
