// koubo doctor: looks where a person who knows koubo would look, and says what to do.
#include "cli/doctor.h"

#include "cli/options.h"

#include "job/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct doctor_options {
    struct common_options common;
    const char *data;
    int port;
    bool json;
};

enum { OPT_DATA = 1000, OPT_PORT, OPT_JSON };

static const struct argp_option doctor_options[] = {
    {"data", OPT_DATA, "FOLDER", 0,
     N_("the server's data folder (default: $KOUBO_DATA, else koubo in the home folder's "
        ".local/share)"),
     10},
    {"port", OPT_PORT, "N", 0, N_("where to look when no server runs (default: 7860)"), 10},
    {"json", OPT_JSON, NULL, 0, N_("print one JSON object instead of text"), 10},
    {0},
};

static error_t doctor_parse(int key, char *arg, struct argp_state *state)
{
    struct doctor_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPT_DATA:
        o->data = arg;
        return 0;
    case OPT_PORT:
        o->port = option_int(state, "--port", arg, 1, 65535);
        return 0;
    case OPT_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, _("'%s' is one argument too many"), arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child doctor_children[] = {{&common_argp, 0, NULL, 0}, {0}};

static const struct argp doctor_argp = {
    doctor_options,
    doctor_parse,
    "",
    N_("Look at the server, its log and jobs, the machine, the models and the codecs, and say what "
       "is wrong and what to do. Ends with 1 when there is a problem."),
    doctor_children,
    NULL,
    "koubo",
};

static const char *const level_names[] = {"ok", "warning", "problem"};

void doctor_add(struct doctor *d, const char *name, const char *title, enum finding_level level,
                const char *advice, const char *fmt, ...)
{
    char text[1000];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    json_array_append_new(d->findings,
                          json_pack("{s:s, s:s, s:s, s:s, s:s?}", "name", name, "title", title,
                                    "level", level_names[level], "text", text, "advice", advice));
    if (level > d->worst) {
        d->worst = level;
        free(d->worst_advice);
        d->worst_advice = kb_strdup(advice ? advice : text);
    }
}

static char *verdict(const struct doctor *d)
{
    switch (d->worst) {
    case FINDING_PROBLEM:
        return kb_printf(_("There is a problem. First: %s"), d->worst_advice);
    case FINDING_WARNING:
        return kb_printf(_("It works, with something to look at: %s"), d->worst_advice);
    case FINDING_OK:
        break;
    }
    return kb_strdup(_("All is well."));
}

static void print_text(const struct doctor *d, const char *sentence)
{
    const char *const marks[] = {_("ok"), _("look"), _("PROBLEM")};
    size_t i;
    json_t *finding;
    int width = 0;
    for (size_t k = 0; k < ARRAY_LEN(marks); k++)
        width = KB_MAX(width, cli_text_width(marks[k]));
    json_array_foreach(d->findings, i, finding)
    {
        const char *level = json_string_value(json_object_get(finding, "level"));
        const char *advice = json_string_value(json_object_get(finding, "advice"));
        int mark = level[0] == 'o' ? 0 : level[0] == 'w' ? 1 : 2;
        cli_print_padded(stdout, marks[mark], width + 2);
        cli_print_padded(stdout, json_string_value(json_object_get(finding, "title")), 18);
        printf("%s\n", json_string_value(json_object_get(finding, "text")));
        if (advice)
            printf("%*s-> %s\n", width + 20, "", advice);
    }
    printf("\n%s\n", sentence);
}

static void print_json(const struct doctor *d, const char *sentence)
{
    json_t *all = json_pack("{s:{s:s, s:s}, s:O}", "verdict", "level", level_names[d->worst],
                            "text", sentence, "checks", d->findings);
    json_dumpf(all, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(all);
}

int cmd_doctor(int argc, char **argv)
{
    struct doctor_options o = {.port = 7860};
    options_parse(&doctor_argp, argc, argv, &o);
    struct doctor d = {.data = o.data ? kb_strdup(o.data) : store_default_folder(),
                       .port = o.port,
                       .findings = json_array()};
    doctor_look_at_server(&d);
    doctor_look_at_machine(&d);
    doctor_look_at_parts(&d);

    CLEANUP(kb_freep) char *sentence = verdict(&d);
    if (o.json)
        print_json(&d, sentence);
    else
        print_text(&d, sentence);
    json_decref(d.findings);
    free(d.worst_advice);
    free(d.data);
    return d.worst == FINDING_PROBLEM ? EXIT_FAILED : EXIT_OK;
}
