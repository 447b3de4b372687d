#include "finish/logo.h"

#include "finish/internal.h"
#include "finish/overlay.h"
#include "media/rgba.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIZE    0.14f // where nothing is said
#define MARGIN  0.04  // from the edges, of the picture's shorter side
#define TALLEST 0.25  // of the picture's height

struct logo {
    struct overlay *overlay;
    int x, y;
    float opacity;
};

bool logo_place_parse(const char *text, enum logo_place *ret)
{
    static const char *const names[] = {"top-right", "top-left", "bottom-left", "bottom-right"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum logo_place)i;
            return true;
        }
    }
    return false;
}

static void logo_close(void *step)
{
    struct logo *l = step;
    if (!l)
        return;
    overlay_free(&l->overlay);
    free(l);
}

static void drop(struct logo **l)
{
    logo_close(TAKE(*l));
}

static enum kb_code logo_open(void **ret, const struct finish_params *params,
                              const struct finish_source *source, struct finish_picture *picture,
                              struct kb_error *err)
{
    const struct logo_params *p = &params->logo;
    if (!p->path)
        return KB_OK;
    CLEANUP(drop) struct logo *l = kb_alloc(sizeof(*l));
    CLEANUP(av_frame_free) AVFrame *bitmap = NULL;
    double wide = sqrt((double)picture->width * picture->height * 16 / 9);
    int width = (int)lrint((double)(p->size > 0 ? p->size : SIZE) * wide);
    int height = (int)lrint(TALLEST * picture->height);
    int margin = (int)lrint(MARGIN * KB_MIN(picture->width, picture->height));
    width = KB_MIN(width, picture->width - 2 * margin);
    enum kb_code code =
        rgba_read(&bitmap, p->path, KB_MAX(width, 1), KB_MAX(height, 1), source->cancel, err);
    if (code != KB_OK)
        return code == KB_CANCELLED ? code : kb_wrap(err, _("the logo (--logo)"));
    const struct overlay_bitmap b = {.data = bitmap->data[0],
                                     .stride = bitmap->linesize[0],
                                     .width = bitmap->width,
                                     .height = bitmap->height};
    code = overlay_create(&l->overlay, &b, err);
    if (code != KB_OK)
        return code;
    bool right = p->place == LOGO_TOP_RIGHT || p->place == LOGO_BOTTOM_RIGHT;
    bool low = p->place == LOGO_BOTTOM_LEFT || p->place == LOGO_BOTTOM_RIGHT;
    // The AI label has its corner by law.
    int label = label_corner(&params->label);
    bool label_right = label == LABEL_TOP_RIGHT || label == LABEL_BOTTOM_RIGHT;
    bool label_low = label == LABEL_BOTTOM_LEFT || label == LABEL_BOTTOM_RIGHT;
    right ^= label >= 0 && label_right == right && label_low == low;
    l->x = right ? picture->width - margin - b.width : margin;
    l->y = low ? picture->height - margin - b.height : margin;
    l->opacity = p->opacity > 0 ? p->opacity : 1;
    *ret = TAKE(l);
    return KB_OK;
}

static enum kb_code logo_put(void *step, AVFrame **frame, const struct finish_moment *at,
                             struct kb_error *err)
{
    const struct logo *l = step;
    (void)at;
    return overlay_draw(l->overlay, *frame, l->x, l->y, l->opacity, err);
}

const struct finish_step logo_step = {.open = logo_open, .put = logo_put, .close = logo_close};
