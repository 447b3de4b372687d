#include "rig/field.h"

#include "base/vectorise.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Distances of the rows from the lips' line, fractions of the way to the foot of the nose (above)
// and to the chin (below): fine where the lips are.
static const float upper_rows[FIELD_UPPER] = {0,     0.06f, 0.13f, 0.21f, 0.30f, 0.41f, 0.53f,
                                              0.67f, 0.84f, 1.05f, 1.35f, 1.7f,  2.1f,  2.5f};
static const float lower_rows[FIELD_LOWER] = {0,     0.03f, 0.065f, 0.10f, 0.14f, 0.185f,
                                              0.24f, 0.30f, 0.37f,  0.45f, 0.54f, 0.64f,
                                              0.76f, 0.89f, 1.03f,  1.19f, 1.38f, 1.6f};
// Distances of the columns beyond the corners of the mouth, fractions of the mouth's width.
static const float outer_columns[FIELD_LEFT + 1] = {0,     0.05f, 0.11f, 0.19f, 0.29f,
                                                    0.43f, 0.62f, 0.85f, 1.1f};

#define STIFFNESS   3e-6
#define WEIGHT_LIP  1.0
#define WEIGHT_SKIN 0.15

struct field {
    float rest[FIELD_POINTS][3];
    int n_controls;
    uint8_t controls[TRACK_N_POINTS];
    float anchors[TRACK_N_POINTS][3];
    float *basis; // FIELD_POINTS rows of n_controls
    // --- while it is made
    float x[FIELD_COLUMNS], line[FIELD_COLUMNS]; // of each column: x, y of the lips' line
    float rows[2][FIELD_UPPER > FIELD_LOWER ? FIELD_UPPER : FIELD_LOWER]; // distances, canonical
};

static const int n_rows[2] = {FIELD_UPPER, FIELD_LOWER};

// --- the sheet at rest ---

// y of the line between the inner lips at x, level beyond the corners.
static float line_at(const float (*neutral)[3], float x)
{
    float before[2] = {0}, at[2];
    for (int i = 0; i <= 10; i++) {
        const float *upper = neutral[TRACK_INNER_FIRST + i];
        const float *lower = neutral[TRACK_INNER_FIRST + (20 - i) % 20];
        at[0] = (upper[0] + lower[0]) / 2;
        at[1] = (upper[1] + lower[1]) / 2;
        if (i == 0 && x <= at[0])
            return at[1];
        if (i > 0 && x <= at[0]) {
            float t = (x - before[0]) / fmaxf(at[0] - before[0], 1e-6f);
            return before[1] + (at[1] - before[1]) * fmaxf(t, 0);
        }
        memcpy(before, at, sizeof(before));
    }
    return before[1];
}

static enum kb_code lay_out(struct field *f, const struct person *p, struct kb_error *err)
{
    const float(*n)[3] = p->neutral;
    const float *left = n[TRACK_INNER_FIRST], *right = n[TRACK_INNER_FIRST + 10];
    float width = right[0] - left[0], middle = line_at(n, (left[0] + right[0]) / 2);
    float nose = middle - n[track_point_of(2)][1], chin = n[track_point_of(152)][1] - middle;
    if (!(width > 0.05f && width < 1 && nose > 0.02f && nose < 1 && chin > 0.05f && chin < 1))
        return kb_fail(
            err, KB_BAD_INPUT,
            _("this face's landmarks make no mouth (width %.3f, to the nose %.3f, to the "
              "chin %.3f)"),
            (double)width, (double)nose, (double)chin);
    for (int c = 0; c < FIELD_COLUMNS; c++) {
        if (c < FIELD_LEFT)
            f->x[c] = left[0] - outer_columns[FIELD_LEFT - c] * width;
        else if (c > FIELD_RIGHT)
            f->x[c] = right[0] + outer_columns[c - FIELD_RIGHT] * width;
        else
            f->x[c] = left[0] + width * (float)(c - FIELD_LEFT) / (FIELD_RIGHT - FIELD_LEFT);
        f->line[c] = line_at(n, f->x[c]);
    }
    for (int r = 0; r < FIELD_UPPER; r++)
        f->rows[0][r] = upper_rows[r] * nose;
    for (int r = 0; r < FIELD_LOWER; r++)
        f->rows[1][r] = lower_rows[r] * chin;
    for (int side = 0; side < 2; side++)
        for (int r = 0; r < n_rows[side]; r++)
            for (int c = 0; c < FIELD_COLUMNS; c++) {
                float *at = f->rest[field_point(side, r, c)];
                at[0] = f->x[c];
                at[1] = f->line[c] + (side ? f->rows[1][r] : -f->rows[0][r]);
            }
    return KB_OK;
}

