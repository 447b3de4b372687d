// Files of subtitles in any encoding. What is read is text that every page can show, in order, and
// what we write of it is read back the same.
#include "tests/fuzz/fuzz.h"

#include "base/utf8.h"
#include "media/subtitle_file.h"

#include <stdlib.h>
#include <string.h>

static void check(const struct subtitle_track *t)
{
    for (size_t i = 0; i < t->n; i++) {
        if (!*t->at[i].text || !utf8_valid(t->at[i].text) || strlen(t->at[i].text) > SUBTITLE_BYTES)
            abort();
        if (t->at[i].start_us < 0 || t->at[i].end_us <= t->at[i].start_us)
            abort();
        if (i > 0 && t->at[i].start_us < t->at[i - 1].start_us)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct subtitle_file f, again;
    subtitle_file_begins(data, KB_MIN(size, 1024));
    if (subtitle_file_parse(&f, data, size, "fuzz", NULL) != KB_OK)
        return 0;
    check(&f.track);
    struct text out = {0};
    subtitles_to_vtt(&out, &f.track, 0);
    if (subtitle_file_parse(&again, out.data, out.size, "fuzz", NULL) == KB_OK) {
        check(&again.track);
        subtitle_file_clear(&again);
    }
    text_free(&out);
    subtitle_file_clear(&f);
    return 0;
}
