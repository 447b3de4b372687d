#include "nn/tuning.h"

#include "base/file.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#define MAX_LAYERS 1000
#define MAX_SIDE   (1 << 16)

int tuning_tile(int way)
{
    return way == 0 ? 0 : way + 1;
}

void tuning_free(struct tuning **t)
{
    if (!*t)
        return;
    free((*t)->layers);
    free(*t);
    *t = NULL;
}

static bool same(const struct layer *a, const struct layer *b)
{
    return a->in_c == b->in_c && a->out_c == b->out_c && a->h == b->h && a->w == b->w &&
           a->batch == b->batch && a->is_twice == b->is_twice && a->bits == b->bits;
}

int tuning_find(const struct tuning *t, const struct layer *layer)
{
    if (t && t->forced >= 0)
        return t->forced;
    for (int i = 0; t && i < t->n; i++)
        if (same(&t->layers[i].layer, layer))
            return t->layers[i].tile;
    return -1;
}

uint64_t tuning_hash(const struct tuning *t)
{
    uint64_t hash = 0;
    for (int i = 0; t && i < t->n; i++) {
        const struct layer *l = &t->layers[i].layer;
        const int all[] = {l->in_c,  l->out_c,    l->h,    l->w,
                           l->batch, l->is_twice, l->bits, t->layers[i].tile};
        hash = XXH3_64bits_withSeed(all, sizeof(all), hash);
    }
    return hash;
}

#define TIE 1.1 // of the least time: then memory decides

bool tuning_knows_precisions(const struct tuning *t)
{
    return t && t->whole[PRECISION_F32].ms > 0;
}

static bool may_be(const struct tuning *t, enum precision p, bool has_ranges)
{
    return t->whole[p].ms > 0 && precision_can_run(p) && (p != PRECISION_INT8 || has_ranges);
}

enum precision tuning_precision(const struct tuning *t, enum precision p, bool has_ranges)
{
    if (p != PRECISION_AUTO || !tuning_knows_precisions(t))
        return precision_resolve(p, has_ranges);
    double least = t->whole[PRECISION_F32].ms;
    for (p = PRECISION_F32; p <= PRECISION_INT8; p++)
        if (may_be(t, p, has_ranges))
            least = fmin(least, t->whole[p].ms);
    enum precision best = PRECISION_AUTO;
    for (p = PRECISION_F32; p <= PRECISION_INT8; p++)
        if (may_be(t, p, has_ranges) && t->whole[p].ms <= TIE * least &&
            (best == PRECISION_AUTO || t->whole[p].mb < t->whole[best].mb))
            best = p;
    return best;
}

// --- measuring ---

// What a megabyte of weights must gain, in milliseconds of a batch: all that run it read them, and
// they take memory from others.
#define MS_PER_MB 0.1
#define WORTH     0.95 // of the library's time, at most

void tuning_choose(struct tuned *l)
{
    double best = WORTH * l->ms[0];
    l->tile = 0;
    for (int way = 1; way < TUNING_WAYS; way++) {
        int tile = tuning_tile(way), side = l->layer.is_twice ? 2 * tile + 1 : tile + 2;
        double mb = (double)(side * side - 9) * l->layer.in_c * l->layer.out_c *
                    KB_MAX(l->layer.bits / 8, 2) / 1e6;
        double cost = l->ms[way] + MS_PER_MB * mb * l->n;
        if ((l->layer.is_twice && tile == 2) || cost >= best)
            continue; // of two taps there are no tiles of 2
        best = cost;
        l->tile = tile;
    }
}

static struct tuned *entry(struct tuning *t, const struct layer *layer, int first)
{
    for (int i = first; i < t->n; i++)
        if (same(&t->layers[i].layer, layer))
            return &t->layers[i];
    struct tuned *l = &t->layers[t->n++];
    *l = (struct tuned){.layer = *layer};
    return l;
}

// What one run took, where it is the least so far. Its layers begin with this one.
static void collect(struct tuning *t, const struct op_time *times, int n_ops, int way, int first)
{
    CLEANUP(kb_freep) double *sums = kb_alloc((size_t)(n_ops + 1) * sizeof(*sums));
    for (int i = first; i < t->n; i++)
        t->layers[i].n = 0;
    for (int i = 0; i < n_ops; i++) {
        if (!times[i].can_choose)
            continue;
        struct tuned *l = entry(t, &times[i].layer, first);
        l->n += times[i].is_first;
        sums[l - t->layers] += times[i].us / 1e3;
    }
    for (int i = first; i < t->n; i++) {
        double *ms = &t->layers[i].ms[way];
        *ms = *ms == 0 || sums[i] < *ms ? sums[i] : *ms;
    }
}