// --- the plate ---

// The unknowns are numbered down the columns, upper side from its edge to the line, then the lower
// side, so that neighbours are near: the matrix is a band.
#define COLUMN_UNKNOWNS (FIELD_UPPER + FIELD_LOWER)
#define BAND            (2 * COLUMN_UNKNOWNS + 4)

struct plate {
    bool clamped; // the outer edge is held
    int n;
    int number[FIELD_POINTS]; // of the unknown, -1 = held at 0
    double *matrix;           // n rows of BAND + 1: (i, i - BAND … i)
};

static bool is_edge(int side, int row, int column)
{
    return row == n_rows[side] - 1 || column == 0 || column == FIELD_COLUMNS - 1;
}

static void number_unknowns(struct plate *p)
{
    p->n = 0;
    for (int c = 0; c < FIELD_COLUMNS; c++) {
        for (int side = 0; side < 2; side++)
            for (int k = 0; k < n_rows[side]; k++) {
                int row = side ? k : n_rows[0] - 1 - k;
                bool joined = side == 1 && row == 0 && (c <= FIELD_LEFT || c >= FIELD_RIGHT);
                p->number[field_point(side, row, c)] = p->clamped && is_edge(side, row, c) ? -1
                                                       : joined ? p->number[field_point(0, 0, c)]
                                                                : p->n++;
            }
    }
}

// One squared linear form: the point's share of it.
struct term {
    int number;
    double factor;
};

static void add_square(struct plate *p, const struct term *terms, int n, double weight)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            int a = terms[i].number, b = terms[j].number;
            if (a < 0 || b < 0 || b > a)
                continue;
            assert(a - b <= BAND);
            p->matrix[(ptrdiff_t)a * (BAND + 1) + BAND - (a - b)] +=
                weight * terms[i].factor * terms[j].factor;
        }
}

// Bending along three points of which the middle one is h1 after the first and h2 before the last.
static void add_bending(struct plate *p, int a, int b, int c, double h1, double h2, double area)
{
    double s = 2 / (h1 + h2);
    struct term t[3] = {{a, s / h1}, {b, -s / h1 - s / h2}, {c, s / h2}};
    add_square(p, t, 3, STIFFNESS * area);
}

// The point that lies `step` rows from a row of a side, across the line too; -2: no plate there,
// -1: beyond the edge (held).
static int neighbour(const struct plate *p, int side, int row, int column, int step)
{
    int to = row + step;
    if (to < 0) {
        if (column > FIELD_LEFT && column < FIELD_RIGHT)
            return -2;
        side = !side;
        to = -to;
    }
    if (to >= n_rows[side])
        return p->clamped ? -1 : -2;
    return p->number[field_point(side, to, column)];
}

static double gap(const float *at, int i, int n)
{
    return (double)(i + 1 < n ? at[i + 1] - at[i] : at[i] - at[i - 1]);
}

