#include "tests/nn/plain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *at(const struct plain *p, int y, int x, int c)
{
    return &p->data[((int64_t)y * p->w + x) * p->c + c];
}

static float activate(const struct op *op, float v, int c)
{
    switch (op->act) {
    case ACT_RELU:
        return fmaxf(v, 0);
    case ACT_RELU6:
        return fminf(fmaxf(v, 0), 6);
    case ACT_PRELU:
        return v > 0 ? v : v * op->slope[c];
    case ACT_LEAKY_RELU:
        return v > 0 ? v : v * op->alpha;
    case ACT_SIGMOID:
        return 1 / (1 + expf(-v));
    case ACT_HARD_SWISH:
        return v * fminf(fmaxf(v + 3, 0), 6) / 6;
    default:
        return v;
    }
}

static void plain_conv(const struct op *op, const struct plain *x, const struct plain *y)
{
    int in_per_group = x->c / op->groups, out_per_group = y->c / op->groups;
    for (int oy = 0; oy < y->h; oy++)
        for (int ox = 0; ox < y->w; ox++)
            for (int o = 0; o < y->c; o++) {
                double sum = op->bias ? op->bias[o] : 0;
                for (int i = 0; i < in_per_group; i++)
                    for (int ky = 0; ky < op->kernel_h; ky++)
                        for (int kx = 0; kx < op->kernel_w; kx++) {
                            int iy = oy * op->stride_h + ky * op->dilation_h - op->pad_top;
                            int ix = ox * op->stride_w + kx * op->dilation_w - op->pad_left;
                            if (iy < 0 || ix < 0 || iy >= x->h || ix >= x->w)
                                continue;
                            int w =
                                ((o * in_per_group + i) * op->kernel_h + ky) * op->kernel_w + kx;
                            sum += op->weight[w] *
                                   *at(x, iy, ix, o / out_per_group * in_per_group + i);
                        }
                *at(y, oy, ox, o) = (float)sum;
            }
}

static void plain_deconv(const struct op *op, const struct plain *x, const struct plain *y)
{
    for (int oy = 0; oy < y->h; oy++)
        for (int ox = 0; ox < y->w; ox++)
            for (int o = 0; o < y->c; o++)
                *at(y, oy, ox, o) = op->bias ? op->bias[o] : 0;
    for (int iy = 0; iy < x->h; iy++)
        for (int ix = 0; ix < x->w; ix++)
            for (int i = 0; i < x->c; i++)
                for (int o = 0; o < y->c; o++)
                    for (int ky = 0; ky < op->kernel_h; ky++)
                        for (int kx = 0; kx < op->kernel_w; kx++) {
                            int oy = iy * op->stride_h + ky - op->pad_top;
                            int ox = ix * op->stride_w + kx - op->pad_left;
                            if (oy < 0 || ox < 0 || oy >= y->h || ox >= y->w)
                                continue;
                            int w = ((i * y->c + o) * op->kernel_h + ky) * op->kernel_w + kx;
                            *at(y, oy, ox, o) += op->weight[w] * *at(x, iy, ix, i);
                        }
}

// Source element of one output element for the operations that only move numbers.
static float moved(const struct op *op, const struct plain *v, int y, int x, int c)
{
    const struct plain *a = &v[op->in[0]];
    switch (op->kind) {
    case OP_PAD:
        y -= op->pad_top;
        x -= op->pad_left;
        return y >= 0 && x >= 0 && y < a->h && x < a->w && c < a->c ? *at(a, y, x, c) : 0;
    case OP_RESHAPE:
        return a->data[((int64_t)y * op->out_w + x) * op->out_c + c];
    case OP_CONCAT:
        for (int k = 0; k < op->n_in; k++) {
            const struct plain *p = &v[op->in[k]];
            if (y < p->h && x < p->w && c < p->c)
                return *at(p, y, x, c);
            y -= op->axis == 'h' ? p->h : 0;
            x -= op->axis == 'w' ? p->w : 0;
            c -= op->axis == 'c' ? p->c : 0;
        }
        return NAN;
    default:
        return NAN;
    }
}

