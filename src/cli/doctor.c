// koubo doctor: prints what doctor/ finds.
#include "cli/cluster.h"
#include "cli/options.h"
#include "cli/screen.h"

#include "base/file.h"
#include "cluster/depot.h"
#include "cluster/node.h"
#include "doctor/doctor.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>

struct doctor_options {
    struct common_options common;
    const char *data;
    int port;
    bool json;
    struct cluster_options cluster;
};

enum { OPT_PORT = 1000, OPT_JSON };

static const struct argp_option doctor_options[] = {
    {"port", OPT_PORT, "N", 0, N_("where to look when no server runs (default: 7860)"), 10},
    {"json", OPT_JSON, NULL, 0, N_("print one JSON object instead of text"), 10},
    {NULL, 0, NULL, 0, N_("Other machines (docs/cluster.md):"), 11},
    {"cluster", OPT_CLUSTER, "URL", 0,
     N_("look at this Redis too, with the address that koubo serve or koubo node gets (default: "
        "$KOUBO_CLUSTER)"),
     11},
    {"cluster-file", OPT_CLUSTER_FILE, "FILE", 0,
     N_("that address is the first line of this file, so that its password does not stand in the "
        "command line"),
     11},
    {"depot", OPT_DEPOT, "URL", 0,
     N_("look at this depot too: s3://…, of which a small object is written, read and removed, or "
        "http://HOST:7860, the head; without --data, of a machine its own folder then"),
     11},
    {"depot-credentials", OPT_DEPOT_CREDENTIALS, "FILE", 0,
     N_("its keys, a file of mode 0600 (default: AWS_ACCESS_KEY_ID and so on of the environment)"),
     11},
    {0},
};

static error_t doctor_parse(int key, char *arg, struct argp_state *state)
{
    struct doctor_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->data;
        state->child_inputs[1] = &o->common;
        return 0;
    case OPT_PORT:
        o->port = option_int(state, "--port", arg, 1, 65535);
        return 0;
    case OPT_JSON:
        o->json = true;
        return 0;
    default:
        return cluster_option(&o->cluster, key, arg) ? 0 : ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child doctor_children[] = {
    {&data_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {0},
};

static const struct argp doctor_argp = {
    doctor_options,
    doctor_parse,
    "",
    N_("Look at the server, its log and jobs, the machine, the models and the codecs, with "
       "--cluster "
       "other machines too, and say what is wrong and what to do. Ends with 1 when there is a "
       "problem."),
    doctor_children,
    NULL,
    "koubo",
};

static void print_text(const struct doctor *d)
{
    const char *const marks[] = {_("ok"), _("look"), _("PROBLEM")}; // as enum finding_level
    CLEANUP(kb_freep) char *sentence = doctor_verdict(d);
    int width = 0;
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        width = KB_MAX(width, screen_width(marks[i]));
    for (int i = 0; i < d->n_findings; i++) {
        const struct finding *f = &d->findings[i];
        screen_print_padded(stdout, marks[f->level], width + 2);
        screen_print_padded(stdout, f->title, 18);
        screen_print_wrapped(stdout, f->text, width + 20);
        if (f->advice) {
            printf("%*s-> ", width + 20, "");
            screen_print_wrapped(stdout, f->advice, width + 23);
        }
    }
    putchar('\n');
    screen_print_wrapped(stdout, sentence, 0);
}

static void print_json(const struct doctor *d)
{
    CLEANUP(text_free) struct text json = {0};
    doctor_json(d, &json);
    printf("%s\n", text_get(&json));
}

// On a machine of a cluster it is koubo node's folder: there a depot is named, over HTTP the head's
// own, and no server has one. *ret_machine: so it is.
static char *choose_folder(const struct doctor_options *o, bool *ret_machine)
{
    CLEANUP(kb_freep) char *server = store_default_folder();
    CLEANUP(kb_freep) char *node = node_default_folder();
    bool has_server = file_is_dir(server), has_node = file_is_dir(node);
    bool by_http = o->cluster.depot && !depot_is_s3(o->cluster.depot);
    *ret_machine = !o->data && o->cluster.depot &&
                   (by_http ? has_node || !has_server : has_node && !has_server);
    return *ret_machine ? TAKE(node) : o->data ? kb_strdup(o->data) : TAKE(server);
}

int cmd_doctor(int argc, char **argv)
{
    struct doctor_options o = {.port = 7860};
    options_parse(&doctor_argp, argc, argv, &o);
    struct kb_error err = {0};
    enum kb_code code = secret_settle(&o.cluster.redis, "KOUBO_CLUSTER", &err);
    if (code != KB_OK)
        return cli_report(code, &err);
    bool is_machine;
    CLEANUP(kb_freep) char *data = choose_folder(&o, &is_machine);
    CLEANUP(doctor_clear)
    struct doctor d = {.data = data,
                       .port = o.port,
                       .is_machine = is_machine,
                       .redis = o.cluster.redis.value,
                       .depot = o.cluster.depot,
                       .credentials = o.cluster.credentials};
    doctor_look(&d);
    secret_free(&o.cluster.redis);
    if (o.json)
        print_json(&d);
    else
        print_text(&d);
    return doctor_level(&d) == FINDING_PROBLEM ? EXIT_FAILED : EXIT_OK;
}
