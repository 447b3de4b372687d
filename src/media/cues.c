#include "media/cues.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

json_t *cues_pack(const struct subtitle_track *t, size_t *first, size_t bytes)
{
    json_t *list = json_array();
    size_t used = 0;
    while (list && *first < t->n) {
        const struct subtitle *s = &t->at[*first];
        size_t size = strlen(s->text) + 32;
        if (used > 0 && used + size > bytes)
            break;
        json_t *one = json_pack("[I, I, s]", (json_int_t)(s->start_us / 1000),
                                (json_int_t)(s->end_us / 1000), s->text);
        if (json_array_append_new(list, one) != 0) {
            json_decref(list);
            return NULL;
        }
        used += size;
        ++*first;
    }
    return list;
}

bool cues_unpack(struct subtitle_track *ret, const json_t *list)
{
    size_t i;
    const json_t *one;
    if (!json_is_array(list))
        return false;
    json_array_foreach((json_t *)list, i, one)
    {
        json_int_t begin, end;
        const char *text;
        size_t n;
        if (json_unpack_ex((json_t *)one, NULL, JSON_STRICT, "[I, I, s%]", &begin, &end, &text,
                           &n) != 0)
            return false;
        int64_t last = ret->n > 0 ? ret->at[ret->n - 1].start_us / 1000 : 0;
        if (begin < last || end <= begin || end > CUES_LAST_MS || n == 0 || n >= SUBTITLE_BYTES ||
            strlen(text) != n || !utf8_valid(text) || ret->n >= CUES_MOST ||
            !subtitle_add(ret, begin * 1000, end * 1000, text))
            return false;
    }
    return true;
}

char *cues_tag(const struct subtitle_track *t, bool burned)
{
    size_t first = 0;
    json_t *list = t->n > 0 ? cues_pack(t, &first, SIZE_MAX) : NULL;
    json_auto_t *all = list ? json_pack("{s:b, s:o}", "burned", burned, "cues", list) : NULL;
    char *tag = all ? json_dumps(all, JSON_COMPACT) : NULL;
    if (tag && strlen(tag) > CUES_TAG_BYTES)
        kb_freep(&tag);
    return tag;
}

bool cues_read_tag(struct subtitle_track *ret, bool *ret_burned, const char *tag)
{
    json_auto_t *all = strlen(tag) <= CUES_TAG_BYTES ? json_loads(tag, 0, NULL) : NULL;
    const json_t *burned = json_object_get(all, "burned");
    *ret_burned = json_is_true(burned);
    return json_is_boolean(burned) && cues_unpack(ret, json_object_get(all, "cues"));
}
