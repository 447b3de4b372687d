#include "nn/import/import.h"

#include <string.h>

#include "base/file.h"

static bool starts_with(const struct file_map *m, size_t at, const char *bytes, size_t n)
{
    return m->size >= at + n && memcmp(m->data + at, bytes, n) == 0;
}

static enum form form_of(const uint8_t *data, size_t size)
{
    const struct file_map m = {data, size};
    if (starts_with(&m, 4, "TFL3", 4))
        return FORM_TFLITE;
    if (starts_with(&m, 0, "PK\3\4", 4))
        return FORM_PYTORCH;
    if (size >= 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5) // a pickle's protocol
        return FORM_PYTORCH_LEGACY;
    if (onnx_recognize(data, size))
        return FORM_ONNX;
    return starts_with(&m, 8, "{", 1) ? FORM_SAFETENSORS : FORM_NONE;
}

enum form file_form(const char *path)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    return file_map(&m, path, NULL) == KB_OK ? form_of(m.data, m.size) : FORM_NONE;
}

static enum kb_code read_mapped(struct tensor_set **ret, const struct file_map *m,
                                struct kb_error *err)
{
    switch (form_of(m->data, m->size)) {
    case FORM_PYTORCH:
    case FORM_PYTORCH_LEGACY:
        return pth_read(ret, m->data, m->size, err);
    case FORM_SAFETENSORS:
        return safetensors_read(ret, m->data, m->size, err);
    case FORM_ONNX:
        return kb_fail(err, KB_BAD_INPUT,
                       _("an ONNX file holds a network and not weights by name; koubo runs a "
                         "Wav2Lip out of one as it is, and does nothing else with it"));
    default:
        return kb_fail(
            err, KB_BAD_INPUT,
            _("neither safetensors nor a PyTorch checkpoint nor ONNX; give a .safetensors, .pth, "
              ".pt or .onnx file (a download that failed often leaves a web page under the file's "
              "name)"));
    }
}

enum kb_code weights_load(struct tensor_set **ret, const char *path, struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    enum kb_code code = file_map(&m, path, err);
    if (code != KB_OK)
        return code;
    code = read_mapped(ret, &m, err);
    return code == KB_OK ? code : kb_wrap(err, "'%s'", path);
}

static enum kb_code graph_from_weights(struct graph **ret, const struct file_map *m,
                                       struct kb_error *err)
{
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    enum kb_code code = read_mapped(&set, m, err);
    if (code != KB_OK)
        return code;
    if (tensor_set_meta(set, "graph"))
        return graph_from_metadata(ret, set, err);
    return wav2lip_graph(ret, set, err);
}

static enum kb_code graph_from_onnx(struct graph **ret, const struct file_map *m,
                                    struct kb_error *err)
{
    enum kb_code code = onnx_graph(ret, m->data, m->size, err);
    if (code == KB_OK)
        wav2lip_arrange(*ret);
    return code;
}

static enum kb_code graph_mapped(struct graph **ret, const struct file_map *m, struct kb_error *err)
{
    switch (form_of(m->data, m->size)) {
    case FORM_TFLITE:
        return tflite_graph(ret, m->data, m->size, err);
    case FORM_ONNX:
        return graph_from_onnx(ret, m, err);
    default:
        return graph_from_weights(ret, m, err);
    }
}

enum kb_code graph_load(struct graph **ret, const char *path, struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    enum kb_code code = file_map(&m, path, err);
    if (code != KB_OK)
        return code;
    code = graph_mapped(ret, &m, err);
    return code == KB_OK ? code : kb_wrap(err, "'%s'", path);
}

enum kb_code wav2lip_onnx(struct graph **ret, const char *path, struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    CLEANUP(graph_free) struct graph *g = NULL;
    enum kb_code code = file_map(&m, path, err);
    if (code == KB_OK)
        code = onnx_graph(&g, m.data, m.size, err);
    if (code != KB_OK)
        return code;
    if (!wav2lip_arrange(g))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the network in this file (ONNX) is no Wav2Lip, which makes of a mel (1 x "
                         "80 x 16) and a face (6 x 96 x 96, or another size) a picture of 3 "
                         "channels as large as the face"));
    *ret = TAKE(g);
    return KB_OK;
}
