// koubo worker: what koubo serve starts. By hand it is of use for looking for faults.
#include "cli/options.h"

#include "base/log.h"
#include "worker/broker.h"
#include "worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_US   100000
#define ENDING_MS 5000 // for what it left unsaid

enum {
    OPT_DATA = 1000,
    OPT_ID,
    OPT_INSPECT,
    OPT_PRECISION,
    OPT_THREADS,
    OPT_MIN_FREE,
    OPT_MEMORY,
    OPT_OUTPUT,
    OPT_CPU_FACTOR,
    OPT_PARENT_FD,
    OPT_NO_SANDBOX,
    OPT_LOG_JSON,
};

struct worker_options {
    struct common_options common;
    struct worker_params worker;
    bool log_json;
};

static const struct argp_option worker_options[] = {
    {"data", OPT_DATA, "FOLDER", 0, N_("the data folder of koubo serve"), 10},
    {"id", OPT_ID, "NAME", 0, N_("its name in the log and the queue (default: h1)"), 10},
    {"inspect", OPT_INSPECT, NULL, 0, N_("look at uploads and speak texts instead of jobs"), 10},
    {"precision", OPT_PRECISION, "P", 0, N_("auto, f32, bf16 or int8 (default: auto)"), 10},
    {"threads", OPT_THREADS, "N", 0, N_("threads, 1 to 1024 (default: as many as processors)"), 10},
    {"min-free-bytes", OPT_MIN_FREE, "N", 0, N_("take no job that leaves less disk than this"), 10},
    {"memory-bytes", OPT_MEMORY, "N", 0, N_("address space it may use (default: no limit)"), 10},
    {"output-bytes", OPT_OUTPUT, "N", 0, N_("largest file it may write (default: no limit)"), 10},
    {"cpu-factor", OPT_CPU_FACTOR, "N", 0,
     N_("processor seconds for each second of output, beside 600 (default: 60)"), 10},
    {"parent-fd", OPT_PARENT_FD, "FD", 0,
     N_("the line to the server that started it (default: none, it looks after itself)"), 10},
    {"no-sandbox", OPT_NO_SANDBOX, NULL, 0, N_("without Landlock and seccomp"), 10},
    {"log-json", OPT_LOG_JSON, NULL, 0, N_("write JSON into the log"), 10},
    {0},
};

static int64_t option_bytes(struct argp_state *state, const char *option, const char *arg)
{
    char *end;
    errno = 0;
    long long value = strtoll(arg, &end, 10);
    if (end == arg || *end || errno || value < 0)
        argp_error(state, _("%s takes a number of bytes, not '%s'"), option, arg);
    return value;
}

