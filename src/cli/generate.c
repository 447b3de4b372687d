// koubo generate: one speech, one video, one result.
#include "cli/options.h"
#include "cli/outputs.h"
#include "cli/person.h"

#include "base/file.h"
#include "base/log.h"
#include "lipsync/subtitles.h"
#include "media/demux.h"
#include "media/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct generate_options {
    struct dub_options shared;
    bool overwrite;
    char *output;       // of a look that was given none; one of its own may lie there
    const char *person; // --person, taken before the other options
    struct person_use use;
};

#define KEY_PREVIEW     300
#define KEY_PERSON      2650
#define KEY_DATA        2651
#define PREVIEW_SECONDS 5
#define PREVIEW_NOTE    "koubo --preview" // of a look that was given no name
#define WRITTEN_S       10                // after the film, at most, its SRT is there

static const struct argp_option generate_options[] = {
    {"input", 'i', "FILE", 0, N_("the video or the picture of the person"), 11},
    {"person", KEY_PERSON, "NAME|FILE.koubo", 0,
     N_("a person that koubo person list shows, or the file of one, instead of -i; their settings "
        "come along, and options given beside them come first"),
     11},
    {"data", KEY_DATA, "FOLDER", 0,
     N_("the server's data folder, for --person NAME (default: as koubo serve)"), 11},
    {"output", 'o', "FILE", 0, N_("the mp4 to write; with --alpha the .webm or .mov"), 11},
    {"preview", KEY_PREVIEW, "SECONDS", OPTION_ARG_OPTIONAL,
     N_("a look before the whole: only the first seconds in which the voice is heard, 0.2 to 60, "
        "as the whole would show them (default: 5); without -o into VIDEO_preview.mp4"),
     11},
    {0},
};

// Beside the video: "film.mov" gives "film_preview.mp4"; of a person here, by its name. A new
// string.
static char *preview_path(const char *video, const char *person, const char *ending)
{
    CLEANUP(kb_freep) char *safe = person ? path_safe_name(path_name(person), 200) : NULL;
    if (!video)
        return kb_printf("%s_preview%s", safe ? safe : "koubo", ending);
    CLEANUP(kb_freep) char *folder = path_folder(video);
    CLEANUP(kb_freep) char *stem = path_stem(path_name(video));
    CLEANUP(kb_freep) char *name = kb_printf("%s_preview%s", stem, ending);
    return strchr(video, '/') ? path_join(folder, name) : TAKE(name);
}

