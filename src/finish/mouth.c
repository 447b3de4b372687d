#include "finish/mouth.h"

#define LOOKED_AT 500 // frames, evenly over the film

// First and last row of the lips, in pixels of the picture. False: nobody is there.
static bool rows_of(const struct finish_source *s, const struct finish_picture *p, int frame,
                    double ret[2])
{
    int member = cast_at(s->cast, frame);
    struct track_face f;
    if (member < 0)
        return false;
    track_face(s->track, cast_face(s->cast, member), frame, &f);
    if (!f.present)
        return false;
    float top = f.points[TRACK_OUTER_FIRST][1], bottom = top;
    for (int i = 1; i < TRACK_N_LIPS; i++) {
        top = KB_MIN(top, f.points[TRACK_OUTER_FIRST + i][1]);
        bottom = KB_MAX(bottom, f.points[TRACK_OUTER_FIRST + i][1]);
    }
    const struct finish_view *v = p->view;
    double film = track_info(s->track)->height, begin = 0, height = film;
    if (v) { // its window, in pixels of the film
        begin = (double)v->begin[KB_MIN(frame, v->n - 1)][1] * film / v->of;
        height = v->height * film / v->of;
    }
    ret[0] = ((double)top - begin) / height * p->height;
    ret[1] = ((double)bottom - begin) / height * p->height;
    return true;
}

double mouth_between(const struct finish_source *source, const struct finish_picture *picture,
                     double top, double bottom)
{
    if (!source->track || !source->cast)
        return 0;
    int n = track_info(source->track)->n_frames, step = 1 + n / LOOKED_AT;
    int n_seen = 0, n_between = 0;
    for (int i = 0; i < n; i += step) {
        double rows[2];
        if (!rows_of(source, picture, i, rows))
            continue;
        n_seen++;
        n_between += rows[1] > top && rows[0] < bottom;
    }
    return n_seen > 0 ? (double)n_between / n_seen : 0;
}
