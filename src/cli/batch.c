// koubo batch: one speech, many videos. The mel and the models are made once; a video that fails,
// fails alone; what exists already, and what is known to be unusable before any work, is skipped.
#include "cli/inputs.h"
#include "cli/options.h"
#include "cli/screen.h"

#include "base/file.h"
#include "base/log.h"
#include "lipsync/speech.h"
#include "media/audio.h"
#include "media/reader.h"

#include <jansson.h>
#include <unistd.h>

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

#define LONGEST_NAME  48 // columns of a file's name in the lines while it runs
#define NARROW_REASON 24 // columns; with fewer, what there is to say of a video gets its own lines

// The words of the page. A video that was not begun or not finished when Ctrl-C came is cancelled.
enum outcome { OUTCOME_OPEN, OUTCOME_DONE, OUTCOME_FAILED, OUTCOME_CANCELLED, OUTCOME_SKIPPED };
#define N_OUTCOMES (OUTCOME_SKIPPED + 1)

static const char *const outcome_ids[N_OUTCOMES] = {"queued", "done", "failed", "cancelled",
                                                    "skipped"};
static const char *const outcome_words[N_OUTCOMES] = {
    "", N_("Done"), N_("Failed"), N_("Cancelled"), N_("Skipped"),
};

struct item {
    const char *video, *output;
    enum outcome outcome;
    bool unusable;    // skipped because nothing can be made of it
    double weight;    // of the work it makes, against the others
    double seconds;   // of the result
    int64_t spent_us; // of work
    char why[600];
};

// All of them, and where the work is.
struct batch {
    struct item *items;
    size_t n, current;
    int64_t began_us, item_began_us;
    enum progress_mode mode;
};

static size_t count(const struct batch *b, enum outcome outcome)
{
    size_t found = 0;
    for (size_t i = 0; i < b->n; i++)
        found += b->items[i].outcome == outcome;
    return found;
}

static size_t count_unusable(const struct batch *b)
{
    size_t found = 0;
    for (size_t i = 0; i < b->n; i++)
        found += b->items[i].unusable;
    return found;
}

// --- how far it is

// How much of a video's work is done: faces take about a third of it, where no track is there.
static double fraction_of(const struct progress *now)
{
    static const double begins[N_STAGES + 1] = {
        [STAGE_PREPROCESSING] = 0, [STAGE_GENERATING] = 0.33, [STAGE_FINISHING] = 0.97, 1};
    double within = now->total > 0 ? (double)KB_MIN(now->done, now->total) / (double)now->total : 0;
    return begins[now->stage] + (begins[now->stage + 1] - begins[now->stage]) * within;
}

// A progress_whole_fn. Done is the mean over those that are done or can still be; what failed or
// was skipped moves nothing. The time left comes from how long what is done took, a video's weight
// being its pixels a second.
static void tell_whole(void *opaque, const struct progress *now, struct progress_whole *ret)
{
    const struct batch *b = opaque;
    double done = 0, work = 0, left = 0, n = 0, here = fraction_of(now);
    int64_t spent_us = kb_now_us() - b->item_began_us;
    for (size_t i = 0; i < b->n; i++) {
        const struct item *item = &b->items[i];
        if (item->outcome != OUTCOME_OPEN && item->outcome != OUTCOME_DONE)
            continue;
        double part = item->outcome == OUTCOME_DONE ? 1 : i == b->current ? here : 0;
        n++;
        done += part;
        work += part * item->weight;
        left += (1 - part) * item->weight;
        spent_us += item->spent_us;
    }
    *ret = (struct progress_whole){.done = n > 0 ? done / n : 0,
                                   .left_s = -1,
                                   .began_us = b->began_us,
                                   .part = (int)b->current + 1,
                                   .parts = (int)b->n};
    if (spent_us > 1000000 && done > 0.01)
        ret->left_s = left / work * (double)spent_us / 1e6;
}

// --- the videos

