// The options of those commands that keep workers: koubo serve, koubo node.
#include "cli/options.h"

#include <string.h>

enum {
    OPT_THREADS = 7000,
    OPT_MEMORY,
    OPT_PRECISION,
    OPT_HANG_TIMEOUT,
    OPT_NO_SANDBOX,
    OPT_LOG_FORMAT,
};

static const struct argp_option workers_options[] = {
    {"threads", OPT_THREADS, "N", 0,
     N_("processors that one worker may use (default: what there is, shared among the workers)"),
     12},
    {"memory", OPT_MEMORY, "GB", 0, N_("most memory that one worker may take (default: 8)"), 12},
    {"precision", OPT_PRECISION, "P", 0,
     N_("arithmetic of the network: auto, f32, bf16 or int8 (default: auto)"), 12},
    {"hang-timeout", OPT_HANG_TIMEOUT, "SECONDS", 0,
     N_("a job without any progress for so long is stopped and tried again (default: 60)"), 12},
    {"no-sandbox", OPT_NO_SANDBOX, NULL, 0,
     N_("do not confine workers (only where the kernel refuses it)"), 12},
    {"log-format", OPT_LOG_FORMAT, "FORMAT", 0, N_("of the log file: text or json (default: text)"),
     11},
    {0},
};

static error_t workers_parse(int key, char *arg, struct argp_state *state)
{
    struct supervisor_params *s = state->input;
    switch (key) {
    case OPT_THREADS:
        s->worker.threads = option_int(state, "--threads", arg, 1, 1024);
        return 0;
    case OPT_MEMORY:
        s->worker.memory_bytes = option_gb(state, "--memory", arg, 0.5f);
        return 0;
    case OPT_PRECISION:
        if (!precision_parse(arg, &s->worker.precision))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--precision",
                       "auto, f32, bf16, int8", arg);
        return 0;
    case OPT_HANG_TIMEOUT:
        s->hang_ms = 1000LL * option_int(state, "--hang-timeout", arg, 5, 86400);
        return 0;
    case OPT_NO_SANDBOX:
        s->worker.unconfined = true;
        return 0;
    case OPT_LOG_FORMAT:
        s->log_json = strcmp(arg, "json") == 0;
        if (!s->log_json && strcmp(arg, "text") != 0)
            argp_error(state, _("%s takes one of %s, not '%s'"), "--log-format", "text, json", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp workers_argp = {.options = workers_options, .parser = workers_parse};

struct supervisor_params workers_defaults(void)
{
    return (struct supervisor_params){.worker = {.min_free_bytes = (int64_t)(10 * KB_GB),
                                                 .memory_bytes = (int64_t)(8 * KB_GB),
                                                 .output_bytes = (int64_t)(64 * KB_GB),
                                                 .parent_fd = -1}};
}