static void fill_inputs(struct session *s)
{
    uint32_t state = 1;
    for (int i = 0; i < session_n_inputs(s); i++) {
        struct value v = session_input_shape(s, i);
        for (int k = 0; k < session_batch(s) * v.h * v.w * v.c; k++) {
            state = state * 1664525 + 1013904223;
            session_input(s, i)[k] = (float)(state >> 8) / (1 << 24);
        }
    }
}

static enum kb_code measure_way(struct tuning *t, struct graph *g, struct op_time *times, int way,
                                enum precision precision, int first, int batch, int runs,
                                const struct cancel *cancel, struct kb_error *err)
{
    const struct tuning forced = {.forced = tuning_tile(way)};
    const struct session_params params = {
        .batch = batch, .precision = precision, .tuning = &forced, .times = times};
    CLEANUP(session_free) struct session *s = NULL;
    memset(times, 0, (size_t)g->n_ops * sizeof(*times));
    enum kb_code code = session_create(&s, g, &params, err);
    if (code == KB_OK)
        fill_inputs(s);
    for (int run = 0; run <= runs && code == KB_OK; run++) {
        for (int i = 0; i < g->n_ops; i++)
            times[i].us = 0;
        code = cancel_check(cancel, err);
        if (code == KB_OK)
            code = session_run(s, err);
        if (code == KB_OK && run > 0) // the first touches all memory
            collect(t, times, g->n_ops, way, first);
    }
    return code;
}

static double thread_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static enum kb_code find_ranges(struct ranges **ret, struct graph *g, int batch,
                                struct kb_error *err)
{
    CLEANUP(observer_free) struct observer *observer = observer_create();
    CLEANUP(session_free) struct session *s = NULL;
    const struct session_params params = {
        .batch = batch, .precision = PRECISION_F32, .observer = observer};
    enum kb_code code = session_create(&s, g, &params, err);
    if (code == KB_OK) {
        fill_inputs(s);
        code = session_run(s, err);
    }
    if (code == KB_OK)
        *ret = observer_ranges(observer);
    return code;
}

static enum kb_code measure_whole(struct tuning *t, struct graph *g, enum precision p,
                                  const struct ranges *ranges, int batch, int runs,
                                  const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(session_free) struct session *s = NULL;
    const struct session_params params = {
        .batch = batch, .precision = p, .tuning = t, .ranges = ranges};
    enum kb_code code = session_create(&s, g, &params, err);
    if (code != KB_OK)
        return code;
    fill_inputs(s);
    for (int run = 0; run <= runs && code == KB_OK; run++) {
        double since = thread_ms();
        code = cancel_check(cancel, err);
        if (code == KB_OK)
            code = session_run(s, err);
        double ms = thread_ms() - since;
        if (run > 0 && (run == 1 || ms < t->whole[p].ms)) // the first touches all memory
            t->whole[p].ms = ms;
    }
    t->whole[p].mb = (double)session_memory_bytes(s) / 1e6;
    return code;
}

enum kb_code tuning_measure(struct tuning **ret, struct graph *g, int batch, int runs,
                            const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(tuning_free) struct tuning *t = kb_alloc(sizeof(*t));
    enum kb_code code = graph_optimize(g, err);
    CLEANUP(kb_freep) struct op_time *times = kb_alloc((size_t)g->n_ops * sizeof(*times));
    t->layers = kb_alloc(2 * (size_t)g->n_ops * sizeof(*t->layers));
    t->forced = -1;
    session_backend(t->backend);
    const bool has_bf16 = precision_resolve(PRECISION_AUTO, false) == PRECISION_BF16;
    for (enum precision p = PRECISION_F32; p <= (has_bf16 ? PRECISION_BF16 : PRECISION_F32); p++) {
        const int first = t->n;
        for (int way = 0; way < TUNING_WAYS && code == KB_OK; way++)
            code = measure_way(t, g, times, way, p, first, batch, runs, cancel, err);
    }
    for (int i = 0; i < t->n; i++)
        tuning_choose(&t->layers[i]);
    CLEANUP(ranges_free) struct ranges *ranges = NULL;
    if (code == KB_OK)
        code = find_ranges(&ranges, g, batch, err);
    for (enum precision p = PRECISION_F32; p <= PRECISION_INT8 && code == KB_OK; p++)
        if (precision_can_run(p))
            code = measure_whole(t, g, p, ranges, batch, runs, cancel, err);
    if (code == KB_OK)
        *ret = TAKE(t);
    return code;
}

