// Lists of values, which a network that was exported from TorchScript keeps its levels in
// (feats.append(x), feats.pop()). They are taken apart while reading: nothing of them runs.
#include "nn/import/onnx_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ITEMS 16

// Lives as long as the import.
struct onnx_sequence {
    int n;
    struct onnx_entry items[MAX_ITEMS];
    struct onnx_sequence *next; // of all of the import
};

void onnx_sequences_free(struct onnx_sequence *s)
{
    while (s) {
        struct onnx_sequence *next = s->next;
        free(s);
        s = next;
    }
}

// A place counted from the front or, negative, from behind; fallback where the node names none.
static bool read_place(const struct onnx_import *im, const struct onnx_node *n, size_t at,
                       int count, int fallback, int *ret)
{
    int64_t place = fallback;
    const struct onnx_tensor *t = onnx_constant(im, n, at);
    if (at < n->n_in && *n->in[at] &&
        (!t || t->count != 1 || onnx_ints(&place, 1, t, NULL) != KB_OK))
        return false;
    place += place < 0 ? count : 0;
    *ret = (int)KB_MIN(KB_MAX(place, -1), MAX_ITEMS);
    return true;
}

// Makes a list like from (NULL: an empty one) the node's output.
static enum kb_code put_sequence(struct onnx_import *im, const struct onnx_node *n,
                                 const struct onnx_sequence *from, struct onnx_sequence **ret,
                                 struct kb_error *err)
{
    struct onnx_sequence *s = kb_alloc(sizeof(*s));
    if (from)
        *s = *from;
    s->next = im->sequences;
    im->sequences = s;
    *ret = s;
    return onnx_put(im, n, (struct onnx_entry){.value = -1, .sequence = s}, err);
}

static enum kb_code construct(struct onnx_import *im, const struct onnx_node *n,
                              struct kb_error *err)
{
    struct onnx_sequence *s;
    if (n->n_in > MAX_ITEMS)
        return onnx_unsupported(n, _("a list that is too long"), err);
    for (size_t i = 0; i < n->n_in; i++)
        if (!onnx_value(im, n, i))
            return onnx_unsupported(n, _("an unknown list"), err);
    enum kb_code code = put_sequence(im, n, NULL, &s, err);
    for (size_t i = 0; code == KB_OK && i < n->n_in; i++)
        s->items[s->n++] = *onnx_value(im, n, i);
    return code;
}

enum kb_code onnx_read_sequence(struct onnx_import *im, const struct onnx_node *n,
                                struct kb_error *err)
{
    const struct onnx_entry *list = onnx_input(im, n, 0);
    const struct onnx_sequence *from = list ? list->sequence : NULL;
    struct onnx_sequence *s = NULL;
    const char *what = n->type + strlen("Sequence");
    int place = 0;
    if (strcmp(what, "Empty") == 0)
        return put_sequence(im, n, NULL, &s, err);
    if (strcmp(what, "Construct") == 0)
        return construct(im, n, err);
    if (!from)
        return onnx_unsupported(n, _("an unknown list"), err);
    bool inserts = strcmp(what, "Insert") == 0;
    const struct onnx_entry *x = inserts ? onnx_value(im, n, 1) : NULL;
    if ((inserts && (!x || from->n == MAX_ITEMS)) ||
        !read_place(im, n, inserts ? 2 : 1, from->n, inserts ? from->n : from->n - 1, &place) ||
        place < 0 || place >= from->n + (inserts ? 1 : 0))
        return onnx_unsupported(n, _("a place outside its list"), err);
    if (strcmp(what, "At") == 0)
        return onnx_put(im, n, from->items[place], err);
    enum kb_code code = put_sequence(im, n, from, &s, err);
    if (code != KB_OK)
        return code;
    size_t behind = (size_t)(s->n - place) * sizeof(s->items[0]);
    if (inserts) {
        memmove(&s->items[place + 1], &s->items[place], behind);
        s->items[place] = *x;
        s->n++;
    } else { // Erase
        memmove(&s->items[place], &s->items[place + 1], behind - sizeof(s->items[0]));
        s->n--;
    }
    return KB_OK;
}
