// koubo model quantize: the ranges of Wav2Lip's values on a film of somebody who speaks, which
// int8 needs, kept beside the weights or in a copy of them.
#include "cli/model/model.h"

#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"
#include "lipsync/calibrate.h"
#include "lipsync/motion.h"
#include "nn/import/import.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VIDEOS 16

struct quantize_options {
    struct common_options common;
    const char *model, *audio, *output;
    const char *videos[MAX_VIDEOS];
    int n_videos;
    bool overwrite;
    int threads;
};

static const struct argp_option quantize_options[] = {
    {"input", 'i', "VIDEO", 0,
     N_("somebody who speaks, at least a few seconds (required; more people: more -i)"), 10},
    {"audio", 'a', "FILE", 0, N_("the speech (default: the video's own sound)"), 10},
    {"output", 'o', "OUT.safetensors", 0,
     N_("write a copy of the model with the ranges in it (default: beside the model, as "
        "MODEL.koubo-int8.json)"),
     10},
    {0},
};

static error_t quantize_parse(int key, char *arg, struct argp_state *state)
{
    struct quantize_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->overwrite;
        state->child_inputs[1] = &o->threads;
        state->child_inputs[2] = &o->common;
        return 0;
    case 'i':
        if (o->n_videos == MAX_VIDEOS)
            argp_error(state, _("at most %d videos"), MAX_VIDEOS);
        o->videos[o->n_videos++] = arg;
        return 0;
    case 'a':
        o->audio = arg;
        return 0;
    case 'o':
        o->output = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (o->model)
            argp_error(state, _("'%s' is one argument too many"), arg);
        o->model = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->model || o->n_videos == 0)
            argp_error(state, "%s", _("name a model, and a video with -i"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child quantize_children[] = {
    {&overwrite_argp, 0, NULL, 0},
    {&threads_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {0},
};

static const struct argp quantize_argp = {
    quantize_options,
    quantize_parse,
    "MODEL -i VIDEO",
    N_("Watch the network work on a film in f32 and note how large its values become, which int8 "
       "needs to know; then compare int8 with f32 on frames that were left out."),
    quantize_children,
    NULL,
    "koubo",
};

static enum kb_code write_beside(const char *model, const struct ranges *ranges,
                                 struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = NULL;
    enum kb_code code = lips_ranges_save(&path, ranges, model, NULL, err);
    if (code == KB_OK)
        log_info(_("written: '%s'"), path);
    return code;
}

static enum kb_code write_copy(const char *model, const char *output, const char *ranges,
                               struct kb_error *err)
{
    CLEANUP(tensor_set_free) struct tensor_set *weights = NULL;
    enum kb_code code = weights_load(&weights, model, err);
    if (code != KB_OK)
        return code;
    tensor_set_put_meta(weights, "int8", ranges);
    code = safetensors_write(output, weights, err);
    if (code == KB_OK)
        log_info(_("written: '%s'"), output);
    return code;
}

static enum kb_code check_model(const char *path, bool copies, struct kb_error *err)
{
    CLEANUP(tensor_set_free) struct tensor_set *weights = NULL;
    CLEANUP(graph_free) struct graph *graph = NULL;
    bool is_onnx = file_form(path) == FORM_ONNX;
    if (is_onnx && copies)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is an ONNX file, of which no copy is written; leave out -o, and the "
                         "limits are kept beside it"),
                       path);
    enum kb_code code = is_onnx ? KB_OK : weights_load(&weights, path, err);
    if (code != KB_OK)
        return code;
    if (weights && motion_recognize(weights))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is a listener, which is quick in f32; only Wav2Lip runs in int8"),
                       path);
    code = weights ? wav2lip_graph(&graph, weights, err) : wav2lip_onnx(&graph, path, err);
    return code == KB_OK ? code : kb_wrap(err, _("model '%s'"), path);
}

static enum kb_code quantize(const struct quantize_options *o, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = NULL;
    CLEANUP(calibration_clear) struct calibration c = {0};
    enum kb_code code = o->output ? model_output_check(o->output, o->overwrite, NULL, err) : KB_OK;
    if (code == KB_OK)
        code = model_find(&path, o->model, err);
    if (code == KB_OK)
        code = check_model(path, o->output, err);
    if (code != KB_OK)
        return code;
    struct calibrate_params p = {.model = path,
                                 .videos = o->videos,
                                 .n_videos = o->n_videos,
                                 .audio = o->audio,
                                 .threads = o->threads ? o->threads : kb_cpu_count(),
                                 .watch.cancel = cli_cancel()};
    code = calibrate(&c, &p, err);
    if (code != KB_OK)
        return code;
    log_info(_("%d frames looked at; int8 against f32 on %d others: %.1f dB"), c.frames, c.checked,
             c.psnr_db);
    if (!o->output)
        return write_beside(path, c.ranges, err);
    CLEANUP(kb_freep) char *ranges = ranges_to_json(c.ranges);
    return write_copy(path, o->output, ranges, err);
}

int model_quantize(int argc, char **argv)
{
    struct quantize_options o = {0};
    options_parse(&quantize_argp, argc, argv, &o);
    struct kb_error err = {0};
    return cli_report(quantize(&o, &err), &err);
}
