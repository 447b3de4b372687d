// koubo model: what is known about model files.
#include "cli/model/model.h"

#include "base/cache.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/group.h"
#include "cli/screen.h"
#include "lipsync/lips.h"
#include "lipsync/motion.h"
#include "lipsync/sync.h"
#include "nn/import/import.h"
#include "rig/follow.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
    struct group_command is;
    int (*run)(int argc, char **argv);
} commands[] = {
    {{"list", "", N_("the models that are here")}, model_list},
    {{"info", "FILE", N_("what is in a model file")}, model_info},
    {{"convert", "IN OUT.safetensors", N_("PyTorch checkpoint to safetensors")}, model_convert},
    {{"quantize", "MODEL -i VIDEO [-o OUT.safetensors]", N_("measure what int8 needs to know")},
     model_quantize},
    {{"run", "FILE --input NAME=X.npy -o Y.npy", N_("run a network on NumPy arrays")}, model_run},
};

int cmd_model(int argc, char **argv)
{
    static const struct group group = {"model", commands, ARRAY_LEN(commands), sizeof(commands[0]),
                                       8,       48};
    CLEANUP(kb_freep) char *title = NULL;
    int status, i = group_pick(&group, argc, argv, &title, &status);
    return i < 0 ? status : commands[i].run(argc - 1, argv + 1);
}

static const char *network_name(const struct tensor_set *weights)
{
    const char *name = tensor_set_meta(weights, "name");
    if (motion_recognize(weights))
        return _("listener: from speech to the motion of lips");
    if (sync_recognize(weights))
        return _("judge of sync: whether lips and speech go together");
    if (name)
        return name;
    return wav2lip_recognize(weights) ? "wav2lip" : _("unknown");
}

enum kb_code model_output_check(const char *output, bool overwrite, const char *input,
                                struct kb_error *err)
{
    const char *const inputs[] = {input, NULL};
    if (!text_ends(path_name(output), ".safetensors"))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' does not end in .safetensors, the only format that is written"),
                       output);
    enum kb_code code = output_check(output, overwrite, inputs, err);
    return code == KB_OK ? file_check_writable(output, 0, err) : code;
}

// --- list

static bool is_model_name(const char *name)
{
    return model_is_file(name) || text_ends(name, ".tflite");
}

static void list_file(const char *path, const char *name)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *graph = NULL;
    CLEANUP(follow_free) struct follow *map = NULL;
    struct stat st = {0};
    stat(path, &st);
    screen_print_padded(stdout, name, 40);
    printf("%8.1f MB  ", (double)st.st_size / 1e6);
    if (graph_load(&graph, path, &err) == KB_OK)
        printf(_("%.1f M parameters, %.2f G multiply-adds a picture\n"),
               (double)graph_params(graph) / 1e6, (double)graph_macs(graph) / 1e9);
    else if (follow_read(&map, path, NULL) == KB_OK)
        printf(_("no network: how a face follows its lips\n"));
    else
        printf(_("not usable: %s\n"), err.text);
}

// Names in byte order, so that two runs print the same.
static void list_folder(const char *folder, const char *prefix)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        CLEANUP(kb_freep) char *path = path_join(folder, name);
        CLEANUP(kb_freep) char *shown = kb_printf("%s%s", prefix, name);
        if (is_model_name(name) && file_exists(path))
            list_file(path, shown);
        free(entries[i]);
    }
    free(entries);
}

static const struct argp_child only_common[] = {{&common_argp, 0, NULL, 0}, {0}};

