// The published Wav2Lip generator (Prajwal et al. 2020, "A Lip Sync Expert Is All You Need"): one
// encoder for the face, one for 0.2 s of mel, a decoder with a skip connection to each level of the
// face encoder. 36,298,035 parameters. Every layer but the last is convolution, batch norm,
// (residual,) ReLU; the checkpoint calls them PART.N.M.conv_block.0 and .1.
#include "nn/import/import.h"

#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCHNORM_EPS 1e-5 // PyTorch's default, which Wav2Lip keeps

enum layer_kind { CONV, RES, DECONV, PLAIN }; // RES: its input is added; PLAIN: no batch norm

static const struct layer {
    const char *name;
    enum layer_kind kind;
    int in, out, kernel, stride_h, stride_w, pad, out_pad;
} layers[] = {
    {"face_encoder_blocks.0.0", CONV, 6, 16, 7, 1, 1, 3, 0},  // 96 x 96
    {"face_encoder_blocks.1.0", CONV, 16, 32, 3, 2, 2, 1, 0}, // 48 x 48
    {"face_encoder_blocks.1.1", RES, 32, 32, 3, 1, 1, 1, 0},
    {"face_encoder_blocks.1.2", RES, 32, 32, 3, 1, 1, 1, 0},
    {"face_encoder_blocks.2.0", CONV, 32, 64, 3, 2, 2, 1, 0}, // 24 x 24
    {"face_encoder_blocks.2.1", RES, 64, 64, 3, 1, 1, 1, 0},
    {"face_encoder_blocks.2.2", RES, 64, 64, 3, 1, 1, 1, 0},
    {"face_encoder_blocks.2.3", RES, 64, 64, 3, 1, 1, 1, 0},
    {"face_encoder_blocks.3.0", CONV, 64, 128, 3, 2, 2, 1, 0}, // 12 x 12
    {"face_encoder_blocks.3.1", RES, 128, 128, 3, 1, 1, 1, 0},
    {"face_encoder_blocks.3.2", RES, 128, 128, 3, 1, 1, 1, 0},
    {"face_encoder_blocks.4.0", CONV, 128, 256, 3, 2, 2, 1, 0}, // 6 x 6
    {"face_encoder_blocks.4.1", RES, 256, 256, 3, 1, 1, 1, 0},
    {"face_encoder_blocks.4.2", RES, 256, 256, 3, 1, 1, 1, 0},
    {"face_encoder_blocks.5.0", CONV, 256, 512, 3, 2, 2, 1, 0}, // 3 x 3
    {"face_encoder_blocks.5.1", RES, 512, 512, 3, 1, 1, 1, 0},
    {"face_encoder_blocks.6.0", CONV, 512, 512, 3, 1, 1, 0, 0}, // 1 x 1
    {"face_encoder_blocks.6.1", CONV, 512, 512, 1, 1, 1, 0, 0},

    {"audio_encoder.0", CONV, 1, 32, 3, 1, 1, 1, 0}, // 80 x 16
    {"audio_encoder.1", RES, 32, 32, 3, 1, 1, 1, 0},
    {"audio_encoder.2", RES, 32, 32, 3, 1, 1, 1, 0},
    {"audio_encoder.3", CONV, 32, 64, 3, 3, 1, 1, 0}, // 27 x 16
    {"audio_encoder.4", RES, 64, 64, 3, 1, 1, 1, 0},
    {"audio_encoder.5", RES, 64, 64, 3, 1, 1, 1, 0},
    {"audio_encoder.6", CONV, 64, 128, 3, 3, 3, 1, 0}, // 9 x 6
    {"audio_encoder.7", RES, 128, 128, 3, 1, 1, 1, 0},
    {"audio_encoder.8", RES, 128, 128, 3, 1, 1, 1, 0},
    {"audio_encoder.9", CONV, 128, 256, 3, 3, 2, 1, 0}, // 3 x 3
    {"audio_encoder.10", RES, 256, 256, 3, 1, 1, 1, 0},
    {"audio_encoder.11", CONV, 256, 512, 3, 1, 1, 0, 0}, // 1 x 1
    {"audio_encoder.12", CONV, 512, 512, 1, 1, 1, 0, 0},

    {"face_decoder_blocks.0.0", CONV, 512, 512, 1, 1, 1, 0, 0},
    {"face_decoder_blocks.1.0", DECONV, 1024, 512, 3, 1, 1, 0, 0}, // 3 x 3
    {"face_decoder_blocks.1.1", RES, 512, 512, 3, 1, 1, 1, 0},
    {"face_decoder_blocks.2.0", DECONV, 1024, 512, 3, 2, 2, 1, 1}, // 6 x 6
    {"face_decoder_blocks.2.1", RES, 512, 512, 3, 1, 1, 1, 0},
    {"face_decoder_blocks.2.2", RES, 512, 512, 3, 1, 1, 1, 0},
    {"face_decoder_blocks.3.0", DECONV, 768, 384, 3, 2, 2, 1, 1}, // 12 x 12
    {"face_decoder_blocks.3.1", RES, 384, 384, 3, 1, 1, 1, 0},
    {"face_decoder_blocks.3.2", RES, 384, 384, 3, 1, 1, 1, 0},
    {"face_decoder_blocks.4.0", DECONV, 512, 256, 3, 2, 2, 1, 1}, // 24 x 24
    {"face_decoder_blocks.4.1", RES, 256, 256, 3, 1, 1, 1, 0},
    {"face_decoder_blocks.4.2", RES, 256, 256, 3, 1, 1, 1, 0},
    {"face_decoder_blocks.5.0", DECONV, 320, 128, 3, 2, 2, 1, 1}, // 48 x 48
    {"face_decoder_blocks.5.1", RES, 128, 128, 3, 1, 1, 1, 0},
    {"face_decoder_blocks.5.2", RES, 128, 128, 3, 1, 1, 1, 0},
    {"face_decoder_blocks.6.0", DECONV, 160, 64, 3, 2, 2, 1, 1}, // 96 x 96
    {"face_decoder_blocks.6.1", RES, 64, 64, 3, 1, 1, 1, 0},
    {"face_decoder_blocks.6.2", RES, 64, 64, 3, 1, 1, 1, 0},

    {"output_block.0", CONV, 80, 32, 3, 1, 1, 1, 0},
    {"output_block.1", PLAIN, 32, 3, 1, 1, 1, 0, 0},
};

