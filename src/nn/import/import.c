#include "nn/import/import.h"

#include <string.h>

#include "base/file.h"

static bool starts_with(const struct file_map *m, size_t at, const char *bytes, size_t n)
{
    return m->size >= at + n && memcmp(m->data + at, bytes, n) == 0;
}

// A pickle opens with its protocol.
static bool is_pickle(const struct file_map *m)
{
    return m->size >= 2 && m->data[0] == 0x80 && m->data[1] >= 2 && m->data[1] <= 5;
}

static enum kb_code read_mapped(struct tensor_set **ret, const struct file_map *m,
                                struct kb_error *err)
{
    if (starts_with(m, 0, "PK\3\4", 4) || is_pickle(m))
        return pth_read(ret, m->data, m->size, err);
    if (starts_with(m, 8, "{", 1))
        return safetensors_read(ret, m->data, m->size, err);
    return kb_fail(
        err, KB_BAD_INPUT,
        _("neither safetensors nor a PyTorch checkpoint; give a .safetensors or .pth file "
          "(a download that failed often leaves a web page under the file's name)"));
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

enum kb_code graph_load(struct graph **ret, const char *path, struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    enum kb_code code = file_map(&m, path, err);
    if (code != KB_OK)
        return code;
    code = starts_with(&m, 4, "TFL3", 4) ? tflite_graph(ret, m.data, m.size, err)
                                         : graph_from_weights(ret, &m, err);
    return code == KB_OK ? code : kb_wrap(err, "'%s'", path);
}