// --- the file ---

enum kb_code tuning_save(const struct tuning *t, const char *path, struct kb_error *err)
{
    json_auto_t *root = json_pack("{s:s, s:[]}", "backend", t->backend, "layers");
    json_t *layers = json_object_get(root, "layers");
    for (int i = 0; i < t->n; i++) {
        const struct tuned *l = &t->layers[i];
        json_t *ms = json_array();
        for (int way = 0; way < TUNING_WAYS; way++)
            json_array_append_new(ms, json_real(l->ms[way]));
        json_array_append_new(layers, json_pack("{s:i, s:i, s:i, s:i, s:i, s:b, s:i, s:i, s:o}",
                                                "in", l->layer.in_c, "out", l->layer.out_c,
                                                "height", l->layer.h, "width", l->layer.w, "batch",
                                                l->layer.batch, "twice", (int)l->layer.is_twice,
                                                "bits", l->layer.bits, "tile", l->tile, "ms", ms));
    }
    json_t *whole = json_object();
    for (enum precision p = PRECISION_F32; p <= PRECISION_INT8; p++)
        if (t->whole[p].ms > 0)
            json_object_set_new(
                whole, precision_name(p),
                json_pack("{s:f, s:f}", "ms", t->whole[p].ms, "mb", t->whole[p].mb));
    json_object_set_new(root, "precisions", whole);
    CLEANUP(kb_freep) char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(4));
    return text ? file_write_cached(path, text, strlen(text), err) : kb_no_memory(err);
}

static bool take(struct tuned *l, json_t *from)
{
    int twice = 0;
    *l = (struct tuned){.layer.bits = 32};
    if (json_unpack(from, "{s:i, s:i, s:i, s:i, s:i, s:b, s?i, s:i}", "in", &l->layer.in_c, "out",
                    &l->layer.out_c, "height", &l->layer.h, "width", &l->layer.w, "batch",
                    &l->layer.batch, "twice", &twice, "bits", &l->layer.bits, "tile",
                    &l->tile) != 0)
        return false;
    l->layer.is_twice = twice;
    const int sizes[] = {l->layer.in_c, l->layer.out_c, l->layer.h, l->layer.w, l->layer.batch};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        if (sizes[i] < 1 || sizes[i] > MAX_SIDE)
            return false;
    if (l->layer.bits != 32 && l->layer.bits != 16 && l->layer.bits != 8)
        return false;
    return l->tile == 0 || (l->tile >= 2 && l->tile <= 4);
}

// What is missing or cannot be was not measured.
static void take_precisions(struct tuning *t, const json_t *from)
{
    for (enum precision p = PRECISION_F32; p <= PRECISION_INT8; p++) {
        const json_t *one = json_object_get(from, precision_name(p));
        double ms = json_number_value(json_object_get(one, "ms"));
        double mb = json_number_value(json_object_get(one, "mb"));
        if (ms > 0 && mb > 0)
            t->whole[p] = (struct tuned_precision){ms, mb};
    }
}

struct tuning *tuning_load(const char *path)
{
    json_auto_t *root = json_load_file(path, 0, NULL);
    const char *backend = json_string_value(json_object_get(root, "backend"));
    const json_t *layers = json_object_get(root, "layers");
    size_t n = json_array_size(layers);
    CLEANUP(tuning_free) struct tuning *t = kb_alloc(sizeof(*t));
    session_backend(t->backend);
    t->forced = -1;
    if (!backend || strcmp(backend, t->backend) != 0 || n < 1 || n > MAX_LAYERS)
        return NULL;
    take_precisions(t, json_object_get(root, "precisions"));
    t->layers = kb_alloc(n * sizeof(*t->layers));
    for (; (size_t)t->n < n; t->n++)
        if (!take(&t->layers[t->n], json_array_get(layers, (size_t)t->n)))
            return NULL;
    return TAKE(t);
}
