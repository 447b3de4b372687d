// koubo serve: the page, the API, the queue and its workers, until Ctrl-C.
#include "cli/cluster.h"
#include "cli/finish/finish.h"
#include "cli/options.h"

#include "base/log.h"
#include "server/server.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOKEN_DIGITS 32

struct serve_options {
    struct common_options common;
    struct server_params server;
    struct text proxies;
    struct secret token;
    struct cluster_options cluster;
    struct label_defaults label;
    bool cluster_has_password;
};

enum {
    OPT_PORT = 1000,
    OPT_DATA,
    OPT_LISTEN,
    OPT_TOKEN,
    OPT_TRUSTED_PROXY,
    OPT_TOKEN_FILE,
    OPT_ALLOW_ADDRESS,
    OPT_WORKERS,
    OPT_MIN_FREE,
    OPT_KEEP_DAYS,
    OPT_KEEP_GB,
    OPT_MAX_UPLOAD,
    OPT_SHARE,
    OPT_PAGE,
    OPT_NEW_DATABASE,
    OPT_DEPOT_KEEP,
    OPT_NODE_TIMEOUT,
};

static const struct argp_option serve_options[] = {
    {NULL, 0, NULL, 0, N_("Page and API:"), 10},
    {"port", OPT_PORT, "N", 0, N_("port of the page and the API (default: 7860)"), 10},
    {"listen", OPT_LISTEN, "ADDRESS", 0,
     N_("address to listen on (default: 127.0.0.1, this machine alone; 0.0.0.0 = all, needs a "
        "token)"),
     10},
    {"token", OPT_TOKEN, "TOKEN", 0,
     N_("what clients must know (default: $KOUBO_TOKEN; else one is made up and printed when other "
        "machines may connect)"),
     10},
    {"trusted-proxy", OPT_TRUSTED_PROXY, "ADDRESS|NETWORK", 0,
     N_("a proxy before this server, for instance 10.0.0.1 or 10.0.0.0/8: whose requests count as "
        "those of the address in X-Forwarded-For (several: give it again)"),
     10},
    {"token-file", OPT_TOKEN_FILE, "FILE", 0,
     N_("the token is the first line of this file, so that it does not stand in the command line, "
        "which other users of this machine can read"),
     10},
    {"allow-address", OPT_ALLOW_ADDRESS, "ADDRESS", 0,
     N_("with a token or a trusted proxy, downloads, webhooks and mail go to public addresses "
        "only; allow one more: 192.168.1.5, 192.168.1.0/24, 127.0.0.1:9000 or lan (all private "
        "networks); may be given several times"),
     10},
    {"page", OPT_PAGE, "FOLDER", 0, N_("the built page (default: beside the program)"), 10},
    {NULL, 0, NULL, 0, N_("Files:"), 11},
    {"data", OPT_DATA, "FOLDER", 0,
     N_("where uploads, queue, results and log are kept (default: $KOUBO_DATA, else koubo in the "
        "home folder's .local/share)"),
     11},
    {"share", OPT_SHARE, "FOLDER", 0,
     N_("folder whose files clients of the Duix API may name; results go to temp in it"), 11},
    {"new-database", OPT_NEW_DATABASE, NULL, 0,
     N_("where the folder's database is lost, begin with an empty one; its files stay (koubo "
        "restore brings more back)"),
     11},
    {"min-free", OPT_MIN_FREE, "GB", 0,
     N_("new jobs wait while less than this is free on the disk (default: 10)"), 11},
    {"keep-days", OPT_KEEP_DAYS, "N", 0,
     N_("remove results and uploads that are older (default: keep)"), 11},
    {"keep-gb", OPT_KEEP_GB, "N", 0,
     N_("remove the oldest while the data folder is larger (default: keep)"), 11},
    {"max-upload", OPT_MAX_UPLOAD, "GB", 0, N_("largest file that is taken (default: 20)"), 11},
    {NULL, 0, NULL, 0, N_("Workers (processes of their own, one a video):"), 12},
    {"workers", OPT_WORKERS, "N|auto", 0,
     N_("how many videos are made at the same time; more need more processors and memory "
        "(default: auto, half the processors, and a gigabyte of free memory for each; 0 with "
        "--cluster: other machines do all)"),
     12},
    {NULL, 0, NULL, 0, N_("Other machines (docs/cluster.md):"), 13},
    {"cluster", OPT_CLUSTER, "URL", 0,
     N_("give jobs to other machines too, which run koubo node: the Redis over which they are "
        "told, redis://host or rediss://user:password@host (default: $KOUBO_CLUSTER)"),
     13},
    {"cluster-file", OPT_CLUSTER_FILE, "FILE", 0,
     N_("that address is the first line of this file, so that its password does not stand in the "
        "command line"),
     13},
    {"depot", OPT_DEPOT, "URL", 0,
     N_("files go over this S3 store, s3://BUCKET/PREFIX?endpoint=… (default: over "
        "this server's own port)"),
     13},
    {"depot-credentials", OPT_DEPOT_CREDENTIALS, "FILE", 0,
     N_("its keys, a file of mode 0600 (default: AWS_ACCESS_KEY_ID and so on of the environment)"),
     13},
    {"depot-keep", OPT_DEPOT_KEEP, "HOURS", 0,
     N_("how long files that no job needs stay in it (default: 24)"), 13},
    {"node-timeout", OPT_NODE_TIMEOUT, "SECONDS", 0,
     N_("a machine's job of which nothing was heard for so long goes to others (default: 30)"), 13},
    {0},
};

