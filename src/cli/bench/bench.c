// koubo bench: how fast this machine is. Every measurement and every file it needs is made in a
// process of its own: caches of one never help another, the peak of memory is that of the job
// alone, and a crash costs one figure. This process stays small and keeps order.
#include "cli/bench/bench.h"

#include "base/file.h"
#include "base/log.h"
#include "base/place.h"
#include "base/text.h"
#include "cli/options.h"
#include "cli/screen.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_REPEAT 99

struct bench_options {
    struct common_options common;
    const char *only, *clip;
    int repeat; // 0: as often as each part says
    bool json, tune;
};

enum { OPT_JSON = 600, OPT_ONLY, OPT_CLIP, OPT_REPEAT, OPT_TUNE };

static const struct argp_option bench_options[] = {
    {"json", OPT_JSON, NULL, 0, N_("print one flat JSON object"), 10},
    {"only", OPT_ONLY, "PREFIX", 0,
     N_("measure only what begins like this: network, rig, load, stage, finish, job, memory, or a "
        "whole name"),
     10},
    {"clip", OPT_CLIP, "FILE", 0,
     N_("a film of a minute, 1280x720, with a face (default: one is made)"), 10},
    {"repeat", OPT_REPEAT, "N", 0,
     N_("measure so often and take the median (default: 5; jobs of five and ten minutes once)"),
     10},
    {"tune", OPT_TUNE, NULL, 0,
     N_("measure instead which way of computing each layer of Wav2Lip in f32, and which precision "
        "of the whole, is fastest here, and keep that in the cache: jobs use it from then on"),
     10},
    {0},
};

static bool selected(const struct bench_options *o, const struct bench_part *part)
{
    return !o->only || text_begins(part->key, o->only) ||
           (part->memory_key && text_begins(part->memory_key, o->only));
}

static void check_only(const struct bench_options *o, struct argp_state *state)
{
    for (size_t i = 0; i < bench_n_parts; i++)
        if (selected(o, &bench_parts[i]))
            return;
    argp_error(state,
               _("nothing that is measured begins with '%s'; there are network, rig, load, stage, "
                 "finish, job and memory"),
               o->only);
}

static error_t bench_parse(int key, char *arg, struct argp_state *state)
{
    struct bench_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPT_JSON:
        o->json = true;
        return 0;
    case OPT_ONLY:
        o->only = arg;
        return 0;
    case OPT_CLIP:
        o->clip = arg;
        return 0;
    case OPT_REPEAT:
        o->repeat = option_int(state, "--repeat", arg, 1, MAX_REPEAT);
        return 0;
    case OPT_TUNE:
        o->tune = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, _("'%s' is one argument too many; a film is given with --clip"), arg);
        return 0;
    case ARGP_KEY_END:
        check_only(o, state);
        if (o->tune && (o->json || o->only || o->clip || o->repeat))
            argp_error(state, _("--tune goes with none of --only, --clip, --repeat and --json"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child bench_children[] = {{&common_argp, 0, NULL, 0}, {0}};

static const struct argp bench_argp = {
    bench_options,
    bench_parse,
    NULL,
    N_("Measure how fast koubo is on this machine: Wav2Lip's network, the listener and the rig, "
       "the "
       "stages of a job, whole jobs, memory. Everything takes a quarter of an hour; --only network "
       "less than a minute."),
    bench_children,
    NULL,
    "koubo",
};

// --- one process per measurement ---

// What a child has to say.
struct answer {
    enum kb_code code;
    double value;
    struct kb_error err;
};

typedef enum kb_code child_fn(const struct bench *b, const void *what, double *ret,
                              struct kb_error *err);

static _Noreturn void child_main(int fd, child_fn *fn, const struct bench *b, const void *what)
{
    struct answer a = {0};
    a.code = fn(b, what, &a.value, &a.err);
    ssize_t n = write(fd, &a, sizeof(a));
    _exit(n == (ssize_t)sizeof(a) ? EXIT_OK : EXIT_FAILED);
}

// Wait for what the child says or for its end, whichever is first, and pass a cancellation on.
// False: it ended, or became another program, without a word.
static bool hear(int fd, pid_t pid, struct answer *ret)
{
    bool told = false;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, 100);
        if (cancel_requested(cli_cancel()) && !told) {
            kill(pid, SIGTERM);
            told = true;
        }
        if (ready > 0)
            return read(fd, ret, sizeof(*ret)) == (ssize_t)sizeof(*ret);
    }
}

// The end of the child: its exit status and what it used.
static int reap(pid_t pid, struct rusage *ret)
{
    int status = 0;
    bool told = false;
    for (;;) {
        pid_t ended = wait4(pid, &status, WNOHANG, ret);
        if (ended == pid)
            return status;
        if (ended < 0 && errno != EINTR)
            return -1;
        if (cancel_requested(cli_cancel()) && !told) {
            kill(pid, SIGTERM);
            told = true;
        }
        poll(NULL, 0, 10);
    }
}

