// koubo label: what a film says of being made by AI (docs/label.md), and a way to have it say so.
#include "cli/finish/finish.h"
#include "cli/inputs.h"
#include "cli/outputs.h"
#include "cli/screen.h"

#include "base/log.h"
#include "base/utf8.h"
#include "media/aigc.h"
#include "media/copy.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct label_command {
    struct common_options common;
    struct inputs inputs;
    bool json, add, overwrite;
    const char *output, *producer, *produce_id;
};

enum { OPT_JSON = 700, OPT_ADD, OPT_PRODUCE_ID };

static const struct argp_option command_options[] = {
    {"json", OPT_JSON, NULL, 0, N_("print one JSON object a file instead of text"), 10},
    {"add", OPT_ADD, NULL, 0,
     N_("write a copy of one film that has the label in its metadata; pictures and sound stay as "
        "they are"),
     11},
    {"output", 'o', "FILE", 0, N_("of --add: the copy, .mp4, .m4v, .mov, .mkv or .webm"), 11},
    {"ai-producer", OPT_AI_PRODUCER, "NAME", 0,
     N_("of --add: who made it, a name or better the code of the service provider (default: "
        "koubo)"),
     11},
    {"produce-id", OPT_PRODUCE_ID, "ID", 0,
     N_("of --add: the number of this film (default: one is made up)"), 11},
    {0},
};

