// The manifest of a person's file, which anybody may have written.
#include "queue/person_file.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    struct person_manifest m;
    int64_t sum = 0;
    if (person_manifest_parse((const char *)data, size, &m, &err) == KB_OK) {
        if (m.n_files < 1 || m.n_files > PERSON_FILES || strcmp(m.files[0].role, "video") != 0)
            abort();
        for (int i = 0; i < m.n_files; i++) {
            const struct person_entry *e = &m.files[i];
            if (e->size_bytes < 1 || strlen(e->sha256) != 64 || strchr(e->name, '/') ||
                __builtin_add_overflow(sum, e->size_bytes, &sum))
                abort();
        }
    } else if (!err.text[0]) {
        abort();
    }
    person_manifest_free(&m);
    return 0;
}