static error_t list_parse(int key, char *arg, struct argp_state *state)
{
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

static const struct argp list_argp = {
    NULL, list_parse, NULL, N_("List the models that are here."), only_common, NULL, "koubo"};

int model_list(int argc, char **argv)
{
    struct common_options common = {0};
    options_parse(&list_argp, argc, argv, &common);
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *bundled = NULL;
    enum kb_code code = model_locate(&bundled, MODEL_BUNDLED ".safetensors", &err);
    if (code != KB_OK)
        return cli_report(code, &err);
    CLEANUP(kb_freep) char *folder = path_folder(bundled);
    CLEANUP(kb_freep) char *faces = path_join(folder, "face");
    CLEANUP(kb_freep) char *plain = realpath(folder, NULL);
    printf("%s\n", plain ? plain : folder);
    list_folder(folder, "");
    list_folder(faces, "face/");
    return EXIT_OK;
}

// --- info

struct info_options {
    struct common_options common;
    const char *file;
};

static error_t info_parse(int key, char *arg, struct argp_state *state)
{
    struct info_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case ARGP_KEY_ARG:
        if (o->file)
            argp_error(state, _("'%s' is one argument too many; name one file"), arg);
        o->file = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->file)
            argp_error(state, "%s", _("no file: name a model"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp info_argp = {
    NULL,        info_parse,
    "FILE",      N_("Tell what is in a model file; with -v every tensor and the whole metadata."),
    only_common, NULL,
    "koubo",
};

static void print_field(const char *title, const char *value)
{
    screen_print_padded(stdout, title, 16);
    printf("%s\n", value);
}

static void print_values(const struct graph *g, const char *title, const int *values, int n)
{
    for (int i = 0; i < n; i++) {
        const struct value *v = &g->values[values[i]];
        CLEANUP(kb_freep)
        char *text = kb_printf("%s (n, %d, %d, %d)", v->name ? v->name : "-", v->c, v->h, v->w);
        print_field(title, text);
    }
}

static void print_graph(const struct graph *g, bool has_ranges)
{
    CLEANUP(kb_freep)
    char *parameters =
        kb_printf("%lld (%.1f M)", (long long)graph_params(g), (double)graph_params(g) / 1e6);
    CLEANUP(kb_freep) char *macs = kb_printf(_("%.3f G a picture"), (double)graph_macs(g) / 1e9);
    print_field(_("parameters"), parameters);
    print_field(_("multiply-adds"), macs);
    print_values(g, _("input"), g->inputs, g->n_inputs);
    print_values(g, _("output"), g->outputs, g->n_outputs);
    CLEANUP(kb_freep) char *networks = cache_folder("networks");
    CLEANUP(kb_freep)
    char *precision = kb_printf(_("f32, bf16, int8; auto means %s here"),
                                precision_name(lips_auto(networks, has_ranges, NULL)));
    print_field(_("precision"), precision);
}

// Text out of a file: no control characters for the terminal, at most limit bytes.
static void print_foreign(const char *text, int limit)
{
    const char *end = text + utf8_fit(text, limit);
    for (int length; text < end; text += length) {
        int32_t c = utf8_next(text, &length);
        if (c < ' ' || (c >= 0x7f && c < 0xa0))
            putchar('?');
        else
            fwrite(text, 1, (size_t)length, stdout);
    }
    if (*text)
        fputs("…", stdout);
}

static void print_weights(const struct tensor_set *set, bool verbose)
{
    for (size_t i = 0; i < tensor_set_meta_count(set); i++) {
        const char *key, *value;
        tensor_set_meta_at(set, i, &key, &value);
        printf("%s ", _("metadata"));
        print_foreign(key, 60);
        printf(" = ");
        print_foreign(value, verbose ? INT_MAX : 60);
        putchar('\n');
    }
    CLEANUP(kb_freep) char *n = kb_printf("%zu", tensor_set_count(set));
    print_field(_("tensors"), n);
    for (size_t i = 0; verbose && i < tensor_set_count(set); i++) {
        const struct tensor *t = tensor_set_at(set, i);
        printf("  %-56s %-5s %s\n", t->name, dtype_name(t->dtype), tensor_shape(t).text);
    }
}

int model_info(int argc, char **argv)
{
    struct info_options o = {0};
    options_parse(&info_argp, argc, argv, &o);
    struct kb_error err = {0}, graph_err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *weights = NULL;
    CLEANUP(graph_free) struct graph *graph = NULL;
    enum form form = file_form(o.file);
    bool is_graph = form == FORM_TFLITE || form == FORM_ONNX;
    if (!is_graph) {
        enum kb_code code = weights_load(&weights, o.file, &err);
        if (code != KB_OK)
            return cli_report(code, &err);
        form = tensor_set_form(weights);
    }
    enum kb_code graph_code = graph_load(&graph, o.file, &graph_err);
    if (is_graph && graph_code != KB_OK)
        return cli_report(graph_code, &graph_err);

    print_field(_("file"), o.file);
    print_field(_("format"), form_name(form));
    print_field(_("network"), weights                  ? network_name(weights)
                              : wav2lip_arrange(graph) ? "wav2lip"
                                                       : path_name(o.file));
    if (graph)
        print_graph(graph, weights && tensor_set_meta(weights, "int8"));
    if (weights)
        print_weights(weights, o.common.verbose);
    // Weights of another network are still worth a look.
    if (!graph)
        log_warn(_("these weights are of no network that koubo can run: %s"), graph_err.text);
    return EXIT_OK;
}
