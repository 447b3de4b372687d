// Shared by onnx_model.c (the file: every name of protobuf stands there), onnx.c (values, inputs
// and outputs), onnx_ops.c (the operations) and onnx_sequence.c (lists of values). An import
// belongs to one thread.
#ifndef NN_IMPORT_ONNX_INTERNAL_H
#define NN_IMPORT_ONNX_INTERNAL_H

#include "nn/import/import.h"

#define ONNX_MAX_RANK 6

// A constant. Its numbers stay where they are until they are asked for.
struct onnx_tensor {
    const char *name;
    int rank;
    int64_t dims[ONNX_MAX_RANK];
    int64_t count;    // elements, as many as the file has
    const void *data; // onnx_model.c's business
};

struct onnx_attribute {
    const char *name;
    int64_t i;
    float f;
    const char *text; // not terminated
    size_t text_size;
    const int64_t *ints;
    size_t n_ints;
    bool has_tensor;
    struct onnx_tensor tensor;
};

struct onnx_node {
    const char *type, *name;
    char *const *in; // names; an input that is left out is ""
    size_t n_in;
    char *const *out;
    size_t n_out;
    struct onnx_attribute *attributes;
    size_t n_attributes;
};

// An input or output of the network: [batch, …], 0 where the file leaves a side open.
struct onnx_value_info {
    const char *name;
    int rank; // -1: not said
    int64_t dims[ONNX_MAX_RANK];
};

// Names have no control characters. All pointers live as long as the model.
struct onnx_model {
    struct onnx_node *nodes;
    struct onnx_tensor *constants;
    struct onnx_value_info *inputs, *outputs;
    size_t n_nodes, n_constants, n_inputs, n_outputs;
    void *proto; // onnx_model.c's business
};

// --- onnx_model.c ---

// KB_BAD_INPUT, KB_NO_SPACE; *ret is to be cleared in any case.
enum kb_code onnx_model_read(struct onnx_model *ret, const void *data, size_t size,
                             struct kb_error *err);
void onnx_model_clear(struct onnx_model *m);

// The numbers of a constant as a new array of t->count floats; free(). KB_BAD_INPUT: of a type that
// is no float. KB_NO_SPACE.
enum kb_code onnx_floats(float **ret, const struct onnx_tensor *t, struct kb_error *err);
// The same of whole numbers, up to n. KB_BAD_INPUT: another type, or more of them.
enum kb_code onnx_ints(int64_t *ret, int n, const struct onnx_tensor *t, struct kb_error *err);

// NULL: the node has no such attribute.
const struct onnx_attribute *onnx_attribute(const struct onnx_node *n, const char *name);

// --- onnx.c ---

// How the sides of a value stand in the file, without the batch. koubo's own values are all h, w,
// c.
enum onnx_layout {
    LAYOUT_CHW, // as PyTorch has them
    LAYOUT_HWC, // as TensorFlow has them
    LAYOUT_C,   // a vector
};

struct onnx_sequence; // onnx_sequence.c's business

// What a name stands for: a value of the graph, a constant or a list of values.
struct onnx_entry {
    const char *name;
    int value; // in the graph, or -1
    enum onnx_layout layout;
    const struct onnx_tensor *constant;   // or NULL
    const struct onnx_sequence *sequence; // or NULL
};

struct onnx_import {
    const struct onnx_model *model;
    struct graph *graph;
    struct onnx_entry *entries;
    size_t n_entries, entries_room;
    size_t unfolded, max_unfolded;   // bytes of weights so far
    struct onnx_sequence *sequences; // all that were made
    struct onnx_tensor *made; // constants of other sides than in the file: at most one a node
    size_t n_made;
};

enum kb_code onnx_unsupported(const struct onnx_node *n, const char *what, struct kb_error *err);

// What input i of a node stands for; NULL: it is left out or not computed before it is used.
// Valid until the next onnx_put().
const struct onnx_entry *onnx_input(const struct onnx_import *im, const struct onnx_node *n,
                                    size_t i);
// The same if it is a value of the graph, else NULL.
const struct onnx_entry *onnx_value(const struct onnx_import *im, const struct onnx_node *n,
                                    size_t i);
// The same if it is a constant, else NULL.
const struct onnx_tensor *onnx_constant(const struct onnx_import *im, const struct onnx_node *n,
                                        size_t i);

// Give output 0 of a node its meaning.
enum kb_code onnx_put(struct onnx_import *im, const struct onnx_node *n, struct onnx_entry entry,
                      struct kb_error *err);
// Append op, which reads what its in and n_in say, as the node's output 0. The graph takes over its
// arrays, also when it fails.
enum kb_code onnx_put_op(struct onnx_import *im, const struct onnx_node *n, struct op *op,
                         enum onnx_layout layout, struct kb_error *err);

// --- onnx_ops.c ---

// What a node computes. KB_BAD_INPUT: something that koubo's graph does not have.
enum kb_code onnx_read_node(struct onnx_import *im, const struct onnx_node *n,
                            struct kb_error *err);

// --- onnx_sequence.c ---

// SequenceEmpty, SequenceConstruct, SequenceInsert, SequenceAt, SequenceErase.
enum kb_code onnx_read_sequence(struct onnx_import *im, const struct onnx_node *n,
                                struct kb_error *err);
void onnx_sequences_free(struct onnx_sequence *s); // and all that were made before; NULL is fine

#endif