// The arrays of one layer in the checkpoint, in its order.
enum part { WEIGHT, BIAS, GAMMA, BETA, MEAN, VARIANCE, N_PARTS };

// Name and shape of an array. False if the layer has no such part.
static bool layer_part(const struct layer *l, enum part part, char name[96], int64_t dims[4],
                       int *ret_n_dims)
{
    static const char *const suffixes[] = {
        [WEIGHT] = "conv_block.0.weight",     [BIAS] = "conv_block.0.bias",
        [GAMMA] = "conv_block.1.weight",      [BETA] = "conv_block.1.bias",
        [MEAN] = "conv_block.1.running_mean", [VARIANCE] = "conv_block.1.running_var",
    };
    if (l->kind == PLAIN && part > BIAS)
        return false;
    const char *suffix = suffixes[part] + (l->kind == PLAIN ? strlen("conv_block.0.") : 0);
    snprintf(name, 96, "%s.%s", l->name, suffix);
    bool is_deconv = l->kind == DECONV; // stored as (in, out, kernel, kernel)
    dims[0] = is_deconv && part == WEIGHT ? l->in : l->out;
    dims[1] = is_deconv ? l->out : l->in;
    dims[2] = dims[3] = l->kernel;
    *ret_n_dims = part == WEIGHT ? 4 : 1;
    return true;
}

// What stands before the names of the network's parts: "" as published, "model." where it was saved
// as a part of something. False: it is another network.
#define MAX_PREFIX 64
static bool find_prefix(const struct tensor_set *set, char ret[MAX_PREFIX])
{
    for (size_t i = 0; i < tensor_set_count(set); i++) {
        const char *name = tensor_set_at(set, i)->name;
        const char *at = strstr(name, "face_encoder_blocks.");
        if (!at || at - name >= MAX_PREFIX || (at > name && at[-1] != '.'))
            continue;
        snprintf(ret, MAX_PREFIX, "%.*s", (int)(at - name), name);
        return true;
    }
    return false;
}