static void parse_workers(const char *arg, struct argp_state *state, struct supervisor_params *s)
{
    s->n_workers = strcmp(arg, "auto") == 0 ? 0 : option_int(state, "--workers", arg, 0, 64);
    s->no_generators = strcmp(arg, "auto") != 0 && s->n_workers == 0;
}

static void parse_limits(int key, char *arg, struct argp_state *state, struct server_params *p)
{
    struct supervisor_params *s = &p->supervisor;
    if (key == OPT_MIN_FREE)
        s->worker.min_free_bytes = option_gb(state, "--min-free", arg, 0);
    else if (key == OPT_KEEP_DAYS)
        s->keep_days = option_int(state, "--keep-days", arg, 1, 36500);
    else if (key == OPT_KEEP_GB)
        s->keep_bytes = option_gb(state, "--keep-gb", arg, 0.01f);
    else if (key == OPT_MAX_UPLOAD)
        p->upload_bytes = option_gb(state, "--max-upload", arg, 0.001f);
    else if (key == OPT_WORKERS)
        parse_workers(arg, state, s);
    else if (key == OPT_DEPOT_KEEP)
        p->head.depot_keep_ms = 3600000LL * option_int(state, "--depot-keep", arg, 0, 87600);
    else if (key == OPT_NODE_TIMEOUT)
        p->head.silent_ms = 1000LL * option_int(state, "--node-timeout", arg, 2, 3600);
}

static void allow_address(const struct argp_state *state, struct guard *guard, const char *arg)
{
    struct kb_error err = {0};
    if (guard_allow(guard, arg, &err) != KB_OK)
        argp_error(state, "--allow-address: %s", err.text);
}

static error_t serve_parse(int key, char *arg, struct argp_state *state)
{
    struct serve_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        state->child_inputs[1] = &o->server.supervisor;
        state->child_inputs[2] = &o->label;
        return 0;
    case OPT_PORT:
        o->server.port = option_int(state, "--port", arg, 0, 65535);
        return 0;
    case OPT_LISTEN:
        o->server.listen = arg;
        return 0;
    case OPT_TOKEN:
        secret_take(&o->token, arg);
        return 0;
    case OPT_TOKEN_FILE:
        o->token.file = arg;
        return 0;
    case OPT_ALLOW_ADDRESS:
        allow_address(state, &o->server.guard, arg);
        return 0;
    case OPT_TRUSTED_PROXY:
        text_addf(&o->proxies, "%s%s", o->proxies.size > 0 ? "," : "", arg);
        return 0;
    case OPT_PAGE:
        o->server.page = arg;
        return 0;
    case OPT_DATA:
        o->server.data = arg;
        return 0;
    case OPT_SHARE:
        o->server.share = arg;
        return 0;
    case OPT_NEW_DATABASE:
        o->server.new_database = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, _("'%s' is one argument too many"), arg);
        return 0;
    default:
        if (cluster_option(&o->cluster, key, arg))
            return 0;
        if (key < OPT_PORT || key > OPT_NODE_TIMEOUT)
            return ARGP_ERR_UNKNOWN;
        parse_limits(key, arg, state, &o->server);
        return 0;
    }
}

