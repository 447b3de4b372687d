// What reads PyTorch checkpoints: their two forms (pth.c), where in them the weights are
// (pth_walk.c) and how a view into a storage becomes a tensor (pth_view.c). Thread-safe: no shared
// state.
#ifndef NN_IMPORT_PTH_INTERNAL_H
#define NN_IMPORT_PTH_INTERNAL_H

#include "nn/import/pickle.h"
#include "nn/import/zip.h"

// Of the elements of a storage, by enum pickle_storage_type.
struct pth_type {
    size_t size;      // bytes in the file
    enum dtype dtype; // what they become
};
extern const struct pth_type pth_types[];

// One storage of the legacy form.
struct pth_slab {
    const struct pickle_value *key;
    enum pickle_storage_type type;
    const uint8_t *data; // NULL until found
    size_t count;
};

// Where the bytes of storages come from: zip and folder, or slabs sorted by key.
struct pth_source {
    const struct zip *zip;
    const char *folder;
    size_t folder_size;
    const struct pth_slab *slabs;
    size_t n_slabs;
};

// For sorting and finding slabs by their keys.
int pth_compare_slab(const void *a, const void *b);

// A dense copy of a tensor. *budget: bytes that may still be made, is made less.
enum kb_code pth_add_tensor(struct tensor_set *set, const struct pth_source *s, const char *name,
                            const struct pickle_value *tensor, size_t *budget,
                            struct kb_error *err);

// All weights of what a checkpoint holds: of a state_dict at its top or inside, or of a module with
// the modules in it (a whole model, a TorchScript archive), named by the attributes on the way.
// KB_BAD_INPUT also where there are none.
enum kb_code pth_add_all(struct tensor_set *set, const struct pth_source *s,
                         const struct pickle_value *root, size_t file_size, struct kb_error *err);

#endif
