#include "finish/areas.h"

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

struct areas *areas_create(int width, int height)
{
    struct areas *a = kb_alloc(sizeof(*a));
    *a = (struct areas){
        .width = width, .height = height, .n_strips = (width + AREA_WIDTH - 1) / AREA_WIDTH};
    size_t n = (size_t)a->n_strips * (size_t)height;
    a->marks = kb_alloc(n);
    a->list = kb_alloc((n / 2 + (size_t)a->n_strips) * sizeof(*a->list)); // every second row
    return a;
}

void areas_free(struct areas **a)
{
    if (!*a)
        return;
    free((*a)->marks);
    free((*a)->list);
    free(*a);
    *a = NULL;
}

uint8_t *areas_row(struct areas *a, int y)
{
    return memset(a->marks + (size_t)y * (size_t)a->n_strips, 0, (size_t)a->n_strips);
}

void areas_gather(struct areas *a, int beyond, int gap)
{
    a->n = 0;
    for (int s = 0; s < a->n_strips; s++) {
        struct box_area *last = NULL;
        for (int y = 0; y < a->height; y++) {
            if (!a->marks[(size_t)y * (size_t)a->n_strips + (size_t)s])
                continue;
            int y0 = KB_MAX(y - beyond, 0), y1 = KB_MIN(y + beyond + 1, a->height);
            if (!last || y0 > last->y1 + gap) {
                last = &a->list[a->n++];
                *last = (struct box_area){
                    .x0 = s * AREA_WIDTH, .x1 = KB_MIN((s + 1) * AREA_WIDTH, a->width), .y0 = y0};
            }
            last->y1 = y1;
        }
    }
}
