// koubo batch: one speech, many videos. The mel and the models are made once; a video that fails,
// fails alone; what exists already is skipped.
#include "cli/inputs.h"
#include "cli/options.h"
#include "cli/screen.h"

#include "base/file.h"
#include "base/log.h"
#include "lipsync/speech.h"
#include "media/audio.h"

struct batch_options {
    struct dub_options shared;
    const char *folder;
    bool force;
    struct inputs inputs;
};

static const struct argp_option batch_options[] = {
    {"output", 'o', "FOLDER", 0, N_("where the results go; made if it is missing"), 11},
    {"force", 'f', NULL, 0, N_("make results again that are there already"), 11},
    {0},
};

static error_t batch_parse(int key, char *arg, struct argp_state *state)
{
    struct batch_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->inputs;
        state->child_inputs[1] = &o->shared;
        return 0;
    case 'o':
        o->folder = option_path(arg);
        return 0;
    case 'f':
        o->force = true;
        return 0;
    case ARGP_KEY_END:
        if (!o->folder)
            argp_error(state, "%s", _("no output: give the folder of the results with -o FOLDER"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child batch_children[] = {
    {&inputs_argp, 0, NULL, 0},
    {&dub_argp, 0, NULL, 0},
    {0},
};

static const struct argp batch_argp = {
    batch_options,
    batch_parse,
    "-a SPEECH VIDEO|FOLDER... -o FOLDER",
    N_("Make the people in many videos say one speech. Results are named after the videos; those "
       "that are there already are skipped."),
    batch_children,
    NULL,
    "koubo",
};

enum outcome { OUTCOME_OPEN, OUTCOME_OK, OUTCOME_SKIPPED, OUTCOME_FAILED };

struct item {
    const char *video, *output;
    enum outcome outcome;
    char why[600];
};

static void item_fail(struct item *item, const struct kb_error *err)
{
    item->outcome = OUTCOME_FAILED;
    snprintf(item->why, sizeof(item->why), "%s", err->text);
}

// What can be said about an item without any work.
static void item_check(struct item *item, const struct batch_options *o)
{
    struct dub_params dub = o->shared.dub;
    struct kb_error err = {0};
    dub.video = item->video;
    dub.output = item->output;
    if (file_same(item->output, item->video)) {
        kb_fail(&err, KB_BAD_INPUT,
                _("the result would replace its own video; choose another folder with -o"));
        item_fail(item, &err);
    } else if (!o->force && file_exists(item->output)) {
        item->outcome = OUTCOME_SKIPPED;
        snprintf(item->why, sizeof(item->why), "%s", _("is there already; --force makes it again"));
    } else if (dub_check(&dub, NULL, &err) != KB_OK) {
        item_fail(item, &err);
    }
}

static size_t count(const struct item *items, size_t n, enum outcome outcome)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += items[i].outcome == outcome;
    return found;
}

static void item_run(struct item *item, const char *label, struct engine *engine,
                     const struct batch_options *o)
{
    struct dub_params dub = o->shared.dub;
    struct dub_result result = {0};
    struct kb_error err = {0};
    struct progress_view *view = progress_start(o->shared.common.progress, label);
    dub.video = item->video;
    dub.output = item->output;
    dub.watch = (struct watch){cli_cancel(), progress_update, view};
    enum kb_code code = dub_run(engine, &dub, &result, &err);
    if (code == KB_OK) {
        progress_done(&view);
        item->outcome = OUTCOME_OK;
        snprintf(item->why, sizeof(item->why), _("'%s', %.1f s"), item->output, result.seconds);
        return;
    }
    progress_stop(&view);
    if (code != KB_CANCELLED) {
        item_fail(item, &err);
        log_error("%s", err.text);
    }
}

static enum kb_code run_open_items(struct item *items, size_t n, struct batch_options *o,
                                   struct kb_error *err)
{
    struct progress_view *view = progress_start(o->shared.common.progress, NULL);
    const struct watch watch = {cli_cancel(), progress_update, view};
    o->shared.engine.watch = watch;
    CLEANUP(engine_free) struct engine engine = {0};
    CLEANUP(mel_free) struct mel *mel = NULL;
    enum kb_code code = engine_load(&engine, &o->shared.engine, err);
    if (code == KB_OK)
        code = speech_hear(&mel, o->shared.speech.audio, o->shared.speech.audio,
                           o->shared.dub.loudnorm, &watch, err);
    if (code != KB_OK) {
        progress_stop(&view);
        return code;
    }
    progress_done(&view);
    o->shared.dub.mel = mel;

    for (size_t i = 0; i < n && !cancel_requested(cli_cancel()); i++) {
        if (items[i].outcome != OUTCOME_OPEN)
            continue;
        CLEANUP(kb_freep)
        char *label = kb_printf("[%zu/%zu] %s", i + 1, n, path_name(items[i].video));
        item_run(&items[i], label, &engine, o);
    }
    o->shared.dub.mel = NULL;
    return cancel_check(cli_cancel(), err);
}

static void print_summary(const struct item *items, size_t n, FILE *f)
{
    const char *const words[] = {_("not begun"), _("ok"), _("skipped"), _("failed")};
    int widths[2] = {0, 0};
    for (size_t i = 0; i < n; i++) {
        widths[0] = KB_MAX(widths[0], screen_width(words[items[i].outcome]));
        widths[1] = KB_MAX(widths[1], screen_width(path_name(items[i].video)));
    }
    for (size_t i = 0; i < n; i++) {
        screen_print_padded(f, words[items[i].outcome], widths[0] + 2);
        screen_print_padded(f, path_name(items[i].video), widths[1] + 2);
        fprintf(f, "%s\n", items[i].why);
    }
    CLEANUP(kb_freep)
    char *done = kb_printf(_("%zu ok, %zu skipped, %zu failed"), count(items, n, OUTCOME_OK),
                           count(items, n, OUTCOME_SKIPPED), count(items, n, OUTCOME_FAILED));
    CLEANUP(kb_freep)
    char *open = kb_printf(_(", %zu not begun or cancelled"), count(items, n, OUTCOME_OPEN));
    fprintf(f, "%s%s\n", done, count(items, n, OUTCOME_OPEN) ? open : "");
}

static enum kb_code run(struct batch_options *o, struct item *items, size_t n, struct kb_error *err)
{
    enum kb_code code = speech_prepare(&o->shared.speech, err);
    if (code != KB_OK)
        return code;
    // The speech is every video's: if it is bad nothing can be made.
    struct audio_reader *reader = NULL;
    code = audio_open(&reader, o->shared.speech.audio, &(struct audio_params){0}, err);
    audio_close(&reader);
    if (code == KB_OK)
        code = file_make_dirs(o->folder, err);
    if (code != KB_OK)
        return code;
    o->shared.dub.audio = o->shared.speech.audio;
    for (size_t i = 0; i < n; i++)
        item_check(&items[i], o);
    return count(items, n, OUTCOME_OPEN) ? run_open_items(items, n, o, err) : KB_OK;
}

static int run_and_report(struct batch_options *o)
{
    dub_options_prepare(&o->shared);
    CLEANUP(inputs_free) struct inputs outputs = inputs_outputs(&o->inputs, o->folder);
    size_t n = o->inputs.n;
    CLEANUP(kb_freep) struct item *items = kb_alloc(n * sizeof(*items));
    for (size_t i = 0; i < n; i++)
        items[i] = (struct item){.video = o->inputs.paths[i], .output = outputs.paths[i]};

    struct kb_error err = {0};
    enum kb_code code = run(o, items, n, &err);
    if (code != KB_OK && code != KB_CANCELLED)
        return cli_report(code, &err);
    // Where JSON goes to the standard output, the table for people does not.
    print_summary(items, n, o->shared.common.progress == PROGRESS_JSON ? stderr : stdout);
    if (code == KB_CANCELLED)
        return cli_report(code, &err);
    return count(items, n, OUTCOME_FAILED) ? EXIT_SOME_FAILED : EXIT_OK;
}

int cmd_batch(int argc, char **argv)
{
    struct batch_options o = {.shared = dub_options_defaults()};
    options_parse(&batch_argp, argc, argv, &o);
    int status = run_and_report(&o);
    dub_options_free(&o.shared);
    inputs_free(&o.inputs);
    return status;
}