static error_t generate_parse(int key, char *arg, struct argp_state *state)
{
    struct generate_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->overwrite;
        state->child_inputs[1] = &o->shared;
        return 0;
    case KEY_PERSON:
        if (!o->person || strcmp(o->person, option_path(arg)) != 0)
            argp_error(state, "%s", _("write --person out, and only once"));
        return 0;
    case KEY_DATA: // taken with the person
        return 0;
    case 'i':
        if (o->person)
            argp_error(state, "%s", _("give -i or --person, not both"));
        o->shared.dub.video = option_path(arg);
        return 0;
    case 'o':
        o->shared.dub.output = option_path(arg);
        return 0;
    case KEY_PREVIEW:
        o->shared.dub.look_us = PREVIEW_SECONDS * 1000000LL;
        if (arg)
            o->shared.dub.look_us = llrintf(option_float(state, "--preview", arg, 0.2f, 60) * 1e6f);
        return 0;
    case ARGP_KEY_ARG: // as ffmpeg: a bare name is the output
        if (o->shared.dub.output)
            argp_error(state, _("'%s' is one argument too many; koubo batch takes several videos"),
                       arg);
        o->shared.dub.output = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->shared.dub.video)
            argp_error(state, "%s", _("no video: give the person's video or picture with -i FILE"));
        if (!o->shared.dub.output && o->shared.dub.look_us > 0)
            o->shared.dub.output = o->output =
                preview_path(o->shared.dub.video, o->person,
                             background_ending(o->shared.dub.finish.background.alpha));
        if (!o->shared.dub.output)
            argp_error(state, "%s", _("no output: give the name of the result with -o FILE"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child generate_children[] = {
    {&overwrite_argp, 0, NULL, 0},
    {&dub_argp, 0, NULL, 0},
    {0},
};

static const struct argp generate_argp = {
    generate_options,
    generate_parse,
    "-a SPEECH -i VIDEO -o OUT.mp4",
    N_("Make the person in a video say a speech. Frames without a face stay as they are."),
    generate_children,
    NULL,
    "koubo",
};

// Is there a look that was given no name, as its comment says?
static bool is_own_preview(const char *path)
{
    struct demux film = {0};
    if (!file_exists(path) ||
        demux_open_quick(&film, path, AVMEDIA_TYPE_VIDEO, NULL, &(struct kb_error){0}) != KB_OK)
        return false;
    const AVDictionaryEntry *comment = av_dict_get(film.demux->metadata, "comment", NULL, 0);
    bool own = comment && strcmp(comment->value, PREVIEW_NOTE) == 0;
    demux_close(&film);
    return own;
}

// Subtitles that were written with that film, and not touched since?
static bool is_of(const char *srt, const char *film)
{
    struct stat a, b;
    return stat(srt, &a) == 0 && stat(film, &b) == 0 && a.st_mtime <= b.st_mtime + WRITTEN_S;
}

static void print_result(const struct dub_params *dub, const struct dub_result *r,
                         enum progress_mode progress)
{
    log_info(_("'%s': %.2f s, %lld frames of %dx%d, mouth replaced in %lld"), dub->output,
             r->seconds, (long long)r->frames, r->width, r->height, (long long)r->frames_animated);
    if (r->frames_copied > 0)
        log_verbose(_("%lld frames as the video has them encoded"), (long long)r->frames_copied);
    for (int i = STAGE_AUDIO; i < N_STAGES; i++)
        log_verbose(_("%s took %.2f s%s"), stage_title((enum stage)i), r->stage_s[i],
                    i == STAGE_PREPROCESSING && r->track_cached ? _(" (face track from the cache)")
                                                                : "");
    if (progress == PROGRESS_JSON) {
        printf("{\"stage\":\"done\",\"frames\":%lld,\"frames_animated\":%lld,\"frames_copied\":%"
               "lld,\"seconds\":%.3f,"
               "\"track_cached\":%s}\n",
               (long long)r->frames, (long long)r->frames_animated, (long long)r->frames_copied,
               r->seconds, r->track_cached ? "true" : "false");
        fflush(stdout);
    }
}

static enum kb_code run(struct generate_options *o, struct dub_result *result, struct kb_error *err)
{
    struct dub_params *dub = &o->shared.dub;
    const char *const inputs[] = {dub->video, o->shared.speech.audio, NULL};
    bool again = o->output && is_own_preview(dub->output);
    enum kb_code code = film_output_check(dub->output, dub->finish.background.alpha,
                                          o->overwrite || again, inputs, err);
    if (code == KB_OK && dub->finish.captions.as & CAPTIONS_SRT) {
        CLEANUP(kb_freep) char *srt = subtitles_path(dub->output);
        code = output_check(srt, o->overwrite || (again && is_of(srt, dub->output)), inputs, err);
    }
    if (o->output)
        dub->note = PREVIEW_NOTE;
    // A text is spoken, which may take minutes and cost money, once all else is known to be there.
    CLEANUP(reader_close) struct reader *film = NULL;
    dub->audio = o->shared.speech.audio;
    if (code == KB_OK)
        code = dub_check(dub, &film, err);
    if (code == KB_OK)
        code = speech_prepare(&o->shared.speech, err);
    if (code != KB_OK)
        return code;
    dub->audio = o->shared.speech.audio;
    dub->film = film;

    o->shared.engine.watch = dub->watch;
    CLEANUP(engine_free) struct engine engine = {0};
    code = engine_load(&engine, &o->shared.engine, err);
    if (code == KB_OK)
        code = watch_check(&dub->watch, err);
    return code == KB_OK ? dub_run(&engine, dub, result, err) : code;
}

static int generate_run(struct generate_options *o)
{
    dub_options_prepare(&o->shared);
    struct dub_params *dub = &o->shared.dub;
    struct progress_view *view = progress_start(o->shared.common.progress, NULL);
    dub->watch = (struct watch){cli_cancel(), progress_update, view};

    struct kb_error err = {0};
    struct dub_result result = {0};
    enum kb_code code = run(o, &result, &err);
    if (code == KB_OK) {
        progress_done(&view);
        print_result(dub, &result, o->shared.common.progress);
    } else {
        progress_stop(&view);
    }
    return cli_report(code, &err);
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 ||
            strcmp(argv[i], "-?") == 0)
            return true;
    return false;
}

// The value of a long option, as --NAME X or --NAME=X; NULL: it is not there.
static const char *find_option(int argc, char **argv, const char *name)
{
    size_t n = strlen(name);
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], name) == 0 && i + 1 < argc)
            return argv[i + 1];
        if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=')
            return argv[i] + n + 1;
    }
    return NULL;
}

int cmd_generate(int argc, char **argv)
{
    struct generate_options o = {.shared = dub_options_defaults()};
    struct kb_error err = {0};
    // A person's settings are below what the options say, so they come first.
    o.person = find_option(argc, argv, "--person");
    enum kb_code code = KB_OK;
    if (o.person && !wants_help(argc, argv))
        code = person_use(o.person, find_option(argc, argv, "--data"), &o.use, &o.shared, &err);
    if (code != KB_OK) {
        person_use_end(&o.use);
        return cli_report(code, &err);
    }
    options_parse(&generate_argp, argc, argv, &o);
    int status = generate_run(&o);
    dub_options_free(&o.shared);
    person_use_end(&o.use);
    free(o.output);
    return status;
}
