// The .kbt file: docs/track-file.md. Written whole, read whole, believed only when everything fits.
#include "face/track_internal.h"

#include "base/cache.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "numbers are stored as they lie in memory");

#define TRACK_MAGIC   "KBTRACK"
#define TRACK_VERSION 4
#define MAX_FRAMES    (1 << 24) // 77 hours at 60 frames a second

struct file_header {
    char magic[8];
    uint32_t version, header_size;
    int32_t width, height, n_frames, n_faces, n_cuts, zero;
    int64_t covered_us;
    char video_hash[32];
    uint64_t file_size;
    uint64_t checksum; // XXH3-64 of the file with this field zero
};

struct file_face {
    int32_t n_records, n_mouths;
    float skin[3], hidden;
};
struct file_mouth {
    int32_t frame, width, height;
    float x0, y0, scale;
};
_Static_assert(sizeof(struct file_header) == 96 && sizeof(struct file_face) == 24 &&
                   sizeof(struct file_mouth) == 24,
               "the file format has no gaps");

// --- writing ---

struct output {
    uint8_t *data;
    size_t size, capacity;
};

static bool put(struct output *o, const void *data, size_t size)
{
    if (size > o->capacity - o->size) {
        size_t capacity = KB_MAX(o->capacity * 2, o->size + size + 4096);
        uint8_t *grown = realloc(o->data, capacity);
        if (!grown)
            return false;
        o->data = grown;
        o->capacity = capacity;
    }
    if (size > 0)
        memcpy(o->data + o->size, data, size);
    o->size += size;
    return true;
}

