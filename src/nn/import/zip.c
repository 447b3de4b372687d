// Records and offsets: PKWARE's APPNOTE.TXT, sections 4.3.7 (local header), 4.3.12 (central
// directory), 4.3.14 to 4.3.16 (ends), 4.5.3 (64-bit sizes).
#include "nn/import/zip.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILES 100000

enum {
    LOCAL_SIZE = 30,
    CENTRAL_SIZE = 46,
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR64_SIZE = 20,
    MAX_COMMENT = 65535,
};

struct zip {
    struct zip_file *files; // sorted by name
    size_t n_files;
};

static uint64_t little(const uint8_t *b, int n)
{
    uint64_t v = 0;
    while (n-- > 0)
        v = v << 8 | b[n];
    return v;
}

static enum kb_code damaged(struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the zip directory of the checkpoint is damaged; copy or download it again"));
}

// Where the central directory lies, from the record at the end of the archive.
static enum kb_code find_directory(const uint8_t *data, size_t size, uint64_t *ret_offset,
                                   uint64_t *ret_size, uint64_t *ret_n, struct kb_error *err)
{
    const uint8_t *end = NULL;
    for (size_t back = END_SIZE; back <= size && back <= END_SIZE + MAX_COMMENT && !end; back++)
        if (memcmp(data + size - back, "PK\5\6", 4) == 0)
            end = data + size - back;
    if (!end)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the checkpoint has no zip directory at its end: it is incomplete, copy or "
              "download it again"));
    *ret_n = little(end + 10, 2);
    *ret_size = little(end + 12, 4);
    *ret_offset = little(end + 16, 4);
    size_t at = (size_t)(end - data);
    if (at >= LOCATOR64_SIZE && memcmp(end - LOCATOR64_SIZE, "PK\6\7", 4) == 0) {
        uint64_t at64 = little(end - LOCATOR64_SIZE + 8, 8);
        if (at64 > size || size - at64 < END64_SIZE || memcmp(data + at64, "PK\6\6", 4) != 0)
            return damaged(err);
        *ret_n = little(data + at64 + 32, 8);
        *ret_size = little(data + at64 + 40, 8);
        *ret_offset = little(data + at64 + 48, 8);
    }
    if (*ret_offset > size || *ret_size > size - *ret_offset || *ret_n > MAX_FILES)
        return damaged(err);
    return KB_OK;
}

// Sizes and offset that do not fit 32 bits stand in an extra field, in this order.
static bool read_extra64(const uint8_t *extra, size_t size, uint64_t *values[3])
{
    static const uint64_t in_extra = 0xffffffff;
    while (size >= 4) {
        size_t tag = little(extra, 2), length = little(extra + 2, 2);
        if (length > size - 4)
            return false;
        for (int i = 0; tag == 1 && i < 3; i++) {
            if (*values[i] != in_extra)
                continue;
            if (length < 8)
                return false;
            *values[i] = little(extra + 4, 8);
            extra += 8;
            size -= 8;
            length -= 8;
        }
        extra += 4 + length;
        size -= 4 + length;
    }
    return true;
}

// One entry of the central directory at *at, and past it.
static enum kb_code read_entry(const uint8_t *data, size_t size, const uint8_t **at,
                               const uint8_t *end, struct zip_file *ret, struct kb_error *err)
{
    const uint8_t *c = *at;
    if ((size_t)(end - c) < CENTRAL_SIZE || memcmp(c, "PK\1\2", 4) != 0)
        return damaged(err);
    size_t name_size = little(c + 28, 2), extra_size = little(c + 30, 2);
    size_t entry_size = CENTRAL_SIZE + name_size + extra_size + little(c + 32, 2);
    if (entry_size > (size_t)(end - c))
        return damaged(err);
    uint64_t plain = little(c + 24, 4), packed = little(c + 20, 4), offset = little(c + 42, 4);
    if (!read_extra64(c + CENTRAL_SIZE + name_size, extra_size,
                      (uint64_t *[3]){&plain, &packed, &offset}))
        return damaged(err);
    bool is_encrypted = little(c + 8, 2) & 1;
    bool is_packed = little(c + 10, 2) != 0 || is_encrypted || plain != packed;

    // The local header repeats the name, and its extra field may be of another length.
    if (offset > size || size - offset < LOCAL_SIZE || memcmp(data + offset, "PK\3\4", 4) != 0)
        return damaged(err);
    uint64_t start =
        offset + LOCAL_SIZE + little(data + offset + 26, 2) + little(data + offset + 28, 2);
    if (start > size || packed > size - start)
        return damaged(err);
    *ret = (struct zip_file){(const char *)c + CENTRAL_SIZE, name_size, data + start, packed,
                             is_packed};
    *at = c + entry_size;
    return KB_OK;
}

