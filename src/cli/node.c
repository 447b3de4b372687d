// koubo node: this machine works for the head of a cluster, until Ctrl-C.
#include "cli/cluster.h"
#include "cli/options.h"

#include "base/log.h"
#include "cluster/node.h"
#include "cluster/wire.h"

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAIN_S 60

struct node_options {
    struct common_options common;
    struct node_params node;
    struct cluster_options cluster;
    struct secret token;
};

enum {
    OPT_NAME = 1000,
    OPT_TOKEN,
    OPT_TOKEN_FILE,
    OPT_DATA,
    OPT_MIN_FREE,
    OPT_CACHE_GB,
    OPT_WORKERS,
    OPT_DRAIN,
};

static const struct argp_option node_options[] = {
    {NULL, 0, NULL, 0, N_("The cluster:"), 10},
    {"cluster", OPT_CLUSTER, "URL", 0,
     N_("the Redis of the head: redis://HOST:6379, with USER:PASSWORD@ before HOST if it asks for "
        "them, rediss:// with TLS (default: $KOUBO_CLUSTER)"),
     10},
    {"cluster-file", OPT_CLUSTER_FILE, "FILE", 0,
     N_("that address is the first line of this file, so that its password does not stand in the "
        "command line"),
     10},
    {"depot", OPT_DEPOT, "URL", 0,
     N_("where files are fetched and brought: http://HOST:7860, the head, or the s3:// of the "
        "head"),
     10},
    {"depot-credentials", OPT_DEPOT_CREDENTIALS, "FILE", 0,
     N_("AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…, a line each, for s3:// (default: the "
        "environment)"),
     10},
    {"name", OPT_NAME, "NAME", 0,
     N_("as which the page of the head knows this machine (default: the host's name)"), 10},
    {"token-file", OPT_TOKEN_FILE, "FILE", 0,
     N_("the token that the page showed when the machine was added is the first line of this file "
        "(default: $KOUBO_NODE_TOKEN)"),
     10},
    {"token", OPT_TOKEN, "TOKEN", 0,
     N_("the token itself, which other users of this machine may see then"), 10},
    {NULL, 0, NULL, 0, N_("Files:"), 11},
    {"data", OPT_DATA, "FOLDER", 0,
     N_("where this machine keeps its queue and its copies of files, not that of a server "
        "(default: koubo-node in the home folder's .local/share)"),
     11},
    {"min-free", OPT_MIN_FREE, "GB", 0,
     N_("takes no jobs while less than this is free on the disk (default: 10)"), 11},
    {"cache-gb", OPT_CACHE_GB, "N", 0,
     N_("copies of speeches, videos and models that are kept for further jobs, 0 = none (default: "
        "20)"),
     11},
    {NULL, 0, NULL, 0, N_("Workers (processes of their own, one a video):"), 12},
    {"workers", OPT_WORKERS, "N|auto", 0,
     N_("how many videos are made at the same time; more need more processors and memory "
        "(default: auto, half the processors, and a gigabyte of free memory for each)"),
     12},
    {"drain", OPT_DRAIN, "SECONDS", 0,
     N_("on Ctrl-C, so long may what runs go on; then it goes back to the head, at once after "
        "another Ctrl-C (default: 60)"),
     12},
    {0},
};

static error_t node_parse(int key, char *arg, struct argp_state *state)
{
    struct node_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        state->child_inputs[1] = &o->node.supervisor;
        return 0;
    case OPT_TOKEN:
        secret_take(&o->token, arg);
        return 0;
    case OPT_TOKEN_FILE:
        o->token.file = arg;
        return 0;
    case OPT_NAME:
        o->node.name = arg;
        return 0;
    case OPT_DATA:
        o->node.supervisor.data = arg;
        return 0;
    case OPT_MIN_FREE:
        o->node.supervisor.worker.min_free_bytes = option_gb(state, "--min-free", arg, 0);
        return 0;
    case OPT_CACHE_GB:
        o->node.cache_bytes = option_gb(state, "--cache-gb", arg, 0);
        return 0;
    case OPT_WORKERS:
        o->node.supervisor.n_workers =
            strcmp(arg, "auto") == 0 ? 0 : option_int(state, "--workers", arg, 1, 64);
        return 0;
    case OPT_DRAIN:
        o->node.drain_ms = 1000LL * option_int(state, "--drain", arg, 0, 7 * 86400);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, _("'%s' is one argument too many"), arg);
        return 0;
    default:
        return cluster_option(&o->cluster, key, arg) ? 0 : ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child node_children[] = {
    {&common_argp, 0, NULL, 0},
    {&workers_argp, 0, NULL, 0},
    {0},
};