static void add_plate(struct plate *p, const struct field *f)
{
    for (int side = 0; side < 2; side++)
        for (int r = 0; r < n_rows[side]; r++)
            for (int c = 0; c < FIELD_COLUMNS; c++) {
                const float *rows = f->rows[side];
                int here = p->number[field_point(side, r, c)];
                double down = gap(rows, r, n_rows[side]), across = gap(f->x, c, FIELD_COLUMNS);
                double up = r > 0 ? (double)(rows[r] - rows[r - 1]) : (double)f->rows[!side][1];
                double back = c > 0 ? (double)(f->x[c] - f->x[c - 1]) : across;
                double area = (down + up) * (across + back) / 4;
                int before = neighbour(p, side, r, c, -1), after = neighbour(p, side, r, c, 1);
                // On the joined line the lower side would say the same again.
                bool joined = r == 0 && (c <= FIELD_LEFT || c >= FIELD_RIGHT);
                if (before != -2 && after != -2 && !(joined && side == 1))
                    add_bending(p, before, here, after, up, down, area);
                int left = c > 0 ? p->number[field_point(side, r, c - 1)] : -1;
                int right = c < FIELD_COLUMNS - 1 ? p->number[field_point(side, r, c + 1)] : -1;
                if ((c > 0 && c < FIELD_COLUMNS - 1) || p->clamped)
                    add_bending(p, left, here, right, back, across, area);
                if (r + 1 < n_rows[side] && c + 1 < FIELD_COLUMNS) {
                    double s = 1 / (down * across);
                    struct term t[4] = {{here, s},
                                        {p->number[field_point(side, r, c + 1)], -s},
                                        {p->number[field_point(side, r + 1, c)], -s},
                                        {p->number[field_point(side, r + 1, c + 1)], s}};
                    add_square(p, t, 4, 2 * STIFFNESS * down * across);
                }
            }
}

// Cholesky, in place: matrix = L L'. The band's zeros stay.
static bool factor(struct plate *p)
{
    for (int i = 0; i < p->n; i++) {
        double *row = p->matrix + (ptrdiff_t)i * (BAND + 1);
        for (int j = KB_MAX(i - BAND, 0); j <= i; j++) {
            const double *other = p->matrix + (ptrdiff_t)j * (BAND + 1);
            double sum = row[BAND - (i - j)];
            for (int k = KB_MAX(i - BAND, 0); k < j; k++)
                sum -= row[BAND - (i - k)] * other[BAND - (j - k)];
            if (j < i)
                row[BAND - (i - j)] = sum / other[BAND];
            else if (!(sum > 1e-12))
                return false;
            else
                row[BAND] = sqrt(sum);
        }
    }
    return true;
}

static void solve(const struct plate *p, double *x)
{
    for (int i = 0; i < p->n; i++) {
        const double *row = p->matrix + (ptrdiff_t)i * (BAND + 1);
        for (int k = KB_MAX(i - BAND, 0); k < i; k++)
            x[i] -= row[BAND - (i - k)] * x[k];
        x[i] /= row[BAND];
    }
    for (int i = p->n - 1; i >= 0; i--) {
        const double *row = p->matrix + (ptrdiff_t)i * (BAND + 1);
        x[i] /= row[BAND];
        for (int k = KB_MAX(i - BAND, 0); k < i; k++)
            x[k] -= row[BAND - (i - k)] * x[i];
    }
}

// --- landmarks on the sheet ---

static int cell_of(const float *at, int n, float x, float *ret_t)
{
    int i = 0;
    while (i < n - 2 && x >= at[i + 1])
        i++;
    *ret_t = (x - at[i]) / (at[i + 1] - at[i]);
    return i;
}

static bool is_inner(int point)
{
    return point >= TRACK_INNER_FIRST && point < TRACK_INNER_FIRST + TRACK_N_LIPS;
}

// -1 unknown, 0 the upper lip, 1 the lower; of the three rings of lips.
static int lip_of(int point)
{
    static const int rings[] = {TRACK_OUTER_FIRST, TRACK_INNER_FIRST, TRACK_MIDDLE_FIRST};
    for (size_t i = 0; i < ARRAY_LEN(rings); i++) {
        int k = point - rings[i];
        if (k >= 0 && k < TRACK_N_LIPS && k != 0 && k != 10)
            return k > 10;
    }
    return -1;
}

