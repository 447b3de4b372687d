// From files to tensors and graphs. All readers treat the file as hostile: every size is checked
// against the file before use, nothing is executed. Thread-safe (no shared state).
#ifndef NN_IMPORT_IMPORT_H
#define NN_IMPORT_IMPORT_H

#include "nn/graph.h"
#include "nn/tensor.h"

// What a file is by its first bytes. FORM_NONE: nothing that koubo knows, or it cannot be read. A
// TorchScript archive is FORM_PYTORCH here; tensor_set_form() knows better.
enum form file_form(const char *path);

// Load weights: .safetensors, .pth / .pt / .ckpt (PyTorch, zip or legacy form, TorchScript); told
// apart by content, not by name. PyTorch: the state_dict is found at the top or under "state_dict"
// and the like; of a whole model or a TorchScript archive the attributes are walked and nothing is
// run. A "module." prefix is dropped. KB_NOT_FOUND, KB_BAD_INPUT, KB_NO_SPACE.
enum kb_code weights_load(struct tensor_set **ret, const char *path, struct kb_error *err);

// The two formats behind weights_load().
enum kb_code safetensors_read(struct tensor_set **ret, const void *data, size_t size,
                              struct kb_error *err);
enum kb_code pth_read(struct tensor_set **ret, const void *data, size_t size,
                      struct kb_error *err); // all PyTorch forms

// Write a set as safetensors, atomically (.part, then rename).
enum kb_code safetensors_write(const char *path, const struct tensor_set *set,
                               struct kb_error *err);

// NumPy .npy (version 1 and 2, C order, f4 f8 f2 i4 i8 u1 i1; f8 becomes f32, kept dims).
enum kb_code npy_read(struct tensor_set **ret, const char *path,
                      struct kb_error *err); // one tensor, "array"
enum kb_code npy_write(const char *path, int n_dims, const int64_t *dims, const float *data,
                       struct kb_error *err);

// The graph a koubo .safetensors carries in its metadata key "graph" (see docs/models.md).
enum kb_code graph_from_metadata(struct graph **ret, const struct tensor_set *set,
                                 struct kb_error *err);

// Does the set look like a Wav2Lip state_dict (face_encoder_blocks.…)?
bool wav2lip_recognize(const struct tensor_set *set);
// A prefix of all its names ("model.face_encoder_blocks.…") is no hindrance.
// The published Wav2Lip network (Prajwal et al. 2020, "A Lip Sync Expert Is All You Need"):
// inputs "mel" 80x16x1 and "face" 96x96x6, output "face_out" 96x96x3. KB_BAD_INPUT names the
// tensors that are missing or of another shape.
enum kb_code wav2lip_graph(struct graph **ret, const struct tensor_set *set, struct kb_error *err);
// Random weights of the same names and shapes (Kaiming-like, fixed seed), for benchmarks and tests.
struct tensor_set *wav2lip_random(uint64_t seed);

// A .tflite network. Inputs and outputs keep their order in the file.
enum kb_code tflite_graph(struct graph **ret, const void *data, size_t size, struct kb_error *err);

// The Wav2Lip in an .onnx file: inputs and output as wav2lip_graph() has them, whatever they are
// called there and in which order, with a face of any size that its graph says. KB_BAD_INPUT also
// where the file holds another network.
enum kb_code wav2lip_onnx(struct graph **ret, const char *path, struct kb_error *err);
// Whether a graph is a Wav2Lip; then it is given that order and those names.
bool wav2lip_arrange(struct graph *g);

// An ONNX network of convolutions, as torch.onnx.export writes it (docs/models.md lists the
// operations). Inputs and outputs keep their names and their order in the file; the batch is left
// open. KB_BAD_INPUT names what koubo's graph does not have.
bool onnx_recognize(const void *data, size_t size);
enum kb_code onnx_graph(struct graph **ret, const void *data, size_t size, struct kb_error *err);

// Any model file to a finished graph: tflite and ONNX by content, else weights + metadata or
// Wav2Lip names. A Wav2Lip in an .onnx file is arranged.
enum kb_code graph_load(struct graph **ret, const char *path, struct kb_error *err);

#endif
