// koubo model convert and run.
#include "cli/model/model.h"

#include "base/file.h"
#include "base/log.h"
#include "nn/import/import.h"

#include <stdlib.h>
#include <string.h>

#define MAX_INPUTS 8

enum { OPT_INPUT = 600, OPT_PRECISION, OPT_OUTPUT_NAME };

// --- convert

struct convert_options {
    struct common_options common;
    const char *in, *out;
    bool overwrite;
};

static error_t convert_parse(int key, char *arg, struct argp_state *state)
{
    struct convert_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->overwrite;
        state->child_inputs[1] = &o->common;
        return 0;
    case ARGP_KEY_ARG:
        if (o->out)
            argp_error(state, _("'%s' is one argument too many; name two files"), arg);
        *(o->in ? &o->out : &o->in) = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->out)
            argp_error(state, "%s", _("name two files: the checkpoint and the one to write"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child convert_children[] = {
    {&overwrite_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {0},
};

static const struct argp convert_argp = {
    NULL,
    convert_parse,
    "IN OUT.safetensors",
    N_("Turn a PyTorch checkpoint (.pth) into safetensors; the names of the tensors stay."),
    convert_children,
    NULL,
    "koubo",
};

static enum kb_code convert(const struct convert_options *o, struct kb_error *err)
{
    CLEANUP(tensor_set_free) struct tensor_set *weights = NULL;
    enum kb_code code = model_output_check(o->out, o->overwrite, o->in, err);
    if (code == KB_OK)
        code = weights_load(&weights, o->in, err);
    if (code != KB_OK)
        return code;
    if (!tensor_set_meta(weights, "format"))
        tensor_set_put_meta(weights, "format", "pt");
    if (!tensor_set_meta(weights, "name") && wav2lip_recognize(weights))
        tensor_set_put_meta(weights, "name", "wav2lip");
    code = safetensors_write(o->out, weights, err);
    if (code == KB_OK)
        log_info(_("'%s': %zu tensors"), o->out, tensor_set_count(weights));
    return code;
}

int model_convert(int argc, char **argv)
{
    struct convert_options o = {0};
    options_parse(&convert_argp, argc, argv, &o);
    struct kb_error err = {0};
    return cli_report(convert(&o, &err), &err);
}

// --- run

struct run_options {
    struct common_options common;
    const char *file, *output, *output_name;
    char *inputs[MAX_INPUTS]; // "NAME=X.npy"
    int n_inputs;
    enum precision precision;
    int threads;
};

static const struct argp_option run_options[] = {
    {"input", OPT_INPUT, "NAME=FILE.npy", 0,
     N_("an input of the network, as (n, channels, height, width) or (n, channels); once for each"),
     11},
    {"output", 'o', "FILE.npy", 0, N_("the array to write, as (n, channels, height, width)"), 11},
    {"output-name", OPT_OUTPUT_NAME, "NAME", 0,
     N_("which output of the network (default: the first)"), 11},
    {"precision", OPT_PRECISION, "P", 0,
     N_("auto, f32 or bf16 (default: auto = bf16 where the processor has it)"), 50},
    {0},
};

static error_t run_parse(int key, char *arg, struct argp_state *state)
{
    struct run_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->threads;
        state->child_inputs[1] = &o->common;
        return 0;
    case OPT_INPUT:
        if (!strchr(arg, '=') || arg[0] == '=')
            argp_error(state, _("--input takes NAME=FILE.npy, not '%s'"), arg);
        if (o->n_inputs == MAX_INPUTS)
            argp_error(state, _("no network has more than %d inputs"), MAX_INPUTS);
        o->inputs[o->n_inputs++] = arg;
        return 0;
    case 'o':
        o->output = option_path(arg);
        return 0;
    case OPT_OUTPUT_NAME:
        o->output_name = arg;
        return 0;
    case OPT_PRECISION:
        if (!precision_parse(arg, &o->precision))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--precision", "auto, f32, bf16",
                       arg);
        return 0;
    case ARGP_KEY_ARG:
        if (o->file)
            argp_error(state, _("'%s' is one argument too many; name one file"), arg);
        o->file = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->file)
            argp_error(state, "%s", _("no file: name a model"));
        if (!o->output)
            argp_error(state, "%s", _("no output: give the array to write with -o FILE.npy"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child run_children[] = {
    {&threads_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {0},
};

static const struct argp run_argp = {
    run_options,
    run_parse,
    "FILE --input NAME=X.npy... -o Y.npy",
    N_("Run a network on NumPy arrays, for comparing it with other programs. Shapes are those of "
       "the published networks: (n, channels, height, width)."),
    run_children,
    NULL,
    "koubo",
};

// Images of c planes to and from interleaved pixels.
static void nchw_to_nhwc(float *to, const float *from, int n, const struct value *v)
{
    size_t plane = (size_t)v->h * (size_t)v->w, c = (size_t)v->c;
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t k = 0; k < c; k++)
            for (size_t p = 0; p < plane; p++)
                to[(i * plane + p) * c + k] = from[(i * c + k) * plane + p];
}

static void nhwc_to_nchw(float *to, const float *from, int n, const struct value *v)
{
    size_t plane = (size_t)v->h * (size_t)v->w, c = (size_t)v->c;
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t k = 0; k < c; k++)
            for (size_t p = 0; p < plane; p++)
                to[(i * c + k) * plane + p] = from[(i * plane + p) * c + k];
}

struct arrays {
    struct tensor_set *sets[MAX_INPUTS]; // one tensor each
};

static void arrays_free(struct arrays *a)
{
    for (int i = 0; i < MAX_INPUTS; i++)
        tensor_set_free(&a->sets[i]);
}

static int input_named(const struct graph *g, const char *argument)
{
    size_t n = strcspn(argument, "=");
    for (int i = 0; i < g->n_inputs; i++) {
        const char *name = g->values[g->inputs[i]].name;
        if (name && strlen(name) == n && strncmp(name, argument, n) == 0)
            return i;
    }
    return -1;
}

static void list_names(const struct graph *g, const int *values, int n, char *ret, size_t size)
{
    ret[0] = '\0';
    for (int i = 0; i < n; i++) {
        const char *name = g->values[values[i]].name;
        size_t used = strlen(ret);
        snprintf(ret + used, size - used, "%s%s", i ? ", " : "", name ? name : "-");
    }
}

// Read the arrays and check them against the network; *ret_batch is their common first dimension.
static enum kb_code read_inputs(const struct run_options *o, const struct graph *g,
                                struct arrays *arrays, int *ret_batch, struct kb_error *err)
{
    char names[256];
    int64_t batch = 0;
    list_names(g, g->inputs, g->n_inputs, names, sizeof(names));
    for (int i = 0; i < o->n_inputs; i++) {
        const char *file = strchr(o->inputs[i], '=') + 1;
        int index = input_named(g, o->inputs[i]);
        if (index < 0)
            return kb_fail(err, KB_BAD_INPUT, _("the network has no input as in '%s'; it has: %s"),
                           o->inputs[i], names);
        if (arrays->sets[index])
            return kb_fail(err, KB_BAD_INPUT, _("the input of '%s' is given twice"), o->inputs[i]);
        enum kb_code code = npy_read(&arrays->sets[index], file, err);
        if (code != KB_OK)
            return code;
        const struct tensor *t = tensor_set_at(arrays->sets[index], 0);
        const struct value *v = &g->values[g->inputs[index]];
        bool flat = t->n_dims == 2 && v->h == 1 && v->w == 1 && t->dims[1] == v->c;
        bool image =
            t->n_dims == 4 && t->dims[1] == v->c && t->dims[2] == v->h && t->dims[3] == v->w;
        if (!flat && !image)
            return kb_fail(
                err, KB_BAD_INPUT,
                _("the array in '%s' has the shape %s, the network wants (n, %d, %d, %d)"), file,
                tensor_shape(t).text, v->c, v->h, v->w);
        if (t->dims[0] < 1 || t->dims[0] > 4096 || (batch && t->dims[0] != batch))
            return kb_fail(err, KB_BAD_INPUT,
                           _("the array in '%s' holds %lld images; all inputs must hold the same "
                             "number, from 1 to 4096"),
                           file, (long long)t->dims[0]);
        batch = t->dims[0];
    }
    for (int i = 0; i < g->n_inputs; i++)
        if (!arrays->sets[i])
            return kb_fail(err, KB_BAD_INPUT,
                           _("an input is missing; give each of: %s with --input NAME=FILE.npy"),
                           names);
    *ret_batch = (int)batch;
    return KB_OK;
}

static enum kb_code write_output(const struct session *s, int index, int batch, const char *path,
                                 struct kb_error *err)
{
    struct value v = session_output_shape(s, index);
    const int64_t dims[] = {batch, v.c, v.h, v.w};
    size_t image = (size_t)v.c * (size_t)v.h * (size_t)v.w; // fitted the session's memory
    CLEANUP(kb_freep) float *data = kb_calloc_checked(image * (size_t)batch, sizeof(*data));
    if (!data)
        return kb_no_memory(err);
    nhwc_to_nchw(data, session_output(s, index), batch, &v);
    enum kb_code code = npy_write(path, 4, dims, data, err);
    if (code == KB_OK)
        log_info(_("'%s': %s (%d, %d, %d, %d)"), path, v.name ? v.name : "-", batch, v.c, v.h, v.w);
    return code;
}

static enum kb_code run(const struct run_options *o, struct kb_error *err)
{
    CLEANUP(graph_free) struct graph *graph = NULL;
    enum kb_code code = file_check_writable(o->output, 0, err);
    if (code == KB_OK)
        code = graph_load(&graph, o->file, err);
    if (code != KB_OK)
        return code;

    int output = 0;
    while (o->output_name && output < graph->n_outputs &&
           strcmp(graph->values[graph->outputs[output]].name
                      ? graph->values[graph->outputs[output]].name
                      : "",
                  o->output_name) != 0)
        output++;
    if (output == graph->n_outputs) {
        char names[256];
        list_names(graph, graph->outputs, graph->n_outputs, names, sizeof(names));
        return kb_fail(err, KB_BAD_INPUT, _("the network has no output '%s'; it has: %s"),
                       o->output_name, names);
    }

    CLEANUP(arrays_free) struct arrays arrays = {0};
    struct session_params params = {.precision = o->precision,
                                    .threads = o->threads ? o->threads : kb_cpu_count()};
    code = read_inputs(o, graph, &arrays, &params.batch, err);
    if (code != KB_OK)
        return code;
    CLEANUP(session_free) struct session *session = NULL;
    code = session_create(&session, graph, &params, err);
    if (code != KB_OK)
        return code;
    for (int i = 0; i < session_n_inputs(session); i++) {
        struct value v = session_input_shape(session, i);
        CLEANUP(kb_freep) float *data = tensor_to_f32(tensor_set_at(arrays.sets[i], 0));
        if (!data)
            return kb_no_memory(err);
        nchw_to_nhwc(session_input(session, i), data, params.batch, &v);
    }
    code = session_run(session, err);
    return code == KB_OK ? write_output(session, output, params.batch, o->output, err) : code;
}

int model_run(int argc, char **argv)
{
    struct run_options o = {0};
    options_parse(&run_argp, argc, argv, &o);
    struct kb_error err = {0};
    return cli_report(run(&o, &err), &err);
}
