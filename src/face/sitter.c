#include "face/sitter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COVERED 0.2f // from this cover on the mouth's picture is of no use

void sitter_clear(struct sitter *p)
{
    free(p->records);
    free(p->frames);
    free(p->looks);
    library_clear(&p->library);
    *p = (struct sitter){0};
}

enum kb_code sitter_put(struct sitter *p, const AVFrame *frame, int number, const struct mesh *mesh,
                        struct kb_error *err)
{
    if (p->n == p->capacity) {
        int capacity = KB_MAX(p->capacity * 2, 256);
        void *records = realloc(p->records, (size_t)capacity * sizeof(p->records[0]));
        if (records)
            p->records = records;
        void *frames = realloc(p->frames, (size_t)capacity * sizeof(p->frames[0]));
        if (frames)
            p->frames = frames;
        void *looks = realloc(p->looks, (size_t)capacity * sizeof(p->looks[0]));
        if (looks)
            p->looks = looks;
        if (!records || !frames || !looks)
            return kb_no_memory(err);
        p->capacity = capacity;
    }
    record_pack(&p->records[p->n], mesh);
    cover_see(&p->looks[p->n], frame, mesh);
    p->frames[p->n++] = number;
    p->mesh = *mesh;
    mesh_box(mesh, p->box);
    p->last_us = frame->pts;
    p->active = true;
    p->area += (double)(p->box[2] - p->box[0]) * (double)(p->box[3] - p->box[1]);
    p->n_skin += library_skin(mesh, frame, p->skin);
    return library_offer(&p->library, frame, number, mesh, err);
}

// --- the end of a view ---

static void mean_skin(const struct sitter *p, float ret[3])
{
    static const float daylight[3] = {140, 118, 146}; // where its mouth is never in the picture
    for (int i = 0; i < 3; i++)
        ret[i] = p->n_skin ? (float)(p->skin[i] / (double)p->n_skin) : daylight[i];
}

// Where the mouth does not look as it does mostly in this view; such pictures of it are of no use.
static void judge_cover(struct sitter *p)
{
    struct cover_model usual;
    cover_learn(&usual, p->looks, p->n);
    for (int i = 0; i < p->n; i++) {
        float cover = cover_of(&usual, &p->looks[i]);
        p->records[i].cover = (uint16_t)lrintf(cover * 65535);
        if (cover >= COVERED)
            library_forget(&p->library, p->frames[i]);
    }
    p->hidden = (double)cover_hides(&usual) * p->n;
    free(TAKE(p->looks));
}

void sitter_end(struct sitter *p, int view)
{
    float skin[3];
    judge_cover(p);
    mean_skin(p, skin);
    likeness_of(&p->likeness, p->records, p->n, skin);
    p->ended = true;
    p->active = false;
    p->view = view;
}

enum kb_code sitter_join(struct sitter *q, struct sitter *p, struct kb_error *err)
{
    int n = q->n + p->n;
    void *records = realloc(q->records, (size_t)n * sizeof(q->records[0]));
    if (records)
        q->records = records;
    void *frames = realloc(q->frames, (size_t)n * sizeof(q->frames[0]));
    if (frames)
        q->frames = frames;
    if (!records || !frames)
        return kb_no_memory(err);
    memcpy(q->records + q->n, p->records, (size_t)p->n * sizeof(p->records[0]));
    memcpy(q->frames + q->n, p->frames, (size_t)p->n * sizeof(p->frames[0]));
    q->n = q->capacity = n;
    q->area += p->area;
    q->hidden += p->hidden;
    q->n_skin += p->n_skin;
    for (int i = 0; i < 3; i++)
        q->skin[i] += p->skin[i];
    likeness_add(&q->likeness, &p->likeness);
    library_join(&q->library, &p->library);
    q->view = p->view;
    sitter_clear(p);
    return KB_OK;
}

enum kb_code sitter_hand_over(struct sitter *p, int n_frames, struct track_identity *ret,
                              struct kb_error *err)
{
    ret->at = kb_calloc_checked((size_t)n_frames, sizeof(ret->at[0]));
    if (!ret->at)
        return kb_no_memory(err);
    memset(ret->at, 0xff, (size_t)n_frames * sizeof(ret->at[0])); // all -1
    for (int i = 0; i < p->n; i++)
        ret->at[p->frames[i]] = i;
    ret->hidden = (float)(p->hidden / p->n);
    mean_skin(p, ret->skin);
    library_take(&p->library, &ret->mouths, &ret->n_mouths);
    ret->n_records = p->n;
    ret->records = TAKE(p->records);
    return KB_OK;
}
