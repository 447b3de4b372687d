// What the figures were measured on: 36 joins of six clips of different people change by 55 to 127
// (the mean difference of a cell, Y, U and V added) and 30 times as much as the frames beside them;
// no frame of 17 films without a cut, shaken, panned, at 5 frames a second or at 40 kbit/s among
// them, that changes by more than 8 does so 3 times as much. Around the face jump cuts reach 2.2
// to 7 times where anything moves by more than a hundredth of the face, real motion 2.0.
#include "face/cut.h"

#include "media/frame.h"

#include <math.h>
#include <stdlib.h>

#define SIDE    48
#define CELLS   (SIDE * SIDE)
#define SAMPLES 4 // of luma, along each side of a cell; half as many of U and V
#define KEPT    8 // frames: three before, the one in question, CUT_AHEAD after it
_Static_assert(KEPT >= 3 + 1 + CUT_AHEAD, "all frames that are compared are there");

#define AROUND     0.15f // of a face's size, looked at beside it
#define VIEW       8.0f  // change of the whole picture
#define VIEW_TIMES 4.0f  // more than the frames beside it
#define FACE       12.0f // change around the faces, so large that it may be somebody else
#define FACE_TIMES 3.5f
#define JUMP       3.5f // change around the faces
#define JUMP_TIMES 2.2f
#define NOISE      0.5f // change of a picture that stands still
#define STAYS      0.6f // of the change is still there two frames later

struct cuts {
    int n; // frames seen
    int width, height;
    float cells[KEPT][3][CELLS];
    bool new_shot[KEPT]; // as the reader says
};

struct cuts *cuts_create(void)
{
    return kb_alloc(sizeof(struct cuts));
}

void cuts_free(struct cuts **c)
{
    free(*c);
    *c = NULL;
}

// The mean of each cell's samples. They are added as whole numbers, cell by cell in a row: sums of
// floats would wait for each other.
static void plane_cells(const uint8_t *data, ptrdiff_t stride, int width, int height, int samples,
                        float *ret)
{
    int columns[SIDE * SAMPLES], n = SIDE * samples;
    for (int i = 0; i < n; i++)
        columns[i] = (int)(((int64_t)2 * i + 1) * width / (2 * n));
    for (int y = 0; y < SIDE; y++) {
        int sums[SIDE] = {0};
        for (int row = y * samples; row < (y + 1) * samples; row++) {
            const uint8_t *line = data + ((int64_t)2 * row + 1) * height / (2 * n) * stride;
            for (int x = 0; x < SIDE; x++)
                for (int i = x * samples; i < (x + 1) * samples; i++)
                    sums[x] += line[columns[i]];
        }
        for (int x = 0; x < SIDE; x++)
            ret[y * SIDE + x] = (float)sums[x] / (float)(samples * samples);
    }
}

void cuts_see(struct cuts *c, const AVFrame *frame)
{
    int place = c->n++ % KEPT;
    float(*cells)[CELLS] = c->cells[place];
    c->new_shot[place] = frame_is_new_shot(frame);
    c->width = frame->width;
    c->height = frame->height;
    for (int plane = 0; plane < 3; plane++) {
        int half = plane > 0;
        plane_cells(frame->data[plane], frame->linesize[plane], (frame->width + half) >> half,
                    (frame->height + half) >> half, SAMPLES >> half, cells[plane]);
    }
}

// The cells of the faces, and beside them so far as this part of their size; false where there are
// none.
static bool mark_cells(const struct cuts *c, const float (*boxes)[4], int n, float beside,
                       bool *ret)
{
    int marked = 0;
    for (int i = 0; i < CELLS; i++) {
        float x = ((float)(i % SIDE) + 0.5f) * (float)c->width / SIDE;
        float y = ((float)(i / SIDE) + 0.5f) * (float)c->height / SIDE;
        ret[i] = false;
        for (int k = 0; k < n && !ret[i]; k++) {
            const float *b = boxes[k];
            float w = (b[2] - b[0]) * beside, h = (b[3] - b[1]) * beside;
            ret[i] = x > b[0] - w && x < b[2] + w && y > b[1] - h && y < b[3] + h;
        }
        marked += ret[i];
    }
    return marked > 0;
}

// Mean difference of the marked cells (NULL: of all) of two frames.
static float change(const struct cuts *c, int a, int b, const bool *marked)
{
    const float(*x)[CELLS] = c->cells[a % KEPT], (*y)[CELLS] = c->cells[b % KEPT];
    float sum = 0;
    int n = 0;
    for (int i = 0; i < CELLS; i++) {
        if (marked && !marked[i])
            continue;
        sum += fabsf(x[0][i] - y[0][i]) + fabsf(x[1][i] - y[1][i]) + fabsf(x[2][i] - y[2][i]);
        n++;
    }
    return sum / (float)KB_MAX(n, 1);
}

// How many times as much as the frames beside it, if it stays; else 0.
static float stands_out(const struct cuts *c, int frame, float by, const bool *marked)
{
    int first = KB_MAX(frame - 2, 0), last = KB_MIN(frame + CUT_AHEAD, c->n - 1);
    float beside = 0;
    for (int i = KB_MAX(first, 1); i <= last; i++)
        if (i != frame)
            beside = fmaxf(beside, change(c, i - 1, i, marked));
    for (int before = first; before < frame; before++)
        for (int after = frame; after <= last; after++)
            if (change(c, before, after, marked) < STAYS * by)
                return 0;
    return by / (beside + NOISE);
}

// A slide that changes behind somebody in a corner is none of their business.
static bool face_changes(const struct cuts *c, int frame, const bool *faces)
{
    float by = change(c, frame - 1, frame, faces);
    return by > JUMP && stands_out(c, frame, by, faces) > JUMP_TIMES;
}

enum cut cuts_before(const struct cuts *c, int frame, const float (*boxes)[4], int n)
{
    bool faces[CELLS];
    if (frame < 1)
        return CUT_NONE;
    if (c->new_shot[frame % KEPT])
        return CUT_VIEW;
    float whole = change(c, frame - 1, frame, NULL);
    if (whole > VIEW && stands_out(c, frame, whole, NULL) > VIEW_TIMES)
        return mark_cells(c, boxes, n, 0, faces) && !face_changes(c, frame, faces) ? CUT_NONE
                                                                                   : CUT_VIEW;
    if (!mark_cells(c, boxes, n, AROUND, faces))
        return CUT_NONE;
    float around = change(c, frame - 1, frame, faces);
    float times = around > JUMP ? stands_out(c, frame, around, faces) : 0;
    if (around > FACE && times > FACE_TIMES)
        return CUT_VIEW;
    return times > JUMP_TIMES ? CUT_JUMP : CUT_NONE;
}
