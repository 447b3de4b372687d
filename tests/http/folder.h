// A temporary folder for the files that a test serves: mkdtemp(folder) first.
#ifndef TESTS_HTTP_FOLDER_H
#define TESTS_HTTP_FOLDER_H

#include "tests/test.h"

static char folder[] = "/tmp/koubo-serve-XXXXXX";

// In one of a few static buffers of the thread.
static inline char *in_folder(const char *name)
{
    static _Thread_local char paths[8][256]; // the server's threads ask as well
    static _Thread_local int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static inline void write_file(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
}

#endif