static enum kb_code explain_status(int status, struct kb_error *err)
{
    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return KB_OK;
    if (cancel_requested(cli_cancel()))
        return cancel_check(cli_cancel(), err);
    if (status >= 0 && WIFEXITED(status))
        return kb_fail(err, KB_INTERNAL, _("it ended with the exit code %d"), WEXITSTATUS(status));
    return kb_fail(err, KB_INTERNAL, _("it was ended by signal %d"),
                   status >= 0 ? WTERMSIG(status) : 0);
}

// What one run of a child gave.
struct run {
    double returned, wall_s, memory_mb;
};

static enum kb_code in_child(const struct bench *b, child_fn *fn, const void *what, struct run *ret,
                             struct kb_error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return kb_fail(err, KB_NO_SPACE, _("cannot make a pipe: %s"), kb_strerror(errno));
    fflush(stdout);
    int64_t since = kb_now_us();
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        child_main(ends[1], fn, b, what);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return kb_fail(err, KB_NO_SPACE, _("cannot start a process: %s"), kb_strerror(errno));
    }
    struct answer a;
    struct rusage usage = {0};
    bool spoke = hear(ends[0], pid, &a);
    close(ends[0]);
    int status = reap(pid, &usage);
    if (spoke && a.code != KB_OK) {
        *err = a.err;
        return a.code;
    }
    ret->wall_s = (double)(kb_now_us() - since) / 1e6;
    ret->memory_mb = (double)usage.ru_maxrss / 1024; // from KiB
    ret->returned = spoke ? a.value : 0;
    return explain_status(status, err);
}

static enum kb_code child_measure(const struct bench *b, const void *what, double *ret,
                                  struct kb_error *err)
{
    const struct bench_part *part = what;
    return part->run(b, part, ret, err);
}

static enum kb_code child_make(const struct bench *b, const void *what, double *ret,
                               struct kb_error *err)
{
    const enum material *m = what;
    return bench_make(b, *m, err);
}

// --- the run ---

struct figure {
    enum kb_code code; // KB_EOF: not measured
    int n;
    double values[MAX_REPEAT], memory[MAX_REPEAT]; // each sorted
};

static double median(const double *values, int n)
{
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum kb_code make_materials(const struct bench *b, unsigned needs, unsigned *made,
                                   struct kb_error *err)
{
    for (int i = 0; i < N_MATERIALS; i++) {
        enum material m = 1u << i;
        if (!(needs & m) || (*made & m))
            continue;
        if (m != MATERIAL_CLIP || !b->user_clip)
            log_info(_("making %s"), bench_material_title(m));
        struct run unused;
        enum kb_code code = in_child(b, child_make, &m, &unused, err);
        if (code != KB_OK)
            return code;
        *made |= m;
    }
    return KB_OK;
}

static enum kb_code measure(const struct bench *b, const struct bench_part *part, int repeat,
                            unsigned *made, struct figure *ret, struct kb_error *err)
{
    enum kb_code code = make_materials(b, part->needs, made, err);
    for (int i = 0; i < repeat && code == KB_OK; i++) {
        log_info(_("measuring %s (%d of %d)"), part->key, i + 1, repeat);
        struct run run = {0};
        code = in_child(b, child_measure, part, &run, err);
        ret->values[i] = part->source == BENCH_WALL ? run.wall_s : run.returned;
        ret->memory[i] = run.memory_mb;
        ret->n += code == KB_OK;
    }
    if (code == KB_OK)
        *made |= part->leaves;
    qsort(ret->values, (size_t)ret->n, sizeof(ret->values[0]), compare_doubles);
    qsort(ret->memory, (size_t)ret->n, sizeof(ret->memory[0]), compare_doubles);
    return code;
}

static int measure_all(const struct bench *b, const struct bench_options *o, struct figure *figures)
{
    int status = EXIT_OK;
    unsigned made = 0;
    for (size_t i = 0; i < bench_n_parts; i++) {
        const struct bench_part *part = &bench_parts[i];
        struct kb_error err = {0};
        figures[i].code = KB_EOF;
        if (!selected(o, part))
            continue;
        int repeat = o->repeat ? o->repeat : part->repeat ? part->repeat : 5;
        figures[i].code = measure(b, part, repeat, &made, &figures[i], &err);
        if (figures[i].code == KB_CANCELLED)
            return cli_report(KB_CANCELLED, &err);
        if (figures[i].code != KB_OK) {
            kb_wrap(&err, "%s", part->key);
            int failed = cli_report(figures[i].code, &err);
            status = status == EXIT_OK ? failed : status;
        }
    }
    return status;
}

// --- what is told ---

struct machine {
    char cpu[128];
    int cores;
    char isa[64];
};

static struct machine machine_of(void)
{
    struct machine m = {.cpu = "?", .cores = kb_cpu_count(), .isa = ""};
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[512];
    while (f && fgets(line, sizeof(line), f)) {
        const char *colon = strchr(line, ':');
        if (!colon || !text_begins(line, "model name"))
            continue;
        snprintf(m.cpu, sizeof(m.cpu), "%s", colon + 1 + strspn(colon + 1, " \t"));
        m.cpu[strcspn(m.cpu, "\n")] = '\0';
        break;
    }
    if (f)
        fclose(f);
#ifdef __x86_64__
    snprintf(m.isa, sizeof(m.isa), "%s%s%s%s", __builtin_cpu_supports("avx2") ? "avx2 " : "",
             __builtin_cpu_supports("avx512f") ? "avx512 " : "",
             __builtin_cpu_supports("avx512vnni") ? "vnni " : "",
             __builtin_cpu_supports("avx512bf16") ? "bf16 " : "");
    if (m.isa[0])
        m.isa[strlen(m.isa) - 1] = '\0';
#endif
    return m;
}

static void put_figure(json_t *object, const char *key, const struct figure *f,
                       const double *values)
{
    if (key && f->code == KB_OK)
        json_object_set_new(object, key, json_real(median(values, f->n)));
    else if (key && f->code != KB_EOF)
        json_object_set_new(object, key, json_null());
}

static void print_json(const struct figure *figures)
{
    struct machine m = machine_of();
    json_t *object = json_object();
    for (size_t i = 0; i < bench_n_parts; i++) {
        put_figure(object, bench_parts[i].key, &figures[i], figures[i].values);
        put_figure(object, bench_parts[i].memory_key, &figures[i], figures[i].memory);
    }
    json_object_set_new(object, "machine.cpu", json_string(m.cpu));
    json_object_set_new(object, "machine.cores", json_integer(m.cores));
    json_object_set_new(object, "machine.isa", json_string(m.isa));
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(5));
    putchar('\n');
    json_decref(object);
}

