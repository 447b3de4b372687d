// What every cmocka test includes first.
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/base.h"

// The call must succeed; on failure print its sentence.
#define assert_ok(err, call)                                                                       \
    do {                                                                                           \
        enum kb_code code_ = (call);                                                               \
        if (code_ != KB_OK)                                                                        \
            fail_msg("%s: code %d, %s", #call, (int)code_, (err).text);                            \
    } while (0)

// The call must fail with this code and a sentence that contains part.
#define assert_fails(err, wanted, part, call)                                                      \
    do {                                                                                           \
        (err).text[0] = '\0';                                                                      \
        enum kb_code code_ = (call);                                                               \
        if (code_ != (wanted) || !strstr((err).text, part))                                        \
            fail_msg("%s: code %d (wanted %d), '%s' (wanted '%s')", #call, (int)code_,             \
                     (int)(wanted), (err).text, part);                                             \
    } while (0)

// Path of a file below the source root, in one of a few static buffers (tests only).
static inline const char *source_path(const char *name)
{
    static char paths[4][4096];
    static int next;
    const char *root = getenv("KOUBO_SOURCE_ROOT");
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", root ? root : ".", name);
    return path;
}

// A real talking clip of shared/clips beside the checkout, or NULL: then print why and skip().
static inline const char *clip_path(const char *name)
{
    static char path[4096];
    const char *dir = getenv("KOUBO_CLIPS");
    snprintf(path, sizeof(path), "%s/%s", dir ? dir : source_path("../shared/clips"), name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        print_message("skipped: clip %s is not here (set KOUBO_CLIPS)\n", name);
        return NULL;
    }
    fclose(f);
    return path;
}

#endif