bool wav2lip_recognize(const struct tensor_set *set)
{
    char prefix[MAX_PREFIX];
    return find_prefix(set, prefix);
}

// The arrays of a set by the published names.
struct weights {
    const struct tensor_set *set;
    char prefix[MAX_PREFIX];
};

static const struct tensor *find_weights(const struct weights *w, const char *name)
{
    char full[MAX_PREFIX + 96];
    snprintf(full, sizeof(full), "%s%s", w->prefix, name);
    return tensor_set_find(w->set, full);
}

static bool same_dims(const struct tensor *t, const int64_t *dims, int n_dims)
{
    if (t->n_dims != n_dims)
        return false;
    for (int i = 0; i < n_dims; i++)
        if (t->dims[i] != dims[i])
            return false;
    return true;
}

// Is everything there, and of the published shape? Names the first tensors that are not.
static enum kb_code check_tensors(const struct weights *weights, struct kb_error *err)
{
    char names[300] = "", name[96];
    int n_missing = 0, n_dims = 0;
    size_t used = 0;
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        for (enum part p = WEIGHT; p < N_PARTS; p++) {
            int64_t dims[4];
            if (!layer_part(&layers[i], p, name, dims, &n_dims))
                continue;
            const struct tensor *t = find_weights(weights, name);
            if (t && !same_dims(t, dims, n_dims)) {
                struct tensor wanted = {.n_dims = n_dims};
                memcpy(wanted.dims, dims, sizeof(dims));
                return kb_fail(err, KB_BAD_INPUT,
                               _("'%s' is %s, but the published Wav2Lip has %s; this is another "
                                 "variant of the network. Use wav2lip.pth or wav2lip_gan.pth (96 x "
                                 "96), or export this one as .onnx, which may be of any size"),
                               name, tensor_shape(t).text, tensor_shape(&wanted).text);
            }
            if (!t && n_missing++ < 3)
                used += (size_t)snprintf(names + used, sizeof(names) - used, "%s'%s'",
                                         used ? ", " : "", name);
        }
    }
    if (n_missing == 0)
        return KB_OK;
    return kb_fail(err, KB_BAD_INPUT,
                   _("tensors of the published Wav2Lip are missing (%d): %s%s. Use wav2lip.pth or "
                     "wav2lip_gan.pth"),
                   n_missing, names, n_missing > 3 ? ", …" : "");
}

// One array of a layer as floats, or NULL when memory is out.
static float *load_part(const struct weights *weights, const struct layer *l, enum part part)
{
    char name[96];
    int64_t dims[4];
    int n_dims;
    layer_part(l, part, name, dims, &n_dims);
    return tensor_to_f32(find_weights(weights, name));
}

// y = gamma * (x - mean) / sqrt(variance + eps) + beta as y = scale * x + shift.
static enum kb_code add_batchnorm(struct graph *g, const struct weights *weights,
                                  const struct layer *l, int in, int out, struct kb_error *err)
{
    struct op bn = {.kind = OP_BATCHNORM,
                    .name = (char *)l->name,
                    .n_in = 1,
                    .in = {in},
                    .out = out,
                    .residual = -1,
                    .act = l->kind == RES ? ACT_NONE : ACT_RELU};
    CLEANUP(kb_freep) float *mean = load_part(weights, l, MEAN);
    CLEANUP(kb_freep) float *variance = load_part(weights, l, VARIANCE);
    CLEANUP(kb_freep) float *scale = load_part(weights, l, GAMMA);
    CLEANUP(kb_freep) float *shift = load_part(weights, l, BETA);
    if (!mean || !variance || !scale || !shift)
        return kb_no_memory(err);
    for (int i = 0; i < l->out; i++) {
        double s = scale[i] / sqrt((double)variance[i] + BATCHNORM_EPS);
        scale[i] = (float)s;
        shift[i] = (float)(shift[i] - mean[i] * s);
    }
    bn.scale = TAKE(scale);
    bn.bias = TAKE(shift);
    graph_add_op(g, &bn);
    return KB_OK;
}