static void print_right(const char *text)
{
    printf("%*s%s", KB_MAX(10 - screen_width(text), 0), "", text);
}

static void print_number(double x)
{
    printf("%10.*f", fabs(x) < 10 ? 3 : fabs(x) < 1000 ? 1 : 0, x);
}

static void print_row(const char *key, const struct figure *f, const double *values,
                      const char *unit)
{
    if (!key || f->code == KB_EOF)
        return;
    printf("%-28s", key);
    if (f->code != KB_OK) {
        print_right(_("failed"));
        putchar('\n');
        return;
    }
    print_number(median(values, f->n));
    print_number(values[0]);
    print_number(values[f->n - 1]);
    printf("  %s\n", unit);
}

static void print_table(const struct figure *figures)
{
    struct machine m = machine_of();
    printf("%s, ", m.cpu);
    printf(ngettext("%d core", "%d cores", (unsigned long)m.cores), m.cores);
    printf("%s%s\n\n", m.isa[0] ? ", " : "", m.isa);

    screen_print_padded(stdout, _("measured"), 28);
    print_right(_("median"));
    print_right(_("least"));
    print_right(_("most"));
    printf("  %s\n", _("unit"));
    for (size_t i = 0; i < bench_n_parts; i++) {
        print_row(bench_parts[i].key, &figures[i], figures[i].values, bench_parts[i].unit);
        print_row(bench_parts[i].memory_key, &figures[i], figures[i].memory, "MB");
    }
}

int cmd_bench(int argc, char **argv)
{
    struct bench_options o = {0};
    options_parse(&bench_argp, argc, argv, &o);
    struct kb_error err = {0};
    if (o.tune)
        return cli_report(bench_tune(&err), &err);
    CLEANUP(place_end) char *folder = NULL;
    if (o.clip && !file_exists(o.clip))
        return cli_report(kb_fail(&err, KB_NOT_FOUND, _("cannot open '%s'"), o.clip), &err);
    enum kb_code code = place_make(&folder, "koubo-bench", &err);
    if (code != KB_OK)
        return cli_report(code, &err);

    struct bench b = {.folder = folder, .user_clip = o.clip};
    CLEANUP(kb_freep) struct figure *figures = kb_alloc(bench_n_parts * sizeof(*figures));
    int status = measure_all(&b, &o, figures);
    if (status == EXIT_CANCELLED)
        return status;
    if (o.json)
        print_json(figures);
    else
        print_table(figures);
    return status;
}
