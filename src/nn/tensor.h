// Named arrays of numbers as they come out of weight files.
// Not thread-safe while being built; read-only afterwards and then safe from any thread.
#ifndef NN_TENSOR_H
#define NN_TENSOR_H

#include "base/base.h"

#define TENSOR_MAX_DIMS 8

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I64, DTYPE_I32, DTYPE_U8, DTYPE_S8 };

size_t dtype_size(enum dtype t);      // bytes per element
const char *dtype_name(enum dtype t); // "f32", "bf16", …

// A dense row-major array. data points into memory that the tensor_set owns.
struct tensor {
    char *name;
    enum dtype dtype;
    int n_dims;
    int64_t dims[TENSOR_MAX_DIMS];
    const void *data;
};

int64_t tensor_count(const struct tensor *t); // elements
// A new array of tensor_count() floats, free() it; NULL when memory is out or the type is an
// integer other than I64/I32/U8/S8 (those are converted). Half types are widened exactly.
float *tensor_to_f32(const struct tensor *t);
// "[64, 32, 3, 3]" in a static-size buffer of the caller.
struct tensor_shape_text {
    char text[128];
};
struct tensor_shape_text tensor_shape(const struct tensor *t);

// What kind of file tensors or a network came out of.
enum form {
    FORM_NONE,
    FORM_SAFETENSORS,
    FORM_PYTORCH,
    FORM_PYTORCH_LEGACY,
    FORM_TORCHSCRIPT,
    FORM_ONNX,
    FORM_TFLITE,
};

const char *form_name(enum form f); // for people: "PyTorch (zip)", "TorchScript", …

// A set of named tensors and of text metadata (key, value), in file order.
struct tensor_set;

struct tensor_set *tensor_set_create(void); // never NULL
void tensor_set_free(struct tensor_set **set);

void tensor_set_put_form(struct tensor_set *set, enum form f);
enum form tensor_set_form(const struct tensor_set *set);

// Add a tensor whose data is copied (or, if data is NULL, zeroed). The name must be new.
// Returns the writable data through *ret_data if that is not NULL. KB_BAD_INPUT for a repeated
// name or bad dims, KB_NO_SPACE.
enum kb_code tensor_set_add(struct tensor_set *set, const char *name, enum dtype dtype, int n_dims,
                            const int64_t *dims, const void *data, void **ret_data,
                            struct kb_error *err);
const struct tensor *tensor_set_find(const struct tensor_set *set, const char *name); // or NULL
size_t tensor_set_count(const struct tensor_set *set);
const struct tensor *tensor_set_at(const struct tensor_set *set, size_t i);

void tensor_set_put_meta(struct tensor_set *set, const char *key,
                         const char *value); // replaces; NULL removes
const char *tensor_set_meta(const struct tensor_set *set, const char *key); // or NULL
size_t tensor_set_meta_count(const struct tensor_set *set);
void tensor_set_meta_at(const struct tensor_set *set, size_t i, const char **ret_key,
                        const char **ret_value);

#endif
