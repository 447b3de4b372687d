// What a film, a row or a worker says of subtitles. What is taken is in order and within bounds,
// and is written as it was read, no longer than it was.
#include "tests/fuzz/fuzz.h"

#include "base/utf8.h"
#include "media/cues.h"
#include "media/subtitle_file.h"

#include <stdlib.h>
#include <string.h>

static void must(bool so)
{
    if (!so)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(subtitle_track_clear) struct subtitle_track t = {0}, back = {0};
    CLEANUP(kb_freep) char *text = kb_alloc(size + 1);
    bool burned, again;
    memcpy(text, data, size);
    if (!cues_read_tag(&t, &burned, text))
        return 0;
    for (size_t i = 0; i < t.n; i++) {
        must(utf8_valid(t.at[i].text) && strlen(t.at[i].text) < SUBTITLE_BYTES);
        must(t.at[i].start_us >= 0 && t.at[i].end_us > t.at[i].start_us);
        must(i == 0 || t.at[i].start_us >= t.at[i - 1].start_us);
    }
    CLEANUP(kb_freep) char *tag = cues_tag(&t, burned);
    if (t.n == 0)
        return 0;
    must(tag && strlen(tag) <= strlen(text) && cues_read_tag(&back, &again, tag));
    must(again == burned && back.n == t.n);
    for (size_t i = 0; i < t.n; i++)
        must(back.at[i].start_us == t.at[i].start_us && back.at[i].end_us == t.at[i].end_us &&
             strcmp(back.at[i].text, t.at[i].text) == 0);
    return 0;
}
