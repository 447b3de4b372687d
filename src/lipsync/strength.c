#include "lipsync/strength.h"

#include <math.h>
#include <stdlib.h>

// From these angles on the motion fades out, and beyond the second one there is none: one corner of
// the mouth is hidden, and what the mesh says of it is guessed.
#define YAW_FULL   0.65f // radians: 37 and 45 degrees
#define YAW_NONE   0.80f
#define PITCH_FULL 0.60f
#define PITCH_NONE 0.85f
// The same for how sure the mesh is.
#define SCORE_FULL 0.85f
#define SCORE_NONE 0.60f
// The same for the lips' distance from the picture's edge, in widths of the mouth.
#define EDGE_FULL 0.15f
#define EDGE_NONE 0.0f
// A frame with this cover is covered, and so are those beside it that have more than the second:
// fingers that linger at the corner of the mouth. Where nothing covers the mouth, six films reach
// 0.00, a seventh 0.20: a head that looks down at once, or the same film at crf 40.
#define COVER_ENTER   0.25f
#define COVER_LEAVE   0.1f
#define COVER_HOLD_US 400000
// What is before the lips all the time and moves with them looks wrong; it moves less.
#define HIDDEN_MUCH 0.3f // of the lower lip
#define HIDDEN_LESS 0.6f
#define FADE_US     160000 // from all to nothing, and back

// 1 up to `full`, 0 from `none` on.
static float falling(float v, float full, float none)
{
    float t = (v - full) / (none - full);
    return t <= 0 ? 1 : t >= 1 ? 0 : 1 - t * t * (3 - 2 * t);
}

// How far the outermost point of the lips is inside the picture, in widths of the mouth.
static float room_at_edge(const struct track_info *info, const struct track_face *face)
{
    float room = INFINITY, left = INFINITY, right = -INFINITY;
    for (int i = TRACK_OUTER_FIRST; i < TRACK_OUTER_FIRST + TRACK_N_LIPS; i++) {
        const float *p = face->points[i];
        left = fminf(left, p[0]);
        right = fmaxf(right, p[0]);
        room = fminf(room, fminf(fminf(p[0], (float)info->width - p[0]),
                                 fminf(p[1], (float)info->height - p[1])));
    }
    return room / fmaxf(right - left, 1);
}

// All but what the frames beside it tell.
static float strength_at(const struct track *track, const struct track_face *face)
{
    return falling(fabsf(face->yaw), YAW_FULL, YAW_NONE) *
           falling(fabsf(face->pitch), PITCH_FULL, PITCH_NONE) *
           falling(-face->score, -SCORE_FULL, -SCORE_NONE) *
           falling(-room_at_edge(track_info(track), face), -EDGE_FULL, -EDGE_NONE);
}

// The middle one of each three: a hand is there for more than a frame, a blurred picture is not.
static float steady(const float *covers, int n, int i)
{
    float a = covers[KB_MAX(i - 1, 0)], b = covers[i], c = covers[KB_MIN(i + 1, n - 1)];
    return fmaxf(fminf(a, b), fminf(fmaxf(a, b), c));
}

// Nothing where a frame is covered, where the cover comes and goes, and where it is away for a
// moment only: lips that start and stop again flutter.
static void spread_cover(const struct planned_frame *f, const float *covers, int n,
                         float *strengths)
{
    int end = -1; // of the last stretch that is covered
    for (int i = 0; i < n; i++) {
        if (covers[i] < COVER_ENTER)
            continue;
        int first = i;
        while (first > 0 && covers[first - 1] > COVER_LEAVE)
            first--;
        if (end >= 0 && f[first].pts_us - f[end].pts_us < COVER_HOLD_US)
            first = end;
        for (; i < n && covers[i] > COVER_LEAVE; i++)
            ;
        end = i;
        for (int k = first; k < end; k++)
            strengths[k] = 0;
    }
}

// No faster from one value to another than FADE_US allows; the lower value wins, so that the film
// shows through before the frame that needs it.
static void soften(const struct planned_frame *f, float *strengths, int n)
{
    for (int i = 1; i < n; i++) {
        float step = (float)(f[i].pts_us - f[i - 1].pts_us) / FADE_US;
        strengths[i] = fminf(strengths[i], strengths[i - 1] + step);
    }
    for (int i = n - 2; i >= 0; i--) {
        float step = (float)(f[i + 1].pts_us - f[i].pts_us) / FADE_US;
        strengths[i] = fminf(strengths[i], strengths[i + 1] + step);
    }
}

void strength_plan(const struct track *track, int face, const struct planned_frame *frames, int n,
                   int64_t speech_us, float *ret)
{
    size_t size = (size_t)KB_MAX(n, 1) * sizeof(float);
    CLEANUP(kb_freep) float *measured = kb_alloc(size), *covers = kb_alloc(size);
    for (int i = 0; i < n; i++) {
        struct track_face now;
        track_face(track, face, frames[i].track_frame, &now);
        measured[i] = now.cover;
        ret[i] = now.present && frames[i].pts_us < speech_us ? strength_at(track, &now) : 0;
    }
    for (int i = 0; i < n; i++)
        covers[i] = steady(measured, n, i);
    spread_cover(frames, covers, n, ret);
    soften(frames, ret, n);
    float hidden = falling(track_hidden(track, face), 0, HIDDEN_MUCH);
    for (int i = 0; i < n; i++)
        ret[i] *= 1 - HIDDEN_LESS * (1 - hidden);
}