static const struct argp_child serve_children[] = {
    {&common_argp, 0, NULL, 0},
    {&workers_argp, 0, NULL, 0},
    {&label_defaults_argp, 0, NULL, 0},
    {0},
};

static const struct argp serve_argp = {
    serve_options,
    serve_parse,
    "",
    N_("Serve the web page and the HTTP API, and work through the queue. Everything is kept in the "
       "data folder, so that stopping, crashing or switching off loses no job."),
    serve_children,
    NULL,
    "koubo",
};

// A server that other machines can reach needs a token. *made is the one made up here.
static enum kb_code choose_token(struct serve_options *o, char made[TOKEN_DIGITS + 1],
                                 struct kb_error *err)
{
    struct server_params *p = &o->server;
    enum kb_code code = secret_settle(&o->token, "KOUBO_TOKEN", err);
    p->token = o->token.value;
    if (code != KB_OK || p->token || !p->listen || server_is_loopback(p->listen))
        return code;
    kb_random_hex(made, TOKEN_DIGITS);
    p->token = made;
    return KB_OK;
}

// Which other machines there are. Options that only they need are refused without them.
static enum kb_code choose_cluster(struct serve_options *o, struct kb_error *err)
{
    struct head_params *h = &o->server.head;
    enum kb_code code = secret_settle(&o->cluster.redis, "KOUBO_CLUSTER", err);
    h->redis = o->cluster.redis.value;
    h->depot = o->cluster.depot;
    h->credentials = o->cluster.credentials;
    if (code != KB_OK || h->redis)
        return code;
    const char *idle = o->server.supervisor.no_generators ? "--workers 0"
                       : h->depot                         ? "--depot"
                                                          : NULL;
    return idle ? kb_fail(err, KB_BAD_INPUT,
                          _("%s needs other machines that do the jobs: say with --cluster where "
                            "they are"),
                          idle)
                : KB_OK;
}

// What stood in the command line for a moment.
static void warn_of_seen(const struct serve_options *o)
{
    if (o->token.was_seen)
        log_warn("%s", _("the token was given in the command line, where other users of this "
                         "machine may have seen it: --token-file or KOUBO_TOKEN keep it to "
                         "yourself"));
    if (o->cluster.redis.was_seen && o->cluster_has_password)
        log_warn("%s", _("the password of Redis was given in the command line, where other users "
                         "of this machine may have seen it: --cluster-file or KOUBO_CLUSTER keep "
                         "it to yourself"));
}

static void wait_for_signal(void)
{
    const struct timespec moment = {.tv_nsec = 100000000};
    while (!cancel_requested(cli_cancel()))
        nanosleep(&moment, NULL); // a signal ends it early
}

int cmd_serve(int argc, char **argv)
{
    struct serve_options o = {.server = {.port = 7860, .supervisor = workers_defaults()}};
    o.server.head.depot_keep_ms = 24 * 3600000LL;
    options_parse(&serve_argp, argc, argv, &o);

    char made[TOKEN_DIGITS + 1] = "";
    CLEANUP(kb_freep) char *folder = NULL;
    CLEANUP(kb_freep) char *defaults = label_defaults_json(&o.label);
    o.server.defaults = defaults;
    if (!o.server.data)
        o.server.data = folder = store_default_folder();
    o.server.proxies = text_get(&o.proxies);
    o.server.lang = cli_speak_both_languages();

    struct server *server = NULL;
    struct kb_error err = {0};
    enum kb_code code = choose_token(&o, made, &err);
    if (code == KB_OK)
        code = choose_cluster(&o, &err);
    o.cluster_has_password = o.cluster.redis.value && strchr(o.cluster.redis.value, '@');
    if (code == KB_OK)
        code = server_start(&server, &o.server, &err);
    secret_free(&o.token); // the server has its own
    secret_free(&o.cluster.redis);
    text_free(&o.proxies);
    if (code != KB_OK)
        return cli_report(code, &err);
    warn_of_seen(&o);
    if (*made) // to the terminal alone, not into the log file
        fprintf(stderr,
                _("koubo: the token of this server, made for this run (--token sets your "
                  "own): %s\n"),
                made);
    wait_for_signal();
    server_stop(&server);
    return EXIT_OK;
}