static void plain_rest(const struct op *op, const struct plain *v)
{
    const struct plain *a = &v[op->in[0]], *y = &v[op->out];
    for (int oy = 0; oy < y->h; oy++)
        for (int ox = 0; ox < y->w; ox++)
            for (int c = 0; c < y->c; c++) {
                float *out = at(y, oy, ox, c);
                if (op->kind == OP_BATCHNORM) {
                    *out = *at(a, oy, ox, c) * op->scale[c] + op->bias[c];
                } else if (op->kind == OP_ACTIVATION) {
                    *out = *at(a, oy, ox, c);
                } else if (op->kind == OP_ADD) {
                    *out = *at(a, oy, ox, c) + *at(&v[op->in[1]], oy, ox, c);
                } else if (op->kind == OP_GATE) {
                    *out = *at(a, oy, ox, c) * *at(&v[op->in[1]], 0, 0, c);
                } else if (op->kind == OP_MEAN) {
                    double sum = 0;
                    for (int k = 0; k < a->h * a->w; k++)
                        sum += *at(a, k / a->w, k % a->w, c);
                    *out = (float)(sum / (a->h * a->w));
                } else if (op->kind == OP_MAX_POOL) {
                    *out = -INFINITY;
                    for (int k = 0; k < op->kernel_h * op->kernel_w; k++) {
                        int iy = oy * op->stride_h + k / op->kernel_w - op->pad_top;
                        int ix = ox * op->stride_w + k % op->kernel_w - op->pad_left;
                        if (iy >= 0 && ix >= 0 && iy < a->h && ix < a->w)
                            *out = fmaxf(*out, *at(a, iy, ix, c));
                    }
                } else if (op->kind == OP_RESIZE_BILINEAR) {
                    float fy = fminf(fmaxf((oy + 0.5f) * a->h / y->h - 0.5f, 0), a->h - 1);
                    float fx = fminf(fmaxf((ox + 0.5f) * a->w / y->w - 0.5f, 0), a->w - 1);
                    int y0 = (int)fy, x0 = (int)fx;
                    int y1 = KB_MIN(y0 + 1, a->h - 1), x1 = KB_MIN(x0 + 1, a->w - 1);
                    float ty = fy - y0, tx = fx - x0;
                    *out = (*at(a, y0, x0, c) * (1 - tx) + *at(a, y0, x1, c) * tx) * (1 - ty) +
                           (*at(a, y1, x0, c) * (1 - tx) + *at(a, y1, x1, c) * tx) * ty;
                } else {
                    *out = moved(op, v, oy, ox, c);
                }
            }
}

struct plain *plain_run(const struct graph *g, const float *const *inputs)
{
    struct plain *v = calloc((size_t)g->n_values, sizeof(*v));
    for (int i = 0; i < g->n_values; i++) {
        v[i] = (struct plain){NULL, g->values[i].h, g->values[i].w, g->values[i].c};
        v[i].data = calloc((size_t)v[i].h * (size_t)v[i].w * (size_t)v[i].c + 1, sizeof(float));
    }
    for (int i = 0; i < g->n_inputs; i++) {
        struct plain *p = &v[g->inputs[i]];
        memcpy(p->data, inputs[i], (size_t)p->h * (size_t)p->w * (size_t)p->c * sizeof(float));
    }
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        const struct plain *y = &v[op->out];
        if (op->kind == OP_CONV)
            plain_conv(op, &v[op->in[0]], y);
        else if (op->kind == OP_DECONV)
            plain_deconv(op, &v[op->in[0]], y);
        else
            plain_rest(op, v);
        for (int64_t k = 0; k < (int64_t)y->h * y->w * y->c; k++) {
            if (op->kind == OP_CONV && op->residual >= 0)
                y->data[k] += v[op->residual].data[k];
            y->data[k] = activate(op, y->data[k], (int)(k % y->c));
        }
    }
    return v;
}

void plain_free(const struct graph *g, struct plain *v)
{
    for (int i = 0; i < g->n_values; i++)
        free(v[i].data);
    free(v);
}
