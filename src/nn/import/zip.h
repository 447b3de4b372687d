// Finds the stored (uncompressed) files in a zip archive that lies in memory.
// Internal to nn/. Read-only after opening, then safe from any thread.
//
// PyTorch stores weights without compression so that tensors can be mapped, which makes a reader of
// the central directory shorter than the glue to a library, and keeps decompression (and its bombs)
// out of reach of a hostile file. TorchScript archives deflate their source text: of such files
// only the names are known.
#ifndef NN_IMPORT_ZIP_H
#define NN_IMPORT_ZIP_H

#include "base/base.h"

struct zip;

struct zip_file {
    const char *name; // not terminated, points into the archive
    size_t name_size;
    const uint8_t *data; // points into the archive
    size_t size;         // of these bytes
    bool is_packed;      // they are compressed or encrypted: not to be read
};

// data must outlive *ret. KB_BAD_INPUT when the directory does not fit the archive or files
// overlap.
enum kb_code zip_open(struct zip **ret, const uint8_t *data, size_t size, struct kb_error *err);
void zip_free(struct zip **z); // NULL is fine

// The file "folder/name", or NULL. folder_size may be 0 for a name at the top.
const struct zip_file *zip_find(const struct zip *z, const char *folder, size_t folder_size,
                                const char *name);
// The first file whose name ends in suffix, or NULL.
const struct zip_file *zip_find_suffix(const struct zip *z, const char *suffix);
// KB_BAD_INPUT: for a file that is packed where it should not be.
enum kb_code zip_refuse_packed(struct kb_error *err);
// Whether "folder/" has anything below "folder/inner/".
bool zip_has_folder(const struct zip *z, const char *folder, size_t folder_size, const char *inner);

#endif
