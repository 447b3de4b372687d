// koubo preprocess: find the faces of videos once, so that later jobs with them start at once.
#include "cli/inputs.h"
#include "cli/options.h"

#include "base/cache.h"
#include "base/file.h"
#include "base/log.h"
#include "lipsync/motion.h"
#include "lipsync/style.h"

struct preprocess_options {
    struct common_options common;
    const char *folder;
    int64_t cache_limit; // of the default folder; 0 = none
    int threads;
    bool force, learn_style;
    const char *model;
    struct inputs inputs;
    struct motion_model *listener; // with --learn-style
};

#define STYLES_LIMIT (16 << 20) // bytes of styles that the cache keeps: some 800 films

enum { OPT_LEARN_STYLE = 600, OPT_MODEL };

static const struct argp_option preprocess_options[] = {
    {"output", 'o', "FOLDER", 0,
     N_("where the face tracks (.kbt) go; made if it is missing (default: the cache, where "
        "generate and batch look by themselves)"),
     11},
    {"force", 'f', NULL, 0, N_("find the faces again even if a track is there"), 11},
    {"learn-style", OPT_LEARN_STYLE, NULL, 0,
     N_("also learn from the whole video and its sound how the person speaks, and keep it beside "
        "the "
        "track (.kbs)"),
     12},
    {"model", OPT_MODEL, "FILE", 0,
     N_("with --learn-style: the listener that generate will use (default: koubo-lips-research)"),
     12},
    {0},
};

static error_t preprocess_parse(int key, char *arg, struct argp_state *state)
{
    struct preprocess_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->inputs;
        state->child_inputs[1] = &o->threads;
        state->child_inputs[2] = &o->common;
        return 0;
    case 'o':
        o->folder = option_path(arg);
        return 0;
    case 'f':
        o->force = true;
        return 0;
    case OPT_LEARN_STYLE:
        o->learn_style = true;
        return 0;
    case OPT_MODEL:
        o->model = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->model && !o->learn_style)
            argp_error(state, "%s", _("--model is for --learn-style; give that too"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child preprocess_children[] = {
    {&inputs_argp, 0, NULL, 0},
    {&threads_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {0},
};

static const struct argp preprocess_argp = {
    preprocess_options,
    preprocess_parse,
    "--input VIDEO|FOLDER... --output FOLDER",
    N_("Find the faces of videos and keep them as track files, one for each video, named by the "
       "hash of its content. Give the folder to generate or batch with --track-dir."),
    preprocess_children,
    NULL,
    "koubo",
};

static void print_result(const char *video, const struct track *t, bool cached, double seconds)
{
    const struct track_info *info = track_info(t);
    const char *how = cached ? _("was there already") : _("made");
    CLEANUP(kb_freep)
    char *covered = info->covered_us == INT64_MAX
                        ? kb_strdup(_("whole video"))
                        : kb_printf(_("first %.1f s"), (double)info->covered_us / 1e6);
    if (info->n_faces == 0)
        log_warn(_("there is no face in '%s'; it cannot be used for speech"), video);
    printf(_("%s  faces: %d, frames: %d, %s, %s in %.1f s, %s.kbt\n"), video, info->n_faces,
           info->n_frames, covered, how, seconds, info->video_hash);
    fflush(stdout);
}

// One line for each face, after the film's own.
static enum kb_code learn_style(const struct preprocess_options *o, const char *video,
                                const struct track *t, struct kb_error *err)
{
    CLEANUP(kb_freep) struct style *styles = kb_alloc(TRACK_MAX_FACES * sizeof(*styles));
    struct style_film f = {.video = video,
                           .track = t,
                           .listener = o->listener,
                           .folder = o->folder,
                           .cancel = cli_cancel()};
    enum kb_code code = style_learn(styles, &f, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", video);
    if (o->cache_limit > 0)
        cache_trim(o->folder, ".kbs", STYLES_LIMIT);
    for (int i = 0; i < track_info(t)->n_faces && o->common.progress != PROGRESS_JSON; i++) {
        CLEANUP(kb_freep) char *found = style_describe(&styles[i]);
        printf(_("%s  face %d: %s: %s\n"), video, i + 1,
               styles[i].verdict == STYLE_LEARNT ? _("way of speaking kept")
                                                 : _("no way of speaking"),
               found);
        fflush(stdout);
    }
    return KB_OK;
}

static enum kb_code track_one(const struct preprocess_options *o, const char *video,
                              struct face_models *models, const char *label, struct kb_error *err)
{
    char hash[33];
    enum kb_code code = file_hash(hash, video, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *name = kb_printf("%s.kbt", hash);
    CLEANUP(kb_freep) char *path = path_join(o->folder, name);
    if (o->force)
        remove(path);

    CLEANUP(progress_stop) struct progress_view *view = progress_start(o->common.progress, label);
    struct track_params params = {.video_hash = hash,
                                  .decoder_threads = o->threads,
                                  .cache_limit = o->cache_limit,
                                  .watch = {cli_cancel(), progress_update, view}};
    CLEANUP(track_free) struct track *track = NULL;
    bool cached = false;
    int64_t began_us = kb_now_us();
    code = track_obtain(&track, video, o->folder, models, &params, &cached, err);
    if (code != KB_OK)
        return code;
    progress_done(&view);
    // For a job a cache that cannot be written is no error; here it is all there was to do.
    if (!file_exists(path))
        return kb_fail(err, KB_NO_SPACE, _("cannot write the face track '%s'; is the disk full?"),
                       path);
    if (o->common.progress != PROGRESS_JSON)
        print_result(video, track, cached, (double)(kb_now_us() - began_us) / 1e6);
    return o->listener ? learn_style(o, video, track, err) : KB_OK;
}

static int run(struct preprocess_options *o)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *cache = NULL;
    if (!o->folder) {
        o->folder = cache = cache_folder("tracks");
        o->cache_limit = cache_limit();
    }
    if (o->threads == 0)
        o->threads = kb_cpu_count();
    CLEANUP(kb_freep) char *probe = path_join(o->folder, "track.kbt");
    enum kb_code code = file_make_dirs(o->folder, &err);
    if (code == KB_OK)
        code = file_check_writable(probe, 1 << 20, &err);
    if (code != KB_OK)
        return cli_report(code, &err);

    CLEANUP(face_models_free) struct face_models *models = NULL;
    code = face_models_load(&models, &err);
    if (code == KB_OK && o->learn_style)
        code = motion_model_load(&o->listener, o->model, o->threads, &err);
    if (code != KB_OK)
        return cli_report(code, &err);

    size_t failed = 0;
    for (size_t i = 0; i < o->inputs.n; i++) {
        const char *video = o->inputs.paths[i];
        CLEANUP(kb_freep)
        char *label = kb_printf("[%zu/%zu] %s", i + 1, o->inputs.n, path_name(video));
        code = track_one(o, video, models, label, &err);
        if (code == KB_CANCELLED || (code != KB_OK && o->inputs.n == 1))
            return cli_report(code, &err);
        if (code != KB_OK) {
            cli_report(code, &err);
            failed++;
        }
    }
    return cli_report_failed(failed, o->inputs.n);
}

int cmd_preprocess(int argc, char **argv)
{
    struct preprocess_options o = {0};
    options_parse(&preprocess_argp, argc, argv, &o);
    int status = run(&o);
    motion_model_free(&o.listener);
    inputs_free(&o.inputs);
    return status;
}