// Where a landmark lies: the four points of its cell and their weights. False: beyond the sheet.
static bool place(const struct field *f, const float at[3], int point, int ret_points[4],
                  double ret_weights[4])
{
    float tx, ty;
    int c = cell_of(f->x, FIELD_COLUMNS, at[0], &tx);
    float line = f->line[c] + (f->line[c + 1] - f->line[c]) * tx;
    float distance = at[1] - line;
    int side = lip_of(point) >= 0 ? lip_of(point) : distance > 0;
    distance = is_inner(point) ? 0 : fmaxf(side ? distance : -distance, 0);
    int r = cell_of(f->rows[side], n_rows[side], distance, &ty);
    if (!(tx >= 0 && tx <= 1 && ty >= 0 && ty <= 1))
        return false;
    for (int k = 0; k < 4; k++) {
        ret_points[k] = field_point(side, r + (k >> 1), c + (k & 1));
        ret_weights[k] = (double)((k & 1 ? tx : 1 - tx) * (k >> 1 ? ty : 1 - ty));
    }
    return true;
}

// The points of the oval that the jaw moves: from one of its angles (FaceMesh 288) to the other
// (58).
#define JAW_FIRST 11
#define JAW_LAST  25

// Landmarks of nose, cheeks and temples hold the sheet still.
static bool is_still(int point)
{
    return (point >= TRACK_STILL_FIRST && point < TRACK_STILL_FIRST + TRACK_N_STILL) ||
           (point >= TRACK_OTHER_FIRST && point < TRACK_MIDDLE_FIRST) || point < JAW_FIRST ||
           (point > JAW_LAST && point < TRACK_N_OVAL);
}

static bool is_control(int point)
{
    return (point >= TRACK_OUTER_FIRST && point < TRACK_INNER_FIRST + TRACK_N_LIPS) ||
           (point >= TRACK_MIDDLE_FIRST && point < TRACK_LOWER_FIRST + TRACK_N_LOWER) ||
           (point >= JAW_FIRST && point <= JAW_LAST);
}

static double weight_of(int point)
{
    return (point >= TRACK_OUTER_FIRST && point < TRACK_INNER_FIRST + TRACK_N_LIPS) ||
                   (point >= TRACK_MIDDLE_FIRST && point < TRACK_MIDDLE_FIRST + TRACK_N_LIPS)
               ? WEIGHT_LIP
               : WEIGHT_SKIN;
}

static void add_landmarks(struct plate *p, const struct field *f, const struct person *person)
{
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        int points[4];
        double weights[4];
        struct term t[4];
        if (!(is_control(i) || is_still(i)) || !place(f, person->neutral[i], i, points, weights))
            continue;
        for (int k = 0; k < 4; k++)
            t[k] = (struct term){p->number[points[k]], weights[k]};
        add_square(p, t, 4, weight_of(i));
    }
}

// The right side of one landmark that moves by 1.
static void load_landmark(const struct plate *p, const struct field *f, const struct person *person,
                          int point, double value, double *x)
{
    int points[4];
    double weights[4];
    if (!place(f, person->neutral[point], point, points, weights))
        return;
    for (int k = 0; k < 4; k++)
        if (p->number[points[k]] >= 0)
            x[p->number[points[k]]] += weight_of(point) * weights[k] * value;
}

static bool plate_make(struct plate *p, const struct field *f, const struct person *person,
                       bool clamped)
{
    p->clamped = clamped;
    number_unknowns(p);
    p->matrix = kb_alloc((size_t)p->n * (BAND + 1) * sizeof(double));
    add_plate(p, f);
    add_landmarks(p, f, person);
    return factor(p);
}

static void plate_clear(struct plate *p)
{
    free(p->matrix);
}

