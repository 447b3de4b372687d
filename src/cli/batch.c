// koubo batch: one speech with many videos, or many pairs. The models are loaded once, a speech is
// heard once for all that stand beside each other; while one is generated the next is prepared
// (preparer.h); a pair that fails, fails alone; what exists already, and what is known to be
// unusable before any work, is skipped.
#include "cli/options.h"
#include "cli/pairs.h"
#include "cli/preparer.h"
#include "cli/screen.h"
#include "cli/speech.h"

#include "base/file.h"
#include "base/log.h"
#include "lipsync/speech.h"
#include "media/audio.h"
#include "media/reader.h"
#include "queue/options.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct work_options {
    struct dub_options shared;
    const char *folder, *list;
    bool force, by_name, strict;
    struct inputs inputs, speeches;
};

enum { OPT_PAIR = 400, OPT_LIST, OPT_STRICT, OPT_LIST_TEMPLATE };

static const struct argp_option batch_options[] = {
    {"output", 'o', "FOLDER", 0, N_("where the results go; made if it is missing"), 11},
    {"force", 'f', NULL, 0, N_("make results again that are there already"), 11},
    {NULL, 0, NULL, 0, N_("Several speeches:"), 12},
    {"pair", OPT_PAIR, "each|name", 0,
     N_("with several -a: each with each video, or each video with the speech whose name is its "
        "own or part of it, as 01.wav and teacher_01.mp4 (default: each)"),
     12},
    {"list", OPT_LIST, "FILE.csv", 0,
     N_("a line a pair: columns audio or text, video, output, voice, and options as the API calls "
        "them; paths are relative to the list; - reads it from the standard input"),
     12},
    {"strict", OPT_STRICT, NULL, 0,
     N_("begin nothing if a line of the list is wrong (default: it is told and left out)"), 12},
    {"list-template", OPT_LIST_TEMPLATE, NULL, 0, N_("print such a list to fill in, and end"), 12},
    {0},
};

