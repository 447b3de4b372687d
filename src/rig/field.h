// A sheet of skin around the mouth, cut along the line between the lips: a grid of points in
// canonical units, and how each of them moves when the landmarks move.
//
// The sheet bends as a thin plate does. With f the displacement of the sheet's points and v_i that
// of the landmarks (at bilinear weights a_i of the sheet's points), f minimises
//     sum_i w_i (a_i . f - v_i)^2  +  stiffness * integral(f_xx^2 + 2 f_xy^2 + f_yy^2)
// with f = 0 and no slope at the outer edge, so that nothing beyond the sheet moves. Across the
// line between the lips there is no plate: the upper lip does not pull the lower one. f is linear
// in v, so it is solved once for a person (banded Cholesky) and costs a product with a matrix a
// frame.
//
// A struct field is read-only once made, any thread.
#ifndef RIG_FIELD_H
#define RIG_FIELD_H

#include "rig/person.h"

#define FIELD_COLUMNS 37
#define FIELD_UPPER   14 // rows, the first along the lips' line
#define FIELD_LOWER   18
#define FIELD_LEFT    8 // columns of the corners of the mouth
#define FIELD_RIGHT   28
#define FIELD_POINTS  ((FIELD_UPPER + FIELD_LOWER) * FIELD_COLUMNS)

// Row r, from the lips' line outwards, of the side; side 0 is above, 1 below. Outside the mouth
// both sides have the same points in row 0.
static inline int field_point(int side, int row, int column)
{
    return ((side ? FIELD_UPPER : 0) + row) * FIELD_COLUMNS + column;
}

struct field;

// KB_BAD_INPUT where the person's mouth has no width.
enum kb_code field_create(struct field **ret, const struct person *person, struct kb_error *err);
void field_free(struct field **f);

// FIELD_POINTS places on the resting face, canonical.
const float (*field_rest(const struct field *f))[3];
// The landmarks that move the sheet: positions among the track's points.
int field_controls(const struct field *f, const uint8_t **ret);
// Where each of them lies on the resting sheet: the inner lips on the line between them.
const float (*field_anchors(const struct field *f))[3];
// What the sheet's points do when the landmarks do v: for n_values numbers at each landmark
// (v[control * n_values + k]), the same at each point (ret[point * n_values + k]). n_values a
// multiple of 4.
void field_move(const struct field *f, const float *v, int n_values, float *ret);

#endif