// Depth of the resting sheet: a free plate through the landmarks' depths.
static bool give_depth(struct field *f, const struct person *person)
{
    CLEANUP(plate_clear) struct plate p = {0};
    if (!plate_make(&p, f, person, false))
        return false;
    CLEANUP(kb_freep) double *x = kb_alloc((size_t)p.n * sizeof(*x));
    for (int i = 0; i < TRACK_N_POINTS; i++)
        if (is_control(i) || is_still(i))
            load_landmark(&p, f, person, i, (double)person->neutral[i][2], x);
    solve(&p, x);
    for (int i = 0; i < FIELD_POINTS; i++)
        f->rest[i][2] = (float)x[p.number[i]];
    return true;
}

static bool find_basis(struct field *f, const struct person *person)
{
    CLEANUP(plate_clear) struct plate p = {0};
    if (!plate_make(&p, f, person, true))
        return false;
    CLEANUP(kb_freep) double *x = kb_alloc((size_t)p.n * sizeof(*x));
    f->basis = kb_alloc((size_t)FIELD_POINTS * (size_t)f->n_controls * sizeof(float));
    for (int k = 0; k < f->n_controls; k++) {
        memset(x, 0, (size_t)p.n * sizeof(*x));
        load_landmark(&p, f, person, f->controls[k], 1, x);
        solve(&p, x);
        for (int i = 0; i < FIELD_POINTS; i++)
            f->basis[i * f->n_controls + k] = p.number[i] < 0 ? 0 : (float)x[p.number[i]];
    }
    return true;
}

// Landmarks beyond the sheet move nothing.
static void find_controls(struct field *f, const struct person *person)
{
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        int points[4];
        double weights[4];
        if (is_control(i) && place(f, person->neutral[i], i, points, weights))
            f->controls[f->n_controls++] = (uint8_t)i;
    }
}

static void find_anchors(struct field *f, const struct person *person)
{
    for (int i = 0; i < f->n_controls; i++) {
        int points[4];
        double weights[4];
        bool placed = place(f, person->neutral[f->controls[i]], f->controls[i], points, weights);
        assert(placed); // else it would be no control
        for (int k = 0; k < 4; k++)
            for (int j = 0; j < 3; j++)
                f->anchors[i][j] += (float)weights[k] * f->rest[points[k]][j];
    }
}

enum kb_code field_create(struct field **ret, const struct person *person, struct kb_error *err)
{
    CLEANUP(field_free) struct field *f = kb_alloc(sizeof(*f));
    enum kb_code code = lay_out(f, person, err);
    if (code != KB_OK)
        return code;
    find_controls(f, person);
    if (!give_depth(f, person) || !find_basis(f, person))
        return kb_fail(err, KB_BAD_INPUT, _("this face's landmarks make no skin around the mouth"));
    find_anchors(f, person);
    *ret = TAKE(f);
    return KB_OK;
}

const float (*field_anchors(const struct field *f))[3]
{
    return (const float(*)[3])f->anchors;
}

void field_free(struct field **f)
{
    if (!*f)
        return;
    free((*f)->basis);
    free(*f);
    *f = NULL;
}

const float (*field_rest(const struct field *f))[3]
{
    return (const float(*)[3])f->rest;
}

int field_controls(const struct field *f, const uint8_t **ret)
{
    *ret = f->controls;
    return f->n_controls;
}

KB_VECTORISED void field_move(const struct field *f, const float *v, int n_values, float *ret)
{
    for (int i = 0; i < FIELD_POINTS; i++) {
        const float *weights = f->basis + (ptrdiff_t)i * f->n_controls;
        for (int k = 0; k < n_values; k += 4) {
            float sum[4] = {0};
            for (int c = 0; c < f->n_controls; c++)
                for (int j = 0; j < 4; j++)
                    sum[j] += weights[c] * v[c * n_values + k + j];
            memcpy(ret + (ptrdiff_t)i * n_values + k, sum, sizeof(sum));
        }
    }
}
