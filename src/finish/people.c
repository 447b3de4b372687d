#include "finish/people.h"

#include "base/vectorise.h"
#include "finish/segment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct people {
    const struct track *track;
    int width, height; // of the pictures
    struct segmenter *whole;
    int mask_width, mask_height;
    float *mask, *seen; // of the picture before, once there is one
    bool has_before;
};

enum kb_code people_open(struct people **ret, const struct finish_picture *picture,
                         const struct finish_source *source, struct kb_error *err)
{
    CLEANUP(people_close) struct people *p = kb_alloc(sizeof(*p));
    p->track = source->track;
    p->width = picture->width;
    p->height = picture->height;
    enum kb_code code = segmenter_open(&p->whole, p->width, p->height, err);
    if (code != KB_OK)
        return code;
    segmenter_size(p->whole, &p->mask_width, &p->mask_height);
    size_t n = (size_t)p->mask_width * (size_t)p->mask_height;
    p->mask = kb_alloc(n * sizeof(float));
    p->seen = kb_alloc(3 * n * sizeof(float));
    *ret = TAKE(p);
    return KB_OK;
}

void people_close(struct people **p)
{
    if (!*p)
        return;
    segmenter_close(&(*p)->whole);
    free((*p)->mask);
    free((*p)->seen);
    free(*p);
    *p = NULL;
}

// What flickers where nothing moves is the network.
KB_VECTORISED static void steady(float *restrict mask, float *restrict seen,
                                 const float *restrict new_mask, const float *restrict new_seen,
                                 size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float change = 0;
        for (int k = 0; k < 3; k++)
            change += fabsf(new_seen[3 * i + (size_t)k] - seen[3 * i + (size_t)k]);
        float step = fminf(0.3f + fmaxf(change - 0.03f, 0) * 8, 1);
        mask[i] += step * (new_mask[i] - mask[i]);
    }
}

enum kb_code people_find(struct people *p, const AVFrame *frame, int track_frame, bool is_cut,
                         const float **ret, int *ret_width, int *ret_height, struct kb_error *err)
{
    const struct affine whole = {.xx = (float)p->width / (float)p->mask_width,
                                 .yy = (float)p->height / (float)p->mask_height};
    size_t n = (size_t)p->mask_width * (size_t)p->mask_height;
    const float *mask, *seen;
    enum kb_code code = segmenter_run(p->whole, frame, &whole, &mask, &seen, err);
    if (code != KB_OK)
        return code;
    if (p->has_before && !is_cut)
        steady(p->mask, p->seen, mask, seen, n);
    else
        memcpy(p->mask, mask, n * sizeof(float));
    memcpy(p->seen, seen, 3 * n * sizeof(float));
    p->has_before = true;
    *ret = p->mask;
    *ret_width = p->mask_width;
    *ret_height = p->mask_height;
    return KB_OK;
}