static error_t worker_parse(int key, char *arg, struct argp_state *state)
{
    struct worker_options *o = state->input;
    struct worker_params *w = &o->worker;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPT_DATA:
        w->data = arg;
        return 0;
    case OPT_ID:
        // It becomes the name of a folder.
        if (!*arg || strlen(arg) > 15 || arg[strspn(arg, "abcdefghijklmnopqrstuvwxyz0123456789")])
            argp_error(state, _("%s takes small letters and digits, not '%s'"), "--id", arg);
        w->id = arg;
        return 0;
    case OPT_INSPECT:
        w->inspect = true;
        return 0;
    case OPT_PRECISION:
        if (!precision_parse(arg, &w->precision))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--precision",
                       "auto, f32, bf16, int8", arg);
        return 0;
    case OPT_THREADS:
        w->threads = option_int(state, "--threads", arg, 1, 1024);
        return 0;
    case OPT_MIN_FREE:
        w->min_free_bytes = option_bytes(state, "--min-free-bytes", arg);
        return 0;
    case OPT_MEMORY:
        w->memory_bytes = option_bytes(state, "--memory-bytes", arg);
        return 0;
    case OPT_OUTPUT:
        w->output_bytes = option_bytes(state, "--output-bytes", arg);
        return 0;
    case OPT_CPU_FACTOR:
        w->cpu_factor = option_int(state, "--cpu-factor", arg, 0, 1000000);
        return 0;
    case OPT_PARENT_FD:
        w->parent_fd = option_int(state, "--parent-fd", arg, 0, 1024);
        return 0;
    case OPT_NO_SANDBOX:
        w->unconfined = true;
        return 0;
    case OPT_LOG_JSON:
        o->log_json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, _("'%s' is one argument too many"), arg);
        return 0;
    case ARGP_KEY_END:
        if (!w->data)
            argp_error(state, "%s", _("no data folder: give it with --data FOLDER"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child worker_children[] = {{&common_argp, 0, NULL, 0}, {0}};

static const struct argp worker_argp = {
    worker_options,
    worker_parse,
    "--data FOLDER",
    N_("Take jobs from the queue of a data folder and do them, one at a time, until the server "
       "ends or Ctrl-C. koubo serve starts workers by itself."),
    worker_children,
    NULL,
    "koubo",
};

// --- by hand

// The same program with the same arguments, on the other end of the line.
static pid_t start_worker(int argc, char **argv, int line)
{
    const char *more[] = {"--lang", kb_language_name(kb_language_process()), "--parent-fd", "0"};
    CLEANUP(kb_freep) char **all = kb_alloc((size_t)argc * sizeof(*all) + sizeof(more) + 16);
    all[0] = (char *)"koubo";
    all[1] = (char *)"worker";
    memcpy(all + 2, argv + 1, (size_t)(argc - 1) * sizeof(*all));
    memcpy(all + 1 + argc, more, sizeof(more));
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (dup2(line, STDIN_FILENO) >= 0)
        execv("/proc/self/exe", all);
    _exit(127);
}

// Until it ends by itself or is told to, by Ctrl-C, of which both hear; or talks nonsense.
static int wait_for_worker(struct broker *b, int seat, pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        struct broker_look look;
        broker_look(b, seat, &look);
        if (look.bad)
            kill(pid, SIGKILL);
        if (cancel_requested(cli_cancel()))
            broker_leave(b);
        usleep(LOOK_US);
    }
    return status;
}

// One process. *ret_again: the broker sent it away, and wants another one.
static enum kb_code work_once(struct broker *b, const struct worker_params *w, int argc,
                              char **argv, bool *ret_again, struct kb_error *err)
{
    int line = -1;
    enum kb_code code = KB_OK;
    *ret_again = false;
    int seat = broker_seat(b, w->id, w->inspect, &line, err);
    pid_t pid = seat >= 0 ? start_worker(argc, argv, line) : 0;
    if (line >= 0)
        close(line);
    if (seat < 0)
        code = err->code;
    else if (pid < 0)
        code = kb_fail(err, KB_NO_SPACE, _("no process can be started: %s"), kb_strerror(errno));
    if (seat >= 0)
        broker_begin(b, seat, KB_MAX(pid, 0));
    if (pid > 0) {
        int status = wait_for_worker(b, seat, pid);
        bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        struct broker_look look;
        broker_look(b, seat, &look);
        *ret_again = well && look.leaves && !cancel_requested(cli_cancel());
        broker_end(b, seat, well ? NULL : N_("the worker crashed"), false);
        if (!well)
            code = kb_fail(err, KB_INTERNAL, "%s", _("the worker crashed"));
    }
    while (*ret_again && broker_is_seated(b, seat))
        usleep(LOOK_US);
    return code;
}

static enum kb_code work_by_hand(const struct worker_params *w, int argc, char **argv,
                                 struct kb_error *err)
{
    struct broker *b = NULL;
    enum kb_code code = broker_start(&b, w->data, w->min_free_bytes, err);
    if (code != KB_OK)
        return code;
    bool again = true;
    while (code == KB_OK && again)
        code = work_once(b, w, argc, argv, &again, err);
    broker_stop(&b, ENDING_MS);
    return code;
}

int cmd_worker(int argc, char **argv)
{
    struct worker_options o = {.worker = {.id = "h1", .parent_fd = -1}};
    options_parse(&worker_argp, argc, argv, &o);
    cli_speak_both_languages();
    o.worker.cancel = cli_cancel();

    struct kb_error err = {0};
    if (o.worker.parent_fd >= 0) // its log is the server's, over the line
        return cli_report(worker_run(&o.worker, &err), &err);
    log_set_source("worker");
    enum kb_code code = log_open(o.worker.data, LOG_FILE, o.log_json, 0, &err);
    if (code == KB_OK)
        code = work_by_hand(&o.worker, argc, argv, &err);
    return cli_report(code, &err);
}