static error_t batch_parse(int key, char *arg, struct argp_state *state)
{
    struct work_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->inputs;
        state->child_inputs[1] = &o->shared;
        return 0;
    case OPT_PAIR:
        o->by_name = strcmp(arg, "name") == 0;
        if (!o->by_name && strcmp(arg, "each") != 0)
            argp_error(state, _("%s takes one of %s, not '%s'"), "--pair", "each, name", arg);
        return 0;
    case OPT_LIST:
        o->list = option_path(arg);
        o->inputs.optional = o->shared.speech.optional = true; // it names them
        return 0;
    case OPT_STRICT:
        o->strict = true;
        return 0;
    case OPT_LIST_TEMPLATE:
        pairs_print_template();
        exit(EXIT_OK);
    case 'o':
        o->folder = option_path(arg);
        return 0;
    case 'f':
        o->force = true;
        return 0;
    case ARGP_KEY_END:
        if (o->list && (o->shared.speech.audio || o->shared.speech.text || o->inputs.n > 0))
            argp_error(state, "%s",
                       _("--list names speeches and videos; give none beside it, or no list"));
        if (o->strict && !o->list)
            argp_error(state, "%s", _("--strict needs --list"));
        if (!o->folder && !o->list)
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
    "-a SPEECH... VIDEO|FOLDER... -o FOLDER\n--list FILE.csv [-o FOLDER]",
    N_("Make the people in many videos say one speech, or several. Results are named after the "
       "videos, and the speeches where there are several; those that are there already are "
       "skipped."),
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
    const struct pair *pair;
    char *title;                // for people
    struct batch_options own;   // all that holds for it: those of the command line, and its line's
    char *files[MATERIAL_MOST]; // paths in them
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
    struct pairs pairs;
    bool differ; // more than one speech

    // What is loaded, and the latest speech: those who say the same stand beside each other.
    struct engine engine;
    struct engine_params loaded;
    struct hearing hearing;

    // What the next one needs is made while one is generated.
    struct preparer *preparer;
    const struct work_options *options;
    struct progress_view *view; // of the current one
    _Atomic double ready;       // part of its work that had been done when its turn came
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
#define FACES_PART 0.33
static double fraction_of(const struct progress *now)
{
    static const double begins[N_STAGES + 1] = {
        [STAGE_PREPROCESSING] = 0, [STAGE_GENERATING] = FACES_PART, [STAGE_FINISHING] = 0.97, 1};
    double within = now->total > 0 ? (double)KB_MIN(now->done, now->total) / (double)now->total : 0;
    return begins[now->stage] + (begins[now->stage + 1] - begins[now->stage]) * within;
}

// A progress_whole_fn. Done is the mean over those that are done or can still be; what failed or
// was skipped moves nothing. The time left comes from how long what is done took, a video's weight
// being its pixels a second.
static void tell_whole(void *opaque, const struct progress *now, struct progress_whole *ret)
{
    const struct batch *b = opaque;
    struct progress next;
    bool ready;
    size_t ahead = (size_t)preparer_state(b->preparer, &next, &ready);
    double there = ready ? FACES_PART : fraction_of(&next);
    double done = 0, work = 0, left = 0, n = 0, here = KB_MAX(fraction_of(now), b->ready);
    int64_t spent_us = kb_now_us() - b->item_began_us;
    for (size_t i = 0; i < b->n; i++) {
        const struct item *item = &b->items[i];
        if (item->outcome != OUTCOME_OPEN && item->outcome != OUTCOME_DONE)
            continue;
        double part = item->outcome == OUTCOME_DONE ? 1
                      : i == b->current             ? here
                      : i + 1 == ahead              ? there
                                                    : 0;
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
    if (ahead > 0 && ahead != b->current + 1) {
        ret->next = (int)ahead;
        ret->next_at = next;
        ret->next_ready = ready;
    }
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
            json_pack("{s:s, s:i, s:i, s:s*, s:s*, s:s*, s:s*}", "stage",
                      outcome_ids[item->outcome], "video", (int)number, "videos", (int)b->n,
                      "input", item->pair->video, "audio", b->differ ? item->pair->audio : NULL,
                      "output", done ? item->pair->output : NULL, "error", bad ? item->why : NULL);
        if (o && item->pair->line)
            json_object_set_new(o, "line", json_integer(item->pair->line));
        if (o && done)
            json_object_set_new(o, "seconds", json_real(item->seconds));
        if (o) { // a name that is no UTF-8 leaves its field out
            json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
            putchar('\n');
            fflush(stdout);
        }
    } else if (b->mode != PROGRESS_NONE) {
        int width = KB_MAX(10, KB_MIN(screen_columns(stderr) - 24, LONGEST_NAME));
        CLEANUP(kb_freep) char *name = screen_cut(item->title, width);
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

// A path of a line's options, relative to the list.
static char *resolve(const struct pair *pair, const char *path)
{
    return path[0] == '/' || !pair->base ? kb_strdup(path) : path_join(pair->base, path);
}

// --subtitles text: what each line of a list says, or --text.
static bool tells_own_text(const struct work_options *o)
{
    return o->shared.subtitles_spoken && !o->shared.subtitles_text;
}

// Its own options over those of the command line.
static enum kb_code item_lay(struct item *item, const struct work_options *o, struct kb_error *err)
{
    item->own = (struct batch_options){.dub = o->shared.dub,
                                       .model = o->shared.engine.model,
                                       .precision = o->shared.engine.precision};
    enum kb_code code = batch_options_lay(&item->own, item->pair->options, err);
    if (code != KB_OK)
        return code;
    for (int i = 0; i < item->own.n_materials; i++) {
        item->files[i] = resolve(item->pair, item->own.materials[i].asset);
        material_put(item->own.materials[i].role, &item->own.dub, item->files[i], NULL);
    }
    if (tells_own_text(o) && item->pair->text)
        item->own.dub.finish.captions.text = item->pair->text;
    else if (tells_own_text(o) && !item->own.dub.finish.captions.file)
        item->own.dub.finish.captions.as = 0; // nobody knows what is said
    item->own.dub.audio = item->pair->audio;
    item->own.dub.video = item->pair->video;
    item->own.dub.output = item->pair->output;
    return KB_OK;
}

// A speech that is bad spoils its own pairs, where it is not the only one.
static enum kb_code speech_check(struct batch *b, const struct pair *pair, struct kb_error *err)
{
    if (pair->text)
        return speech_speakable(pair->text, pair->voice, err);
    if (!pair->audio || !b->differ)
        return KB_OK;
    struct audio_reader *reader = NULL;
    enum kb_code code = audio_open(&reader, pair->audio, &(struct audio_params){0}, err);
    audio_close(&reader);
    return code;
}

static enum kb_code item_open(struct batch *b, struct item *item, const struct work_options *o,
                              struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *film = NULL;
    enum kb_code code = item_lay(item, o, err);
    if (code == KB_OK)
        code = speech_check(b, item->pair, err);
    CLEANUP(kb_freep) char *folder = code == KB_OK ? path_folder(item->pair->output) : NULL;
    if (code == KB_OK)
        code = file_make_dirs(folder, err);
    if (code == KB_OK)
        code = dub_check(&item->own.dub, &film, err);
    if (code != KB_OK)
        return code;
    // Beside the pixels a frame costs as much as half a million of them.
    const struct reader_info *info = reader_info(film);
    item->weight = av_q2d(info->frame_rate) * (info->width * (double)info->height + 5e5);
    return KB_OK;
}

// What can be said about an item without any work.
// Is path what any of the results is made of?
static bool is_input(const struct batch *b, const char *path)
{
    bool found = false;
    for (int i = 0; !found && file_exists(path) && i < b->pairs.n; i++) {
        const struct pair *pair = &b->pairs.items[i];
        found = (pair->video && file_same(path, pair->video)) ||
                (pair->audio && file_same(path, pair->audio));
    }
    return found;
}

static void item_check(struct batch *b, struct item *item, const struct work_options *o)
{
    const struct pair *pair = item->pair;
    struct kb_error err = pair->why;
    if (err.code != KB_OK) {
        // As it is: the line says so.
    } else if (is_input(b, pair->output)) {
        kb_fail(&err, KB_BAD_INPUT,
                _("the result would replace its own video; choose another folder with -o"));
    } else if (!o->force && file_exists(pair->output)) {
        item_end(b, item, OUTCOME_SKIPPED, _("is there already; --force makes it again"));
        return;
    } else if (item_open(b, item, o, &err) == KB_OK) {
        return;
    } else if (pair->line) {
        kb_wrap(&err, _("line %d of the list"), pair->line);
    }
    item->unusable = true;
    item_end(b, item, OUTCOME_SKIPPED, err.text);
}

// --- the work

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

// The speech of a pair, as it was heard for the one before if it is the same, or ahead of it.
static enum kb_code hear(struct batch *b, struct item *item, const struct work_options *o,
                         struct prepared *ahead, const struct watch *watch, struct kb_error *err)
{
    struct dub_params *dub = &item->own.dub;
    struct hearing *heard = &b->hearing;
    enum kb_code code = KB_OK;
    if (ahead->tried && ahead->code == KB_NO_SPACE) // beside the one before; alone it may fit
        *ahead = (struct prepared){0};
    if (ahead->tried || !hearing_fits(heard, item->pair, dub->loudnorm)) {
        hearing_clear(heard);
        code = ahead->code;
        if (code != KB_OK)
            *err = ahead->err;
        else if (!ahead->tried)
            code = hearing_make(heard, item->pair, dub->loudnorm, &o->shared.speech, watch, err);
        else
            *heard = ahead->hearing;
        ahead->hearing = (struct hearing){0};
        if (code == KB_OK)
            speech_say(heard->mel, heard->spoken.audio);
    }
    dub->audio = heard->spoken.audio;
    dub->mel = heard->mel;
    if (tells_own_text(o))
        dub->finish.captions.words = &heard->spoken.words;
    return code;
}

// The network that a pair wants.
static enum kb_code load(struct batch *b, const struct item *item, const struct work_options *o,
                         const struct watch *watch, struct kb_error *err)
{
    struct engine_params wanted = o->shared.engine;
    wanted.model = item->own.model;
    wanted.precision = item->own.precision;
    wanted.watch = *watch;
    if (b->loaded.watch.cancel && same(b->loaded.model, wanted.model) &&
        b->loaded.precision == wanted.precision)
        return KB_OK;
    engine_free(&b->engine);
    b->loaded = (struct engine_params){0};
    enum kb_code code = engine_load(&b->engine, &wanted, err);
    if (code == KB_OK)
        b->loaded = wanted;
    return code;
}

// While this one is generated, what the next one needs.
static void prepare_next(struct batch *b)
{
    size_t next = b->current + 1;
    while (next < b->n && b->items[next].outcome != OUTCOME_OPEN)
        next++;
    if (next < b->n)
        preparer_begin(b->preparer, &(struct preparing){.number = (int)next + 1,
                                                        .pair = b->items[next].pair,
                                                        .how = &b->options->shared.speech,
                                                        .heard = &b->hearing,
                                                        .dub = b->items[next].own.dub});
}

// A progress_fn of the current one.
static void tell_item(void *opaque, const struct progress *now)
{
    struct batch *b = opaque;
    progress_update(b->view, now);
    if (now->stage == STAGE_GENERATING)
        prepare_next(b);
}

static enum kb_code item_make(struct batch *b, struct item *item, const struct work_options *o,
                              struct dub_result *ret, struct kb_error *err)
{
    CLEANUP(prepared_clear) struct prepared ahead = {0};
    const struct watch watch = {cli_cancel(), tell_item, b};
    struct dub_params *dub = &item->own.dub;
    preparer_take(b->preparer, (int)b->current + 1, &watch, &ahead);
    b->ready = ahead.kept ? FACES_PART : 0;
    enum kb_code code = load(b, item, o, &watch, err);
    if (code == KB_OK)
        code = hear(b, item, o, &ahead, &watch, err);
    if (code != KB_OK)
        return code;
    if (ahead.kept && !dub->mouth_from && !dub->style_from)
        prepare_next(b); // else its own films come first: one may be the same
    dub->watch = watch;
    dub->kept = ahead.kept;
    code = dub_run(&b->engine, dub, ret, err);
    dub->kept = NULL;
    return code;
}

static void item_run(struct batch *b, struct item *item, const struct work_options *o)
{
    struct dub_result result = {0};
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *label = kb_printf("[%zu/%zu] %s", b->current + 1, b->n, item->title);
    b->item_began_us = kb_now_us();
    b->ready = 0;
    b->view = progress_start_part(b->mode, label, tell_whole, b);
    enum kb_code code = item_make(b, item, o, &result, &err);
    progress_stop(&b->view);
    if (code == KB_CANCELLED)
        return;
    if (code != KB_OK) {
        log_error("%s", err.text);
        item_end(b, item, OUTCOME_FAILED, err.text);
        return;
    }
    item->spent_us = kb_now_us() - b->item_began_us;
    item->seconds = result.seconds;
    CLEANUP(kb_freep)
    char *what = kb_printf(_("'%s', %.1f s"), item->pair->output, result.seconds);
    item_end(b, item, OUTCOME_DONE, what);
}

// What every pair needs is made first, and if that fails nothing else can be.
static enum kb_code run_open_items(struct batch *b, const struct work_options *o,
                                   struct kb_error *err)
{
    size_t first = 0;
    while (b->items[first].outcome != OUTCOME_OPEN)
        first++;
    struct progress_view *view = progress_start(b->mode, NULL);
    const struct watch watch = {cli_cancel(), progress_update, view};
    enum kb_code code = load(b, &b->items[first], o, &watch, err);
    if (code == KB_OK && !b->differ)
        code = hear(b, &b->items[first], o, &(struct prepared){0}, &watch, err);
    if (code != KB_OK) {
        progress_stop(&view);
        return code;
    }
    progress_done(&view);

    b->began_us = kb_now_us();
    for (; b->current < b->n && !cancel_requested(cli_cancel()); b->current++)
        if (b->items[b->current].outcome == OUTCOME_OPEN)
            item_run(b, &b->items[b->current], o);
    return cancel_check(cli_cancel(), err);
}

// --- the end

static void print_row(FILE *f, const struct item *item, int word_width, int name_width)
{
    int at = word_width + name_width + 4;
    CLEANUP(kb_freep) char *name = screen_cut(item->title, name_width);
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
        name_width = KB_MAX(name_width, screen_width(item->title));
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

// --- what there is to make

// With --strict nothing is begun if a line is wrong: all of them are told.
static enum kb_code check_lines(const struct batch *b, struct kb_error *err)
{
    int n = 0;
    for (size_t i = 0; i < b->n; i++) {
        const struct kb_error *why = &b->pairs.items[i].why;
        bool unusable = b->items && b->items[i].unusable; // that was looked at later
        if (why->code != KB_OK || unusable) {
            log_error("%s", unusable ? b->items[i].why : why->text);
            n++;
        }
    }
    return n == 0 ? KB_OK
                  : kb_fail(err, KB_BAD_INPUT,
                            ngettext("%d line of the list is wrong; nothing was begun (--strict)",
                                     "%d lines of the list are wrong; nothing was begun (--strict)",
                                     (unsigned long)n),
                            n);
}

static enum kb_code find_pairs(struct batch *b, struct work_options *o, struct kb_error *err)
{
    const char *ending = background_ending(o->shared.dub.finish.background.alpha);
    enum kb_code code = KB_OK;
    if (o->list)
        code = pairs_from_list(&b->pairs, o->list, o->folder, ending, err);
    else if (o->shared.speech.text)
        pairs_say(&b->pairs, o->shared.speech.text, o->shared.speech.voice, &o->inputs);
    else if (o->by_name)
        code = pairs_by_name(&b->pairs, &o->speeches, &o->inputs, err);
    else
        pairs_each(&b->pairs, &o->speeches, &o->inputs);
    if (code == KB_OK)
        pairs_name_outputs(&b->pairs, o->folder ? o->folder : ".", ending);
    b->differ = pairs_differ(&b->pairs);
    b->n = (size_t)b->pairs.n;
    return code == KB_OK && o->strict ? check_lines(b, err) : code; // before any folder is made
}

static enum kb_code prepare(struct batch *b, struct work_options *o, struct kb_error *err)
{
    // A text is spoken, which may take minutes and cost money, once the videos were looked at.
    const struct speech_options *speech = &o->shared.speech;
    enum kb_code code = speech->text ? speech_speakable(speech->text, speech->voice, err) : KB_OK;
    if (code == KB_OK)
        code = find_pairs(b, o, err);
    if (code == KB_OK && !b->differ && b->pairs.items[0].audio) {
        // The speech is every video's: if it is bad nothing can be made.
        struct audio_reader *reader = NULL;
        code = audio_open(&reader, b->pairs.items[0].audio, &(struct audio_params){0}, err);
        audio_close(&reader);
    }
    if (code == KB_OK && o->folder)
        code = file_make_dirs(o->folder, err);
    return code;
}

static enum kb_code run(struct batch *b, struct work_options *o, struct kb_error *err)
{
    for (size_t i = 0; i < b->n; i++) {
        b->items[i].pair = &b->pairs.items[i];
        b->items[i].title = pair_title(b->items[i].pair, b->differ);
    }
    for (size_t i = 0; i < b->n; i++)
        item_check(b, &b->items[i], o);
    enum kb_code code = o->strict ? check_lines(b, err) : KB_OK;
    return code == KB_OK && count(b, OUTCOME_OPEN) ? run_open_items(b, o, err) : code;
}

static void batch_free(struct batch *b)
{
    preparer_free(&b->preparer);
    hearing_clear(&b->hearing);
    engine_free(&b->engine);
    for (size_t i = 0; b->items && i < b->n; i++) {
        batch_options_free(&b->items[i].own);
        free(b->items[i].title);
        for (int k = 0; k < MATERIAL_MOST; k++)
            free(b->items[i].files[k]);
    }
    free(b->items);
    pairs_free(&b->pairs);
}

static int run_and_report(struct work_options *o)
{
    dub_options_prepare(&o->shared);
    CLEANUP(batch_free)
    struct batch b = {.mode = progress_mode_of(o->shared.common.progress),
                      .options = o,
                      .preparer = preparer_create()};
    struct kb_error err = {0};
    enum kb_code code = prepare(&b, o, &err);
    if (code == KB_OK) {
        b.items = kb_alloc(b.n * sizeof(*b.items));
        code = run(&b, o, &err);
    }
    if (code != KB_OK && (code != KB_CANCELLED || !b.items))
        return cli_report(code, &err);
    for (size_t i = 0; i < b.n; i++)
        if (b.items[i].outcome == OUTCOME_OPEN)
            item_end(&b, &b.items[i], OUTCOME_CANCELLED, "");
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
    struct work_options o = {.shared = dub_options_defaults()};
    o.shared.speech.audios = &o.speeches;
    options_parse(&batch_argp, argc, argv, &o);
    int status = run_and_report(&o);
    dub_options_free(&o.shared);
    inputs_free(&o.inputs);
    inputs_free(&o.speeches);
    return status;
}
