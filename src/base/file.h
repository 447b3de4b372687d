// Files: mapping, hashing, atomic replacement, free space. Thread-safe.
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/base.h"
#include "base/cancel.h"

// A whole file mapped read-only. Zero-initialise; release with file_unmap().
struct file_map {
    const uint8_t *data;
    size_t size;
};

// Map path (a regular file of at least one byte). KB_NOT_FOUND, KB_BAD_INPUT, KB_NO_SPACE.
enum kb_code file_map(struct file_map *ret, const char *path, struct kb_error *err);
// The same of an open file; path is what sentences call it.
enum kb_code file_map_open(struct file_map *ret, int fd, const char *path, struct kb_error *err);
void file_unmap(struct file_map *m); // an empty map is fine; clears it

// XXH3-128 of the whole content as 32 lower-case hex digits and a NUL.
enum kb_code file_hash(char ret_hex[33], const char *path, struct kb_error *err);

// What a file is called while it is written: PATH.part, with a writer's number other than 0
// PATH.NUMBER.part. Where that is longer than a file system takes (255 bytes: 85 Chinese letters),
// a short name made out of path's, in the same folder. free().
char *file_part_path(const char *path, int writer);

// Write size bytes under its part's name, sync, rename to path, sync the folder. On failure nothing
// new is left behind.
enum kb_code file_write_atomic(const char *path, const void *data, size_t size,
                               struct kb_error *err);

// The same without the sync, which takes as long as the disk is slow: for what can be made anew and
// whose reader sees whether it is whole.
enum kb_code file_write_cached(const char *path, const void *data, size_t size,
                               struct kb_error *err);

// The first size bytes of from into the empty file to, whatever place from stands at. Costs nothing
// where the disk lets files share blocks. False: errno says why, EIO if from is shorter, ECANCELED;
// to is then as far as it got, and its caller's to remove.
bool file_copy(int to, int from, int64_t size, const struct cancel *cancel);

// Can a file be created in the folder of path? The folder is not created. KB_NOT_FOUND when it is
// missing, KB_BAD_INPUT when it cannot be written, KB_NO_SPACE when less than min_free bytes are
// free.
enum kb_code file_check_writable(const char *path, int64_t min_free, struct kb_error *err);

// Create a folder and its parents. An existing folder is fine.
enum kb_code file_make_dirs(const char *path, struct kb_error *err);

bool file_exists(const char *path); // a regular file that can be read
bool file_is_dir(const char *path);
bool file_same(const char *a, const char *b); // both exist and are one file, whatever their names

// Pieces of a path, each a new string for free().
char *path_join(const char *folder, const char *name);
char *path_folder(const char *path);     // "a/b.mp4" -> "a"; "b.mp4" -> "."
char *path_stem(const char *path);       // "a/b.mp4" -> "b"; ".x" -> ".x"
const char *path_name(const char *path); // points into path
// A name that every system takes as one part of a path, of at most max_bytes (255 is what most
// take): separators and what Windows does not take become "_", hidden characters, dots and spaces
// at the front and at the end go, whole letters are cut off; "_" when nothing is left.
char *path_safe_name(const char *name, int max_bytes);
char *
path_beside_program(const char *relative); // "../models" -> folder of the running program + it

// Where a shipped file (for instance "koubo-lips.safetensors",
// "face/face_landmark_attention.tflite") lies: $KOUBO_MODELS, then ../models and
// ../share/koubo/models beside the program, then $KOUBO_FETCHED_MODELS, which a node of a cluster
// sets for itself and its workers (cluster/node.h). Free the result. KB_NOT_FOUND with a sentence
// that says how to get it.
enum kb_code model_locate(char **ret, const char *name, struct kb_error *err);
// The folders in which it looks, in this order, 0 to MODEL_FOLDERS - 1. A new string, or NULL.
#define MODEL_FOLDERS 4
char *model_folder(int i);
// Is a name that of a model which people bring? By its end: .safetensors, .pth, .pt, .ckpt, .onnx.
bool model_is_file(const char *name);
// The file behind --model: a path, the bare name of a shipped model, or NULL for the one that koubo
// uses if it is not told another. KB_NOT_FOUND; free() the path.
#define MODEL_BUNDLED "koubo-lips-research"
enum kb_code model_find(char **ret, const char *model, struct kb_error *err);

#endif
