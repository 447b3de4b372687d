#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

const char *fuzz_file(const void *data, size_t size)
{
    static char path[40];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("koubo-fuzz", MFD_CLOEXEC);
        if (fd < 0 || fchmod(fd, 0600) != 0)
            abort();
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    return path;
}

char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = kb_alloc(size + 1); // of the input's length, so that a read past it is seen
    memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

void fuzz_seal(uint8_t *data, size_t size, size_t at)
{
    uint64_t sum = 0;
    if (size < sizeof(sum) || at > size - sizeof(sum))
        return;
    memcpy(data + at, &sum, sizeof(sum));
    sum = XXH3_64bits(data, size);
    memcpy(data + at, &sum, sizeof(sum));
}