// One line or one object about a video that has ended.
static void item_tell(const struct batch *b, const struct item *item)
{
    size_t number = (size_t)(item - b->items) + 1;
    if (b->mode == PROGRESS_JSON) {
        bool done = item->outcome == OUTCOME_DONE;
        bool bad = item->outcome == OUTCOME_FAILED || item->unusable;
        json_auto_t *o =
            json_pack("{s:s, s:i, s:i, s:s*, s:s*, s:s*}", "stage", outcome_ids[item->outcome],
                      "video", (int)number, "videos", (int)b->n, "input", item->video, "output",
                      done ? item->output : NULL, "error", bad ? item->why : NULL);
        if (o && done)
            json_object_set_new(o, "seconds", json_real(item->seconds));
        if (o) { // a name that is no UTF-8 leaves its field out
            json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
            putchar('\n');
            fflush(stdout);
        }
    } else if (b->mode != PROGRESS_NONE) {
        int width = KB_MAX(10, KB_MIN(screen_columns(stderr) - 24, LONGEST_NAME));
        CLEANUP(kb_freep) char *name = screen_cut(path_name(item->video), width);
        fprintf(stderr, "[%zu/%zu] %s  %s\n", number, b->n, name, _(outcome_words[item->outcome]));
    }
}

static void item_end(const struct batch *b, struct item *item, enum outcome outcome,
                     const char *why)
{
    item->outcome = outcome;
    snprintf(item->why, sizeof(item->why), "%s", why);
    item_tell(b, item);
}

// What can be said about an item without any work.
static void item_check(const struct batch *b, struct item *item, const struct batch_options *o)
{
    struct dub_params dub = o->shared.dub;
    struct kb_error err = {0};
    CLEANUP(reader_close) struct reader *film = NULL;
    dub.video = item->video;
    dub.output = item->output;
    if (file_same(item->output, item->video)) {
        kb_fail(&err, KB_BAD_INPUT,
                _("the result would replace its own video; choose another folder with -o"));
    } else if (!o->force && file_exists(item->output)) {
        item_end(b, item, OUTCOME_SKIPPED, _("is there already; --force makes it again"));
        return;
    } else if (dub_check(&dub, &film, &err) == KB_OK) {
        const struct reader_info *info = reader_info(film);
        // Beside the pixels a frame costs as much as half a million of them.
        item->weight = av_q2d(info->frame_rate) * (info->width * (double)info->height + 5e5);
        return;
    }
    item->unusable = true;
    item_end(b, item, OUTCOME_SKIPPED, err.text);
}

static void item_run(struct batch *b, struct item *item, struct engine *engine,
                     const struct batch_options *o)
{
    struct dub_params dub = o->shared.dub;
    struct dub_result result = {0};
    struct kb_error err = {0};
    CLEANUP(kb_freep)
    char *label = kb_printf("[%zu/%zu] %s", b->current + 1, b->n, path_name(item->video));
    b->item_began_us = kb_now_us();
    CLEANUP(progress_stop)
    struct progress_view *view = progress_start_part(b->mode, label, tell_whole, b);
    dub.video = item->video;
    dub.output = item->output;
    dub.watch = (struct watch){cli_cancel(), progress_update, view};
    enum kb_code code = dub_run(engine, &dub, &result, &err);
    progress_stop(&view);
    if (code == KB_CANCELLED)
        return;
    if (code != KB_OK) {
        log_error("%s", err.text);
        item_end(b, item, OUTCOME_FAILED, err.text);
        return;
    }
    item->spent_us = kb_now_us() - b->item_began_us;
    item->seconds = result.seconds;
    CLEANUP(kb_freep) char *what = kb_printf(_("'%s', %.1f s"), item->output, result.seconds);
    item_end(b, item, OUTCOME_DONE, what);
}

static enum kb_code run_open_items(struct batch *b, struct batch_options *o, struct kb_error *err)
{
    struct progress_view *view = progress_start(b->mode, NULL);
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

    b->began_us = kb_now_us();
    for (; b->current < b->n && !cancel_requested(cli_cancel()); b->current++)
        if (b->items[b->current].outcome == OUTCOME_OPEN)
            item_run(b, &b->items[b->current], &engine, o);
    o->shared.dub.mel = NULL;
    return cancel_check(cli_cancel(), err);
}

// --- the end

