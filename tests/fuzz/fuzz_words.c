// Times of words as they are kept, as a worker tells them, and a text that is parted into sentences
// and words. What is accepted is written and read again, and must be the same.
#include "media/sentences.h"
#include "media/words.h"
#include "tests/fuzz/fuzz.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

static void must(bool so)
{
    if (!so)
        abort();
}

static void check(const struct words *w)
{
    struct words back = {0}, unpacked = {.text = kb_strdup(w->text)};
    CLEANUP(kb_freep) char *json = words_json(w);
    json_t *packed = words_pack(w);
    must(json && words_parse(&back, json, NULL) == KB_OK);
    must(words_unpack(&unpacked, packed));
    must(back.n == w->n && unpacked.n == w->n && strcmp(back.text, w->text) == 0);
    for (int i = 0; i < w->n; i++) {
        must(memcmp(&back.list[i], &w->list[i], sizeof(w->list[i])) == 0);
        must(memcmp(&unpacked.list[i], &w->list[i], sizeof(w->list[i])) == 0);
    }
    json_decref(packed);
    words_free(&back);
    words_free(&unpacked);
}

static void part(const char *text)
{
    CLEANUP(kb_freep) struct sentence *list = NULL;
    struct words w = {.text = kb_strdup(text)};
    int n = 0;
    size_t end = 0;
    must(sentences_find(text, &list, &n));
    for (int i = 0; i < n; i++) {
        must(list[i].first >= end && list[i].n > 0 && list[i].n <= SENTENCE_BYTES);
        end = list[i].first + list[i].n;
        must(end <= strlen(text));
        if (!words_split(&w, list[i].first, list[i].n))
            break;
    }
    check(&w);
    words_free(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct words w = {0};
    CLEANUP(kb_freep) char *text = kb_alloc(size + 1);
    memcpy(text, data, size);
    if (words_parse(&w, text, NULL) == KB_OK) {
        check(&w);
        words_free(&w);
    }
    json_t *packed = json_loads(text, 0, NULL);
    w.text = kb_strdup("你好 hello");
    if (packed && words_unpack(&w, packed))
        check(&w);
    json_decref(packed);
    words_free(&w);
    if (utf8_valid(text) && strlen(text) <= WORDS_TEXT_BYTES)
        part(text);
    return 0;
}