static error_t command_parse(int key, char *arg, struct argp_state *state)
{
    struct label_command *o = state->input;
    struct label_params p = {0};
    struct kb_error err = {0};
    bool said;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->overwrite;
        state->child_inputs[1] = &o->common;
        return 0;
    case OPT_JSON:
        o->json = true;
        return 0;
    case OPT_ADD:
        o->add = true;
        return 0;
    case OPT_PRODUCE_ID:
        if (aigc_producer_check("--produce-id", arg, &err) != KB_OK)
            argp_error(state, "%s", err.text);
        o->produce_id = arg;
        return 0;
    case OPT_AI_PRODUCER:
        label_option(state, key, arg, &p, &said);
        o->producer = p.producer;
        return 0;
    case 'o':
        o->output = option_path(arg);
        return 0;
    case ARGP_KEY_ARG:
        inputs_take(&o->inputs, arg);
        return 0;
    case ARGP_KEY_END:
        if (o->inputs.n == 0)
            argp_error(state, "%s", _("no film: name one or more"));
        if (o->add != (o->output != NULL))
            argp_error(state, "%s",
                       _("--add and -o belong together: koubo label --add FILE -o OUT"));
        if (o->add && o->inputs.n > 1)
            argp_error(state, "%s", _("--add takes one film at a time"));
        if (!o->add && (o->producer || o->produce_id))
            argp_error(state, "%s", _("--ai-producer and --produce-id need --add"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child command_children[] = {
    {&overwrite_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {0},
};

static const struct argp command_argp = {
    command_options,
    command_parse,
    "FILE… | --add FILE -o OUT",
    N_("Say what films tell of being made by AI: the implicit label of GB 45438-2025 in their "
       "metadata, whether it is as the standard wants it, and which visible mark koubo drew. Ends "
       "with 6 when a file has no such label or a broken one."),
    command_children,
    NULL,
    "koubo",
};

// What is known of one file.
struct found {
    struct aigc_tags tags;
    struct aigc label;
    bool labelled, broken; // an object is there; it does not count
    int n_problems;
    char *problems[AIGC_MAX_PROBLEMS];
};

static void found_clear(struct found *f)
{
    for (int i = 0; i < f->n_problems; i++)
        free(f->problems[i]);
    aigc_clear(&f->label);
    aigc_tags_clear(&f->tags);
}

static enum kb_code look(const char *path, struct found *ret, struct kb_error *err)
{
    *ret = (struct found){0};
    enum kb_code code = aigc_read(path, cli_cancel(), &ret->tags, err);
    if (code != KB_OK || !ret->tags.aigc)
        return code;
    ret->labelled = true;
    if (aigc_parse(ret->tags.aigc, &ret->label)) {
        ret->n_problems = aigc_check(&ret->label, ret->problems, &ret->broken);
    } else {
        ret->broken = true;
        ret->problems[ret->n_problems++] =
            kb_strdup(_("what stands under AIGC is no object of texts in JSON"));
    }
    return code;
}

static void print_line(const char *title, const char *value)
{
    CLEANUP(kb_freep) char *cut = screen_cut(value, 400); // a stranger's
    fputs("  ", stdout);
    screen_print_padded(stdout, title, 20);
    printf("%s\n", cut);
}

static const char *meaning(const char *label)
{
    static const char *const meanings[] = {N_("made by AI"), N_("possibly made by AI"),
                                           N_("suspected to be made by AI")};
    return label && *label >= '1' && *label <= '3' && !label[1] ? _(meanings[*label - '1']) : "?";
}

static void print_text(const char *path, const struct found *f)
{
    CLEANUP(kb_freep) char *name = screen_cut(path, 400);
    printf("%s\n", name);
    if (!f->labelled) {
        print_line(_("implicit label"), _("none"));
    } else {
        CLEANUP(kb_freep)
        char *says = kb_printf("%s (Label %s)%s", meaning(f->label.value[AIGC_LABEL]),
                               f->label.value[AIGC_LABEL] ? f->label.value[AIGC_LABEL] : "-",
                               f->broken ? _(", BROKEN") : "");
        print_line(_("implicit label"), says);
        for (int i = AIGC_CONTENT_PRODUCER; i < N_AIGC_FIELDS; i++)
            if (f->label.value[i] && *f->label.value[i])
                print_line(aigc_names[i], f->label.value[i]);
    }
    for (int i = 0; i < f->n_problems; i++)
        print_line(f->broken ? _("wrong") : _("note"), f->problems[i]);
    print_line(_("visible label"), f->tags.mark ? f->tags.mark : _("not known; look at the film"));
}

static void print_json(const char *path, const struct found *f)
{
    CLEANUP(kb_freep) char *name = utf8_clean(path);
    json_auto_t *all = json_object();
    json_t *label = f->labelled ? json_object() : json_null(), *problems = json_array();
    for (int i = 0; f->labelled && i < N_AIGC_FIELDS; i++)
        if (f->label.value[i])
            json_object_set_new(label, aigc_names[i], json_string(f->label.value[i]));
    for (int i = 0; i < f->n_problems; i++)
        json_array_append_new(problems, json_string(f->problems[i]));
    json_object_set_new(all, "file", json_string(name));
    json_object_set_new(all, "label", label);
    json_object_set_new(all, "valid", json_boolean(f->labelled && !f->broken));
    json_object_set_new(all, "problems", problems);
    json_object_set_new(all, "visible", f->tags.mark ? json_string(f->tags.mark) : json_null());
    CLEANUP(kb_freep) char *text = json_dumps(all, JSON_COMPACT);
    printf("%s\n", text);
}

static int show(const struct label_command *o)
{
    int status = EXIT_OK;
    for (size_t i = 0; i < o->inputs.n; i++) {
        CLEANUP(found_clear) struct found f = {0};
        struct kb_error err = {0};
        enum kb_code code = look(o->inputs.paths[i], &f, &err);
        if (code == KB_CANCELLED)
            return cli_report(code, &err);
        if (code != KB_OK) {
            int failed = cli_report(code, &err);
            status = o->inputs.n == 1 ? failed : EXIT_SOME_FAILED;
            continue;
        }
        (o->json ? print_json : print_text)(o->inputs.paths[i], &f);
        if (!f.labelled || f.broken)
            status = EXIT_SOME_FAILED;
    }
    return status;
}

// Nobody's label is overwritten: the one who made it stands in there.
static enum kb_code add(const struct label_command *o, struct kb_error *err)
{
    const char *path = o->inputs.paths[0];
    const char *const inputs[] = {path, NULL};
    CLEANUP(found_clear) struct found f = {0};
    struct copied copied;
    enum kb_code code = output_check(o->output, o->overwrite, inputs, err);
    if (code == KB_OK)
        code = look(path, &f, err);
    if (code == KB_OK && f.labelled && !f.broken) {
        CLEANUP(kb_freep) char *who = screen_cut(f.label.value[AIGC_CONTENT_PRODUCER], 100);
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' has a label already, by %s; labels of others are not replaced"),
                       path, who);
    }
    CLEANUP(kb_freep) char *label = aigc_make(o->producer, o->produce_id);
    if (code == KB_OK)
        code = copy_with_tag(path, o->output, AIGC_KEY, label, cli_cancel(), &copied, err);
    if (code == KB_OK && copied.n_left > 0)
        log_info(_("'%s': %d streams (data, subtitles) that its format does not keep are left out"),
                 o->output, copied.n_left);
    if (code == KB_OK)
        log_info(_("'%s' has the label now"), o->output);
    return code;
}

int cmd_label(int argc, char **argv)
{
    struct label_command o = {0};
    struct kb_error err = {0};
    options_parse(&command_argp, argc, argv, &o);
    int status = o.add ? cli_report(add(&o, &err), &err) : show(&o);
    inputs_free(&o.inputs);
    return status;
}