static void print_row(FILE *f, const struct item *item, int word_width, int name_width)
{
    int at = word_width + name_width + 4;
    CLEANUP(kb_freep) char *name = screen_cut(path_name(item->video), name_width);
    screen_print_padded(f, _(outcome_words[item->outcome]), word_width + 2);
    if (!item->why[0]) {
        fprintf(f, "%s\n", name);
        return;
    }
    if (isatty(fileno(f)) && screen_columns(f) - at <= NARROW_REASON) {
        at = 4;
        fprintf(f, "%s\n%*s", name, at, "");
    } else {
        screen_print_padded(f, name, name_width + 2);
    }
    screen_print_wrapped(f, item->why, at);
}

// For people: what became of each, and how many of what.
static void print_summary(const struct batch *b, FILE *f)
{
    int word_width = 0, name_width = 0;
    for (size_t i = 0; i < b->n; i++) {
        const struct item *item = &b->items[i];
        word_width = KB_MAX(word_width, screen_width(_(outcome_words[item->outcome])));
        name_width = KB_MAX(name_width, screen_width(path_name(item->video)));
    }
    if (isatty(fileno(f)))
        name_width = KB_MIN(name_width, screen_columns(f) * 2 / 5);
    for (size_t i = 0; i < b->n; i++)
        print_row(f, &b->items[i], word_width, name_width);
    fprintf(f, _("%zu done, %zu failed, %zu cancelled, %zu skipped\n"), count(b, OUTCOME_DONE),
            count(b, OUTCOME_FAILED), count(b, OUTCOME_CANCELLED), count(b, OUTCOME_SKIPPED));
}

// For programs, in the words of the API. What was there already is no fault.
static void print_json_summary(const struct batch *b)
{
    size_t unusable = count_unusable(b), failed = count(b, OUTCOME_FAILED);
    size_t good = count(b, OUTCOME_DONE) + count(b, OUTCOME_SKIPPED) - unusable;
    const char *outcome = "partly";
    if (good == b->n)
        outcome = "done";
    else if (good == 0)
        outcome = failed + unusable == 0 ? "cancelled" : "failed";
    printf("{\"stage\":\"ended\",\"outcome\":\"%s\",\"counts\":{", outcome);
    for (enum outcome i = OUTCOME_DONE; i < N_OUTCOMES; i++)
        printf("\"%s\":%zu,", outcome_ids[i], count(b, i));
    printf("\"total\":%zu}}\n", b->n);
    fflush(stdout);
}

static enum kb_code run(struct batch *b, struct batch_options *o, struct kb_error *err)
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
    for (size_t i = 0; i < b->n; i++)
        item_check(b, &b->items[i], o);
    return count(b, OUTCOME_OPEN) ? run_open_items(b, o, err) : KB_OK;
}

static int run_and_report(struct batch_options *o)
{
    dub_options_prepare(&o->shared);
    CLEANUP(inputs_free)
    struct inputs outputs = inputs_outputs(
        &o->inputs, o->folder, background_ending(o->shared.dub.finish.background.alpha));
    struct batch b = {.n = o->inputs.n, .mode = progress_mode_of(o->shared.common.progress)};
    CLEANUP(kb_freep) struct item *items = kb_alloc(b.n * sizeof(*items));
    b.items = items;
    for (size_t i = 0; i < b.n; i++)
        items[i] = (struct item){.video = o->inputs.paths[i], .output = outputs.paths[i]};

    struct kb_error err = {0};
    enum kb_code code = run(&b, o, &err);
    if (code != KB_OK && code != KB_CANCELLED)
        return cli_report(code, &err);
    for (size_t i = 0; i < b.n; i++)
        if (items[i].outcome == OUTCOME_OPEN)
            item_end(&b, &items[i], OUTCOME_CANCELLED, "");
    // Where JSON goes to the standard output, the table for people does not.
    print_summary(&b, b.mode == PROGRESS_JSON ? stderr : stdout);
    if (b.mode == PROGRESS_JSON)
        print_json_summary(&b);
    if (code == KB_CANCELLED)
        return cli_report(code, &err);
    return count(&b, OUTCOME_FAILED) + count_unusable(&b) ? EXIT_SOME_FAILED : EXIT_OK;
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