static const struct argp node_argp = {
    node_options,
    node_parse,
    "--cluster URL --depot URL --token-file FILE",
    N_("Make videos for another machine, the head, on which 'koubo serve --cluster' runs. Its page "
       "adds machines and shows the token of each. Jobs that run when this machine stops or is "
       "switched off go back to the head; none is lost."),
    node_children,
    NULL,
    "koubo",
};

// --- signals: once, finish; twice, give back; three times, end

static struct cancel hurry;

static void on_signal(int number)
{
    (void)number;
    if (cancel_requested(&hurry))
        _exit(EXIT_CANCELLED);
    if (cancel_requested(cli_cancel()))
        cancel_request(&hurry);
    cancel_request(cli_cancel());
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

// --- defaults

// "Studio_2.local" becomes "studio-2"; "" if nothing of it may be a name.
static void name_of_host(char ret[NODE_NAME_BYTES])
{
    char host[256] = "";
    size_t n = 0;
    gethostname(host, sizeof(host) - 1);
    for (const char *c = host; *c && *c != '.' && n < NODE_NAME_BYTES - 1; c++) {
        bool fits =
            (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');
        if (fits || n > 0)
            ret[n++] = fits ? (char)tolower(*c) : '-';
    }
    ret[n] = '\0';
}

static enum kb_code settle(struct node_options *o, struct kb_error *err)
{
    enum kb_code code = secret_settle(&o->cluster.redis, "KOUBO_CLUSTER", err);
    if (code == KB_OK)
        code = secret_settle(&o->token, "KOUBO_NODE_TOKEN", err);
    o->node.redis = o->cluster.redis.value;
    o->node.depot = o->cluster.depot;
    o->node.credentials = o->cluster.credentials;
    o->node.secret = o->token.value;
    if (code == KB_OK && !o->node.redis)
        code = kb_fail(err, KB_BAD_INPUT,
                       _("where is the Redis of the head? Give its address with --cluster, "
                         "redis://HOST:6379"));
    else if (code == KB_OK && !o->node.depot)
        code = kb_fail(err, KB_BAD_INPUT,
                       _("where do files lie? Give the address of the head, or the s3:// with "
                         "which it was started: --depot http://HOST:7860"));
    else if (code == KB_OK && !o->node.secret)
        code = kb_fail(err, KB_BAD_INPUT,
                       _("a machine needs a token: add it in the page of the head (system), and "
                         "give the token that it shows with --token-file FILE"));
    return code;
}

int cmd_node(int argc, char **argv)
{
    char host[NODE_NAME_BYTES] = "";
    struct node_options o = {.node = {.version = KOUBO_VERSION,
                                      .cache_bytes = -1,
                                      .drain_ms = DRAIN_S * 1000,
                                      .supervisor = workers_defaults(),
                                      .cancel = cli_cancel(),
                                      .hurry = &hurry}};
    options_parse(&node_argp, argc, argv, &o);

    CLEANUP(kb_freep) char *folder = NULL;
    if (!o.node.supervisor.data)
        o.node.supervisor.data = folder = node_default_folder();
    if (!o.node.name) {
        name_of_host(host);
        o.node.name = host;
    }
    cli_speak_both_languages();
    catch_signals();
    struct kb_error err = {0};
    enum kb_code code = settle(&o, &err);
    const struct secret *redis = &o.cluster.redis;
    bool has_password = redis->value && strchr(redis->value, '@');
    if (code == KB_OK && (o.token.was_seen || (redis->was_seen && has_password)))
        log_warn("%s",
                 _("what was given with --token or --cluster stood in the command line, where "
                   "other users of this machine may have seen it: --token-file and "
                   "--cluster-file keep it to yourself"));
    if (code == KB_OK)
        code = node_run(&o.node, &err);
    secret_free(&o.cluster.redis);
    secret_free(&o.token);
    return cli_report(code, &err);
}
