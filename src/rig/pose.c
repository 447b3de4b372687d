// 3-D similarities: Umeyama's least squares, with the rotation from Horn's quaternion (Horn 1987,
// "Closed-form solution of absolute orientation using unit quaternions"): the eigenvector of the
// largest eigenvalue of a symmetric 4x4 matrix, which is never a reflection.
#include "rig/person.h"

#include <math.h>
#include <string.h>

void pose_apply(const struct pose *p, const float canonical[3], float ret_picture[2])
{
    for (int k = 0; k < 2; k++)
        ret_picture[k] = p->scale * (p->r[k][0] * canonical[0] + p->r[k][1] * canonical[1] +
                                     p->r[k][2] * canonical[2]) +
                         p->shift[k];
}

void pose_invert(const struct pose *p, const float picture[3], float ret_canonical[3])
{
    float d[3];
    for (int k = 0; k < 3; k++)
        d[k] = (picture[k] - p->shift[k]) / p->scale;
    for (int k = 0; k < 3; k++)
        ret_canonical[k] = p->r[0][k] * d[0] + p->r[1][k] * d[1] + p->r[2][k] * d[2];
}

void pose_angles(const struct pose *p, float *ret_yaw, float *ret_pitch)
{
    *ret_yaw = atan2f(p->r[2][0], hypotf(p->r[0][0], p->r[1][0]));
    *ret_pitch = atan2f(p->r[2][1], hypotf(p->r[0][1], p->r[1][1]));
}

// One Jacobi rotation that makes a[p][q] zero; v collects the rotations.
static void jacobi_rotate(double a[4][4], double v[4][4], int p, int q)
{
    if (fabs(a[p][q]) < 1e-300)
        return;
    double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
    double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;
    for (int k = 0; k < 4; k++) {
        double kp = a[k][p], kq = a[k][q];
        a[k][p] = c * kp - s * kq;
        a[k][q] = s * kp + c * kq;
    }
    for (int k = 0; k < 4; k++) {
        double pk = a[p][k], qk = a[q][k];
        a[p][k] = c * pk - s * qk;
        a[q][k] = s * pk + c * qk;
    }
    for (int k = 0; k < 4; k++) {
        double kp = v[k][p], kq = v[k][q];
        v[k][p] = c * kp - s * kq;
        v[k][q] = s * kp + c * kq;
    }
}

// The eigenvector of the largest eigenvalue of a (destroyed). False where the next one is as large:
// then any rotation about some axis fits as well.
static bool largest_eigenvector(double a[4][4], double ret[4])
{
    double v[4][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
    for (int sweep = 0; sweep < 30; sweep++) { // 6 or 7 are enough for any matrix
        double off = 0, all = 0;
        for (int p = 0; p < 4; p++)
            for (int q = 0; q < 4; q++) {
                all += a[p][q] * a[p][q];
                off += p == q ? 0 : a[p][q] * a[p][q];
            }
        if (off <= 1e-28 * all)
            break;
        for (int p = 0; p < 3; p++)
            for (int q = p + 1; q < 4; q++)
                jacobi_rotate(a, v, p, q);
    }
    int best = 0;
    for (int k = 1; k < 4; k++)
        if (a[k][k] > a[best][best])
            best = k;
    double next = -INFINITY;
    for (int k = 0; k < 4; k++)
        if (k != best)
            next = fmax(next, a[k][k]);
    for (int k = 0; k < 4; k++)
        ret[k] = v[k][best];
    return a[best][best] > 0 && a[best][best] - next > 1e-4 * a[best][best];
}

static void rotation_of(const double q[4], float ret[3][3])
{
    double w = q[0], x = q[1], y = q[2], z = q[3];
    double n = w * w + x * x + y * y + z * z;
    const double r[3][3] = {
        {w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)},
        {2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)},
        {2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z}};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++)
            ret[i][k] = (float)(r[i][k] / n);
}

// What the fit needs of the points: their weighted means, s[i][k] = sum of a_i b_k about the means,
// and the squares of a. False if no weight is left or something is not finite.
struct moments {
    double mean_a[3], mean_b[3], s[3][3], squares;
};

static bool moments_of(const float (*a)[3], const float (*b)[3], const float *weights, int n,
                       struct moments *ret)
{
    memset(ret, 0, sizeof(*ret));
    double total = 0;
    for (int i = 0; i < n; i++) {
        double w = weights ? (double)weights[i] : 1;
        for (int k = 0; k < 3; k++) {
            ret->mean_a[k] += w * (double)a[i][k];
            ret->mean_b[k] += w * (double)b[i][k];
        }
        total += w;
    }
    if (!(total > 0) || !isfinite(total))
        return false;
    for (int k = 0; k < 3; k++) {
        ret->mean_a[k] /= total;
        ret->mean_b[k] /= total;
    }
    for (int i = 0; i < n; i++) {
        double w = weights ? (double)weights[i] : 1;
        for (int j = 0; j < 3; j++) {
            double d = (double)a[i][j] - ret->mean_a[j];
            ret->squares += w * d * d;
            for (int k = 0; k < 3; k++)
                ret->s[j][k] += w * d * ((double)b[i][k] - ret->mean_b[k]);
        }
    }
    double sum = ret->squares;
    for (int j = 0; j < 3; j++)
        for (int k = 0; k < 3; k++)
            sum += ret->s[j][k];
    return isfinite(sum) && ret->squares > 0;
}

bool pose_fit(struct pose *ret, const float (*canonical)[3], const float (*picture)[3],
              const float *weights, int n)
{
    struct moments m;
    if (n < 3 || !moments_of(canonical, picture, weights, n, &m))
        return false;
    const double(*s)[3] = (const double(*)[3])m.s;
    double horn[4][4] = {
        {s[0][0] + s[1][1] + s[2][2], s[1][2] - s[2][1], s[2][0] - s[0][2], s[0][1] - s[1][0]},
        {s[1][2] - s[2][1], s[0][0] - s[1][1] - s[2][2], s[0][1] + s[1][0], s[2][0] + s[0][2]},
        {s[2][0] - s[0][2], s[0][1] + s[1][0], -s[0][0] + s[1][1] - s[2][2], s[1][2] + s[2][1]},
        {s[0][1] - s[1][0], s[2][0] + s[0][2], s[1][2] + s[2][1], -s[0][0] - s[1][1] + s[2][2]}};
    double q[4];
    if (!largest_eigenvector(horn, q))
        return false;
    struct pose p;
    rotation_of(q, p.r);
    double along = 0;
    for (int j = 0; j < 3; j++)
        for (int k = 0; k < 3; k++)
            along += (double)p.r[k][j] * m.s[j][k];
    p.scale = (float)(along / m.squares);
    if (!(p.scale > 0) || !isfinite(p.scale))
        return false;
    for (int k = 0; k < 3; k++) {
        double turned = 0;
        for (int j = 0; j < 3; j++)
            turned += (double)p.r[k][j] * m.mean_a[j];
        p.shift[k] = (float)(m.mean_b[k] - (double)p.scale * turned);
    }
    *ret = p;
    return true;
}