static size_t to_multiple_of_8(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

// A block, filled up with zeros so that the next one is aligned.
static bool put_block(struct output *o, const void *data, size_t size)
{
    static const uint8_t zeros[8];
    return put(o, data, size) && put(o, zeros, to_multiple_of_8(size) - size);
}

static bool put_mouths(struct output *o, const struct track_identity *f)
{
    bool ok = true;
    for (int i = 0; ok && i < f->n_mouths; i++) {
        const struct kept_mouth *m = &f->mouths[i];
        struct file_mouth head = {m->frame, m->width, m->height, m->x0, m->y0, m->scale};
        ok = put_block(o, &head, sizeof(head)) &&
             put_block(o, m->pixels, mouth_bytes(m->width, m->height));
    }
    return ok;
}

static bool put_face(struct output *o, const struct track *t, const struct track_identity *f)
{
    struct file_face head = {
        .n_records = f->n_records, .n_mouths = f->n_mouths, .hidden = f->hidden};
    memcpy(head.skin, f->skin, sizeof(head.skin));
    return put_block(o, &head, sizeof(head)) &&
           put_block(o, f->at, (size_t)t->info.n_frames * sizeof(f->at[0])) &&
           put_block(o, f->records, (size_t)f->n_records * sizeof(f->records[0])) &&
           put_mouths(o, f);
}

enum kb_code track_save(const struct track *t, const char *path, struct kb_error *err)
{
    struct output o = {0};
    struct file_header head = {.magic = TRACK_MAGIC,
                               .version = TRACK_VERSION,
                               .header_size = sizeof(head),
                               .width = t->info.width,
                               .height = t->info.height,
                               .n_frames = t->info.n_frames,
                               .n_faces = t->info.n_faces,
                               .n_cuts = t->info.n_cuts,
                               .covered_us = t->info.covered_us};
    memcpy(head.video_hash, t->info.video_hash, sizeof(head.video_hash));
    bool ok = put_block(&o, &head, sizeof(head)) &&
              put_block(&o, t->pts, (size_t)t->info.n_frames * sizeof(t->pts[0])) &&
              put_block(&o, t->cuts, (size_t)t->info.n_cuts * sizeof(t->cuts[0]));
    for (int i = 0; ok && i < t->info.n_faces; i++)
        ok = put_face(&o, t, &t->faces[i]);

    enum kb_code code = ok ? KB_OK : kb_no_memory(err);
    if (ok) {
        head.file_size = o.size;
        memcpy(o.data, &head, sizeof(head));
        head.checksum = XXH3_64bits(o.data, o.size);
        memcpy(o.data, &head, sizeof(head));
        code = file_write_cached(path, o.data, o.size, err); // a checksum tells what is whole
    }
    free(o.data);
    return code;
}

// --- reading ---

struct input {
    const uint8_t *data;
    size_t size, at;
};

// The next bytes. False when the file is too short.
static bool take(struct input *in, void *ret, size_t size)
{
    if (size > in->size - in->at)
        return false;
    memcpy(ret, in->data + in->at, size);
    in->at += KB_MIN(to_multiple_of_8(size), in->size - in->at);
    return true;
}

// The next block of n items, copied; NULL when the file is too short or memory is out.
static void *take_block(struct input *in, size_t n, size_t item_size)
{
    size_t size;
    if (__builtin_mul_overflow(n, item_size, &size) || size > in->size - in->at)
        return NULL;
    void *copy = calloc(1, KB_MAX(size, 1));
    if (copy)
        take(in, copy, size);
    return copy;
}

// Neither infinite nor beyond what any picture could hold.
static bool sane(const float *values, int n)
{
    for (int i = 0; i < n; i++)
        if (!(fabsf(values[i]) < 1e6f))
            return false;
    return true;
}

// Even, within the bounds, inside the picture, and of a frame that has a record.
static bool mouth_fits(const struct file_mouth *m, const struct track *t,
                       const struct track_identity *f)
{
    return m->frame >= 0 && m->frame < t->info.n_frames && f->at[m->frame] >= 0 && m->width >= 2 &&
           m->height >= 2 && m->width <= TRACK_MOUTH_MAX_WIDTH &&
           m->height <= TRACK_MOUTH_MAX_WIDTH && m->width % 2 == 0 && m->height % 2 == 0 &&
           m->scale > 0 && m->scale <= 1 && m->x0 >= 0 && m->y0 >= 0 &&
           m->x0 + (float)m->width / m->scale <= (float)t->info.width + 0.5f &&
           m->y0 + (float)m->height / m->scale <= (float)t->info.height + 0.5f;
}

static bool take_mouths(struct input *in, const struct track *t, struct track_identity *f, int n)
{
    if (n < 0 || n > TRACK_MAX_MOUTHS)
        return false;
    f->mouths = kb_alloc(KB_MAX((size_t)n, 1) * sizeof(f->mouths[0]));
    int last_frame = -1;
    while (f->n_mouths < n) {
        struct file_mouth head;
        if (!take(in, &head, sizeof(head)) || !mouth_fits(&head, t, f) || head.frame <= last_frame)
            return false;
        last_frame = head.frame;
        uint8_t *pixels = take_block(in, mouth_bytes(head.width, head.height), 1);
        if (!pixels)
            return false;
        f->mouths[f->n_mouths++] = (struct kept_mouth){head.frame, head.width, head.height, head.x0,
                                                       head.y0,    head.scale, pixels};
    }
    return true;
}

// Each frame has its record or none, and every number of a record is one.
static bool records_fit(const struct track *t, const struct track_identity *f)
{
    int next = 0; // records lie in the order of frames
    for (int i = 0; i < t->info.n_frames; i++)
        if (f->at[i] != -1 && f->at[i] != next++)
            return false;
    for (int i = 0; i < f->n_records; i++) {
        const float *box = f->records[i].box;
        if (!sane(box, 4) || box[2] < box[0] || box[3] < box[1])
            return false;
    }
    return next == f->n_records;
}

static bool take_face(struct input *in, const struct track *t, struct track_identity *f)
{
    struct file_face head;
    if (!take(in, &head, sizeof(head)) || head.n_records < 1 || head.n_records > t->info.n_frames ||
        !sane(head.skin, 3) || !(head.hidden >= 0 && head.hidden <= 1))
        return false;
    memcpy(f->skin, head.skin, sizeof(f->skin));
    f->hidden = head.hidden;
    f->n_records = head.n_records;
    f->at = take_block(in, (size_t)t->info.n_frames, sizeof(f->at[0]));
    f->records = f->at ? take_block(in, (size_t)f->n_records, sizeof(f->records[0])) : NULL;
    return f->records && records_fit(t, f) && take_mouths(in, t, f, head.n_mouths);
}

static bool header_fits(const struct file_header *h, size_t size)
{
    if (memcmp(h->magic, TRACK_MAGIC, sizeof(h->magic)) != 0 || h->version != TRACK_VERSION ||
        h->header_size != sizeof(*h) || h->file_size != size)
        return false;
    for (size_t i = 0; i < sizeof(h->video_hash); i++)
        if (!h->video_hash[i] || !strchr("0123456789abcdef", h->video_hash[i]))
            return false;
    return h->width > 0 && h->height > 0 && h->width <= 1 << 16 && h->height <= 1 << 16 &&
           h->n_frames > 0 && h->n_frames <= MAX_FRAMES && h->n_faces >= 0 &&
           h->n_faces <= TRACK_MAX_FACES && h->n_cuts >= 0 && h->n_cuts < h->n_frames &&
           h->covered_us > 0;
}

// Rising from 1 on, and each of one kind or the other.
static bool cuts_fit(const struct track *t)
{
    for (int i = 0; i < t->info.n_cuts; i++) {
        const struct track_cut *c = &t->cuts[i];
        if (c->frame <= (i > 0 ? t->cuts[i - 1].frame : 0) || c->frame >= t->info.n_frames ||
            (c->jump != 0 && c->jump != 1))
            return false;
    }
    return true;
}

static bool checksum_fits(const struct file_map *m, const struct file_header *h)
{
    struct file_header zeroed = *h;
    zeroed.checksum = 0;
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return false;
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, &zeroed, sizeof(zeroed));
    XXH3_64bits_update(state, m->data + sizeof(zeroed), m->size - sizeof(zeroed));
    uint64_t sum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return sum == h->checksum;
}