static int compare_place(const void *a, const void *b)
{
    const struct zip_file *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->size > y->size) - (x->size < y->size);
}

static int compare_name(const void *a, const void *b)
{
    const struct zip_file *x = a, *y = b;
    int order = memcmp(x->name, y->name, KB_MIN(x->name_size, y->name_size));
    return order ? order : (x->name_size > y->name_size) - (x->name_size < y->name_size);
}

// Two names for the same bytes would let a small file stand for a huge one.
static bool files_overlap(struct zip *z)
{
    qsort(z->files, z->n_files, sizeof(z->files[0]), compare_place);
    for (size_t i = 1; i < z->n_files; i++)
        if (z->files[i].data < z->files[i - 1].data + z->files[i - 1].size)
            return true;
    return false;
}

enum kb_code zip_open(struct zip **ret, const uint8_t *data, size_t size, struct kb_error *err)
{
    uint64_t offset = 0, directory_size = 0, n = 0;
    enum kb_code code = find_directory(data, size, &offset, &directory_size, &n, err);
    if (code != KB_OK)
        return code;
    CLEANUP(zip_free) struct zip *z = kb_alloc(sizeof(*z));
    z->files = kb_calloc_checked(n, sizeof(z->files[0]));
    if (!z->files)
        return kb_no_memory(err);
    const uint8_t *at = data + offset, *end = at + directory_size;
    for (; z->n_files < n; z->n_files++) {
        code = read_entry(data, size, &at, end, &z->files[z->n_files], err);
        if (code != KB_OK)
            return code;
    }
    if (files_overlap(z))
        return damaged(err);
    qsort(z->files, z->n_files, sizeof(z->files[0]), compare_name);
    *ret = TAKE(z);
    return KB_OK;
}

void zip_free(struct zip **z)
{
    if (!*z)
        return;
    free((*z)->files);
    free(*z);
    *z = NULL;
}

const struct zip_file *zip_find(const struct zip *z, const char *folder, size_t folder_size,
                                const char *name)
{
    CLEANUP(kb_freep)
    char *path =
        folder_size ? kb_printf("%.*s/%s", (int)folder_size, folder, name) : kb_strdup(name);
    struct zip_file wanted = {.name = path, .name_size = strlen(path)};
    return bsearch(&wanted, z->files, z->n_files, sizeof(z->files[0]), compare_name);
}

const struct zip_file *zip_find_suffix(const struct zip *z, const char *suffix)
{
    size_t n = strlen(suffix);
    for (size_t i = 0; i < z->n_files; i++) {
        const struct zip_file *f = &z->files[i];
        if (f->name_size >= n && memcmp(f->name + f->name_size - n, suffix, n) == 0)
            return f;
    }
    return NULL;
}

enum kb_code zip_refuse_packed(struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the checkpoint was compressed or encrypted by another program; unpack it "
                     "and use the file that torch.save wrote"));
}

bool zip_has_folder(const struct zip *z, const char *folder, size_t folder_size, const char *inner)
{
    CLEANUP(kb_freep)
    char *path = kb_printf("%.*s%s%s/", (int)folder_size, folder, folder_size ? "/" : "", inner);
    size_t n = strlen(path);
    for (size_t i = 0; i < z->n_files; i++)
        if (z->files[i].name_size > n && memcmp(z->files[i].name, path, n) == 0)
            return true;
    return false;
}
