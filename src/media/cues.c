#include "media/cues.h"

#include "base/utf8.h"

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