static bool parse(struct track *t, const struct file_map *m)
{
    struct file_header h;
    if (m->size < sizeof(h))
        return false;
    memcpy(&h, m->data, sizeof(h));
    if (!header_fits(&h, m->size) || !checksum_fits(m, &h))
        return false;
    t->info = (struct track_info){.width = h.width,
                                  .height = h.height,
                                  .n_frames = h.n_frames,
                                  .n_faces = h.n_faces,
                                  .n_cuts = h.n_cuts,
                                  .covered_us = h.covered_us};
    memcpy(t->info.video_hash, h.video_hash, sizeof(h.video_hash));

    struct input in = {m->data, m->size, sizeof(h)};
    t->pts = take_block(&in, (size_t)h.n_frames, sizeof(t->pts[0]));
    t->cuts = t->pts ? take_block(&in, (size_t)h.n_cuts, sizeof(t->cuts[0])) : NULL;
    if (!t->cuts || !cuts_fit(t))
        return false;
    t->faces = kb_alloc(TRACK_MAX_FACES * sizeof(t->faces[0]));
    for (int i = 1; i < h.n_frames; i++)
        if (t->pts[i] <= t->pts[i - 1])
            return false;
    for (int i = 0; i < h.n_faces; i++)
        if (!take_face(&in, t, &t->faces[i]))
            return false;
    return in.at == m->size;
}

enum kb_code track_load(struct track **ret, const char *path, struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    enum kb_code code = file_map(&m, path, err);
    if (code != KB_OK)
        return code;
    CLEANUP(track_free) struct track *t = kb_alloc(sizeof(*t));
    if (!parse(t, &m))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is not a track file of this version of koubo, or it is damaged; "
                         "delete it and it is made anew"),
                       path);
    *ret = TAKE(t);
    return KB_OK;
}

// --- the cache ---

static bool covers(const struct track *t, int64_t limit_us)
{
    return t->info.covered_us == INT64_MAX || (limit_us > 0 && t->info.covered_us >= limit_us);
}

static char *cached_path(const char *folder, const struct track_params *p, bool look)
{
    CLEANUP(kb_freep)
    char *name =
        kb_printf("%s%s%s.kbt", p->video_hash, p->deep ? "-deep" : "", look ? "-look" : "");
    return path_join(folder, name);
}

// Missing, damaged, too short or of another video: it is made anew.
static bool load_cached(struct track **ret, const char *path, const struct track_params *p)
{
    CLEANUP(track_free) struct track *t = NULL;
    if (track_load(&t, path, NULL) != KB_OK || strcmp(t->info.video_hash, p->video_hash) != 0 ||
        !covers(t, p->limit_us))
        return false;
    cache_touch(path);
    *ret = TAKE(t);
    return true;
}

enum kb_code track_obtain(struct track **ret, const char *video_path, const char *folder,
                          struct face_models *models, const struct track_params *params,
                          bool *ret_cached, struct kb_error *err)
{
    CLEANUP(track_free) struct track *t = NULL;
    CLEANUP(kb_freep) char *path = NULL, *look = NULL;
    struct track_params p = params ? *params : (struct track_params){0};
    char hash[33];
    if (ret_cached)
        *ret_cached = false;
    if (folder) {
        enum kb_code code = p.video_hash ? KB_OK : file_hash(hash, video_path, err);
        if (code != KB_OK)
            return code;
        p.video_hash = p.video_hash ? p.video_hash : hash;
        path = cached_path(folder, &p, false);
        look = cached_path(folder, &p, true);
        if (load_cached(ret, path, &p) || (p.look && load_cached(ret, look, &p))) {
            if (ret_cached)
                *ret_cached = true;
            return KB_OK;
        }
    }
    enum kb_code code = track_make(&t, video_path, models, &p, err);
    if (code != KB_OK)
        return code;
    bool part = p.look && t->info.covered_us != INT64_MAX;
    if (path && file_make_dirs(folder, NULL) == KB_OK)
        track_save(t, part ? look : path, NULL); // only a cache: the job goes on without it
    if (path && p.cache_limit > 0)
        cache_trim(folder, ".kbt", p.cache_limit);
    *ret = TAKE(t);
    return KB_OK;
}
