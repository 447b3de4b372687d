// koubo dataset: what training/ learns from, out of videos of people who speak.
#include "cli/inputs.h"
#include "cli/options.h"

#include "base/cache.h"
#include "base/file.h"
#include "base/log.h"
#include "lab/dataset.h"

struct dataset_options {
    struct common_options common;
    const char *folder;
    enum face_choice face;
    int face_number, threads;
    struct inputs inputs;
};

enum { OPT_FACE = 600 };

static const struct argp_option dataset_options[] = {
    {"output", 'o', "FOLDER", 0, N_("where the training data goes (required)"), 11},
    {"face", OPT_FACE, "WHICH", 0,
     N_("who speaks: largest, left, right, center, or a number from 1 in order of size (default: "
        "largest)"),
     11},
    {0},
};

static error_t dataset_parse(int key, char *arg, struct argp_state *state)
{
    struct dataset_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->inputs;
        state->child_inputs[1] = &o->threads;
        state->child_inputs[2] = &o->common;
        return 0;
    case 'o':
        o->folder = option_path(arg);
        return 0;
    case OPT_FACE:
        option_face(state, arg, &o->face, &o->face_number);
        return 0;
    case ARGP_KEY_END:
        if (!o->folder)
            argp_error(state, "%s", _("no folder for the training data: give it with -o FOLDER"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child dataset_children[] = {
    {&inputs_argp, 0, NULL, 0},
    {&threads_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {0},
};

static const struct argp dataset_argp = {
    dataset_options,
    dataset_parse,
    "VIDEO|FOLDER... -o FOLDER",
    N_("Make training data out of videos of people who speak: mel spectrograms and lip "
       "landmarks, exactly as koubo sees them. Every tenth video is kept to check with, or "
       "the last one, or the last tenth of a single one. training/README.md says how to go on."),
    dataset_children,
    NULL,
    "koubo",
};

static enum kb_code add_one(struct dataset *d, const struct dataset_options *o, size_t i,
                            struct face_models *faces, struct kb_error *err)
{
    const char *video = o->inputs.paths[i];
    CLEANUP(kb_freep)
    char *label = kb_printf("[%zu/%zu] %s", i + 1, o->inputs.n, path_name(video));
    CLEANUP(progress_stop) struct progress_view *view = progress_start(o->common.progress, label);
    struct dataset_source source = {
        .video = video, .alone = o->inputs.n == 1, .watch = {cli_cancel(), progress_update, view}};
    int64_t frames = 0;
    enum kb_code code = dataset_add(d, &source, faces, &frames, err);
    if (code != KB_OK)
        return code;
    progress_done(&view);
    if (o->common.progress != PROGRESS_JSON)
        printf(_("%s  %lld frames\n"), video, (long long)frames);
    fflush(stdout);
    return KB_OK;
}

// Of several videos one that gives nothing is left out with a sentence; anything else ends it.
static enum kb_code add_all(struct dataset *d, const struct dataset_options *o,
                            struct face_models *faces, size_t *ret_failed, struct kb_error *err)
{
    for (size_t i = 0; i < o->inputs.n; i++) {
        enum kb_code code = add_one(d, o, i, faces, err);
        bool useless = code == KB_BAD_INPUT || code == KB_NOT_FOUND;
        if (code != KB_OK && !(useless && o->inputs.n > 1))
            return code;
        if (useless) {
            cli_report(code, err);
            ++*ret_failed;
        }
    }
    return dataset_finish(d, err);
}

static int run(struct dataset_options *o)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *cache = cache_folder("tracks");
    struct dataset_params p = {.folder = o->folder,
                               .face = o->face,
                               .face_number = o->face_number,
                               .track_folder = cache,
                               .track_limit = cache_limit(),
                               .threads = o->threads ? o->threads : kb_cpu_count()};
    CLEANUP(face_models_free) struct face_models *faces = NULL;
    CLEANUP(dataset_free) struct dataset *d = NULL;
    size_t failed = 0;
    enum kb_code code = face_models_load(&faces, &err);
    if (code == KB_OK)
        code = dataset_create(&d, &p, &err);
    if (code == KB_OK)
        code = add_all(d, o, faces, &failed, &err);
    if (code != KB_OK)
        return cli_report(code, &err);
    log_info(_("written: '%s'"), o->folder);
    return cli_report_failed(failed, o->inputs.n);
}

int cmd_dataset(int argc, char **argv)
{
    struct dataset_options o = {0};
    options_parse(&dataset_argp, argc, argv, &o);
    int status = run(&o);
    inputs_free(&o.inputs);
    return status;
}
