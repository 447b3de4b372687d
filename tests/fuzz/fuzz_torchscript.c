// The pickle of a TorchScript archive: the input is its data.pkl, the archive around it is whole.
// (Of an archive as it lies on the disk, most changes break the zip: fuzz_pth.)
#include "base/text.h"
#include "nn/import/import.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

#define N_STORAGES 10
#define N_FILES    (3 + N_STORAGES)

static void add_number(struct text *t, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++, value >>= 8)
        text_add_bytes(t, &(char){(char)value}, 1);
}

// What a file's local header and its entry in the central directory both say.
static void add_entry(struct text *t, const char *magic, size_t name_size, size_t size)
{
    bool is_local = magic[2] == '\3';
    text_add_bytes(t, magic, 4);
    add_number(t, 0, is_local ? 14 : 16); // version, stored, no date, no checksum
    add_number(t, (uint32_t)size, 4);
    add_number(t, (uint32_t)size, 4);
    add_number(t, (uint32_t)name_size, 2);
    add_number(t, 0, is_local ? 2 : 12); // no extra field, no comment, no attributes
}

static void add_file(struct text *zip, struct text *directory, const char *name, const void *data,
                     size_t size)
{
    size_t n = strlen(name);
    add_entry(directory, "PK\1\2", n, size);
    add_number(directory, (uint32_t)zip->size, 4);
    text_add_bytes(directory, name, n);
    add_entry(zip, "PK\3\4", n, size);
    text_add_bytes(zip, name, n);
    text_add_bytes(zip, data, size);
}

static void add_archive(struct text *zip, const uint8_t *data, size_t size)
{
    static const float weights[64];
    CLEANUP(text_free) struct text directory = {0};
    add_file(zip, &directory, "m/data.pkl", data, size);
    add_file(zip, &directory, "m/constants.pkl", "\x80\2).", 4);
    add_file(zip, &directory, "m/code/__torch__.py", "", 0);
    for (int i = 0; i < N_STORAGES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "m/data/%d", i);
        add_file(zip, &directory, name, weights, sizeof(weights));
    }
    size_t at = zip->size;
    text_add_bytes(zip, directory.data, directory.size);
    text_add_bytes(zip, "PK\5\6\0\0\0\0", 8);
    add_number(zip, N_FILES, 2);
    add_number(zip, N_FILES, 2);
    add_number(zip, (uint32_t)directory.size, 4);
    add_number(zip, (uint32_t)at, 4);
    add_number(zip, 0, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text zip = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    add_archive(&zip, data, size);
    if (pth_read(&set, zip.data, zip.size, &err) == KB_OK && wav2lip_recognize(set)) {
        CLEANUP(graph_free) struct graph *g = NULL;
        wav2lip_graph(&g, set, &err);
    }
    return 0;
}