// The operations of one layer on *value, which becomes its output.
static enum kb_code add_layer(struct graph *g, const struct weights *weights, const struct layer *l,
                              int *value, struct kb_error *err)
{
    struct op conv = {
        .kind = l->kind == DECONV ? OP_DECONV : OP_CONV,
        .name = (char *)l->name,
        .n_in = 1,
        .in = {*value},
        .out = graph_add_value(g, NULL),
        .kernel_h = l->kernel,
        .kernel_w = l->kernel,
        .stride_h = l->stride_h,
        .stride_w = l->stride_w,
        .pad_top = l->pad,
        .pad_left = l->pad,
        .pad_bottom = l->pad,
        .pad_right = l->pad,
        .out_pad_h = l->out_pad,
        .out_pad_w = l->out_pad,
        .out_c = l->out,
        .residual = -1,
        .weight = load_part(weights, l, WEIGHT),
        .bias = load_part(weights, l, BIAS),
    };
    graph_add_op(g, &conv); // owns the arrays from here on
    if (!conv.weight || !conv.bias)
        return kb_no_memory(err);
    int input = *value;
    *value = conv.out;
    if (l->kind == PLAIN)
        return KB_OK;
    int normalized = graph_add_value(g, NULL);
    enum kb_code code = add_batchnorm(g, weights, l, *value, normalized, err);
    *value = normalized;
    if (code != KB_OK || l->kind != RES)
        return code;
    struct op add = {.kind = OP_ADD,
                     .name = (char *)l->name,
                     .n_in = 2,
                     .in = {normalized, input},
                     .out = graph_add_value(g, NULL),
                     .residual = -1,
                     .act = ACT_RELU};
    graph_add_op(g, &add);
    *value = add.out;
    return KB_OK;
}

// Is l the last layer of its block ("part.N.")?
static bool ends_block(const struct layer *l)
{
    size_t n = (size_t)(strrchr(l->name, '.') - l->name) + 1;
    return l + 1 == layers + ARRAY_LEN(layers) || strncmp(l->name, l[1].name, n) != 0;
}

static enum kb_code add_layers(struct graph *g, const struct weights *weights, struct kb_error *err)
{
    int mel = graph_add_input(g, "mel", 80, 16, 1);
    int face = graph_add_input(g, "face", 96, 96, 6);
    int levels[8], n_levels = 0, audio = mel;
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        const struct layer *l = &layers[i];
        bool is_audio = text_begins(l->name, "audio_encoder");
        int *x = is_audio ? &audio : &face;
        if (text_begins(l->name, "face_decoder_blocks.0.0"))
            face = audio; // the decoder starts from the speech
        enum kb_code code = add_layer(g, weights, l, x, err);
        if (code != KB_OK)
            return code;
        if (text_begins(l->name, "face_encoder_blocks") && ends_block(l))
            levels[n_levels++] = face;
        if (text_begins(l->name, "face_decoder_blocks") && ends_block(l)) {
            struct op concat = {.kind = OP_CONCAT,
                                .name = (char *)l->name,
                                .n_in = 2,
                                .in = {face, levels[--n_levels]},
                                .out = graph_add_value(g, NULL),
                                .axis = 'c',
                                .residual = -1};
            graph_add_op(g, &concat);
            face = concat.out;
        }
    }
    struct op sigmoid = {.kind = OP_ACTIVATION,
                         .name = (char *)"output_block.2",
                         .n_in = 1,
                         .in = {face},
                         .out = graph_add_value(g, "face_out"),
                         .residual = -1,
                         .act = ACT_SIGMOID};
    graph_add_op(g, &sigmoid);
    graph_add_output(g, sigmoid.out);
    return KB_OK;
}

enum kb_code wav2lip_graph(struct graph **ret, const struct tensor_set *set, struct kb_error *err)
{
    struct weights weights = {.set = set};
    if (!find_prefix(set, weights.prefix))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the weights in this file (%s) are of a network that koubo does not know "
                         "(%zu tensors, the first is '%s'); it knows Wav2Lip and .safetensors "
                         "files with a graph in their metadata"),
                       form_name(tensor_set_form(set)), tensor_set_count(set),
                       tensor_set_count(set) ? tensor_set_at(set, 0)->name : "-");
    enum kb_code code = check_tensors(&weights, err);
    if (code != KB_OK)
        return code;
    CLEANUP(graph_free) struct graph *g = graph_create();
    code = add_layers(g, &weights, err);
    if (code == KB_OK)
        code = graph_finish(g, err);
    if (code == KB_OK)
        *ret = TAKE(g);
    return code;
}

// --- the same network as another program's graph ---

static bool is_mel(const struct value *v)
{
    return v->h == 80 && v->w == 16 && v->c == 1;
}

// 96 as published; others have trained it at 128 to 512.
static bool is_face(const struct value *v, int channels)
{
    return v->c == channels && v->h == v->w && v->h >= 32 && v->h <= 1024 && v->h % 2 == 0;
}

// The output that is a picture as large as the face, or -1. It is what a sigmoid gives, 0..1:
// pictures in 0..255 or -1..1 are another network's.
static int find_picture(const struct graph *g, int side)
{
    for (int i = 0; i < g->n_outputs; i++) {
        const struct value *v = &g->values[g->outputs[i]];
        int producer = graph_producer(g, g->outputs[i]);
        if (is_face(v, 3) && v->h == side && producer >= 0 && g->ops[producer].act == ACT_SIGMOID)
            return g->outputs[i];
    }
    return -1;
}

static void rename_value(struct graph *g, int value, const char *name)
{
    free(g->values[value].name);
    g->values[value].name = kb_strdup(name);
}

bool wav2lip_arrange(struct graph *g)
{
    if (g->n_inputs != 2)
        return false;
    int first = is_mel(&g->values[g->inputs[0]]) ? 0 : 1;
    int mel = g->inputs[first], face = g->inputs[1 - first];
    if (!is_mel(&g->values[mel]) || !is_face(&g->values[face], 6))
        return false;
    int picture = find_picture(g, g->values[face].h);
    if (picture < 0)
        return false;
    g->inputs[0] = mel;
    g->inputs[1] = face;
    rename_value(g, mel, "mel");
    rename_value(g, face, "face");
    rename_value(g, picture, "face_out");
    return graph_keep_outputs(g, (const char *const[]){"face_out"}, 1, NULL) == KB_OK;
}

// SplitMix64 (Steele et al. 2014) as a double in -1 … 1. tools/golden/wav2lip.py does the same.
static double random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-52 - 1;
}

struct tensor_set *wav2lip_random(uint64_t seed)
{
    // Centre and half width of each part. Residual layers add up, so batch norm's gain is low.
    static const double centre[N_PARTS] = {[GAMMA] = 0.7, [VARIANCE] = 1};
    static const double width[N_PARTS] = {
        [BIAS] = 0.1, [GAMMA] = 0.2, [BETA] = 0.1, [MEAN] = 0.1, [VARIANCE] = 0.2};
    struct tensor_set *set = tensor_set_create();
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        const struct layer *l = &layers[i];
        for (enum part p = WEIGHT; p < N_PARTS; p++) {
            char name[96];
            int64_t dims[4];
            int n_dims;
            void *data;
            if (!layer_part(l, p, name, dims, &n_dims))
                continue;
            if (tensor_set_add(set, name, DTYPE_F32, n_dims, dims, NULL, &data, NULL) != KB_OK)
                abort(); // 145 MB of a network that is ours to make
            // Kaiming: uniform with variance 2 / inputs of one output. A transposed convolution of
            // stride 2 has a quarter of its taps at each output.
            int taps = l->in * l->kernel * l->kernel;
            if (l->kind == DECONV)
                taps /= l->stride_h * l->stride_w;
            double half = p == WEIGHT ? sqrt(6.0 / taps) : width[p];
            size_t n = (size_t)tensor_count(tensor_set_find(set, name));
            for (size_t k = 0; k < n; k++)
                ((float *)data)[k] = (float)(centre[p] + half * random_next(&seed));
        }
    }
    return set;
}
