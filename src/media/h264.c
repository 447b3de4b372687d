#include "media/h264.h"

#include <string.h>

// --- units ---

// The next start code, or the end.
static const uint8_t *find_start(const uint8_t *at, const uint8_t *end)
{
    for (; end - at >= 3; at++)
        if (at[0] == 0 && at[1] == 0 && at[2] == 1)
            return at;
    return end;
}

static bool next_by_code(struct h264_units *s, struct h264_unit *ret)
{
    for (const uint8_t *from = find_start(s->at, s->end); s->end - from > 3; from = s->at) {
        const uint8_t *end = find_start(from + 3, s->end);
        s->at = end;
        while (end > from + 3 && end[-1] == 0) // of the next start code, or at the end
            end--;
        *ret = (struct h264_unit){from + 3, (size_t)(end - from - 3)};
        if (ret->size > 0)
            return true;
    }
    s->at = s->end;
    return false;
}

bool h264_next(struct h264_units *s, struct h264_unit *ret)
{
    if (s->length_bytes == 0)
        return next_by_code(s, ret);
    while (s->end - s->at >= s->length_bytes) {
        const uint8_t *at = s->at;
        uint32_t n = 0;
        for (int i = 0; i < s->length_bytes; i++)
            n = n << 8 | *at++;
        if (n > (size_t)(s->end - at))
            break;
        *ret = (struct h264_unit){at, n};
        s->at = at + n;
        if (n > 0)
            return true;
    }
    s->broken |= s->at < s->end;
    s->at = s->end;
    return false;
}

// --- bits ---

#define MAX_SET 1024 // bytes of a parameter set that is read; they have dozens

struct bits {
    uint8_t data[MAX_SET]; // without the bytes that keep start codes from appearing
    size_t n, at;          // bits
    bool broken;
};

static void bits_begin(struct bits *b, const struct h264_unit *u)
{
    size_t n = 0;
    int zeros = 0;
    *b = (struct bits){.broken = u->size > MAX_SET};
    for (size_t i = 1; i < u->size && !b->broken; i++) {
        bool stuffed = zeros >= 2 && u->data[i] == 3;
        zeros = !stuffed && u->data[i] == 0 ? zeros + 1 : 0;
        if (!stuffed)
            b->data[n++] = u->data[i];
    }
    b->n = n * 8;
}

static uint32_t get(struct bits *b, int n)
{
    uint32_t v = 0;
    for (int i = 0; i < n; i++, b->at++) {
        if (b->at >= b->n) {
            b->broken = true;
            return 0;
        }
        v = v << 1 | (b->data[b->at / 8] >> (7 - b->at % 8) & 1);
    }
    return v;
}

// ue(v), at most `most`.
static int get_count(struct bits *b, uint32_t most)
{
    int zeros = 0;
    while (zeros < 31 && !b->broken && get(b, 1) == 0)
        zeros++;
    uint32_t v = (UINT32_C(1) << zeros) - 1 + get(b, zeros);
    b->broken |= v > most;
    return b->broken ? 0 : (int)v;
}

static bool flag(struct bits *b)
{
    return get(b, 1) != 0;
}

// --- parameter sets ---

// What a player is told beside the pictures' bits. False: a buffer's timing, of which each picture
// would have to tell.
static bool read_usability(struct bits *b, struct h264_sps *s)
{
    static const int shapes[17][2] = {{1, 1},   {1, 1},    {12, 11}, {10, 11}, {16, 11}, {40, 33},
                                      {24, 11}, {20, 11},  {32, 11}, {80, 33}, {18, 11}, {15, 11},
                                      {64, 33}, {160, 99}, {4, 3},   {3, 2},   {2, 1}};
    if (flag(b)) {
        uint32_t shape = get(b, 8);
        if (shape < ARRAY_LEN(shapes))
            memcpy(s->aspect, shapes[shape], sizeof(s->aspect));
        for (int i = 0; shape == 255 && i < 2; i++)
            s->aspect[i] = (int)get(b, 16);
    }
    if (flag(b)) // overscan
        get(b, 1);
    if (flag(b)) {
        get(b, 3);
        s->range = (int)get(b, 1);
        if (flag(b)) {
            s->primaries = (int)get(b, 8);
            s->transfer = (int)get(b, 8);
            s->matrix = (int)get(b, 8);
        }
    }
    if (flag(b)) { // where colours lie
        get_count(b, 5);
        get_count(b, 5);
    }
    if (flag(b)) { // how fast it is shown, which the file says of each picture
        get(b, 32);
        get(b, 32);
        get(b, 1);
    }
    if (flag(b) || flag(b) || flag(b)) // buffers of two kinds; how each picture is shown
        return false;
    if (flag(b)) {
        get(b, 1);
        for (int i = 0; i < 4; i++)
            get_count(b, 16);
        s->n_reorder = get_count(b, 16);
        s->n_buffered = get_count(b, 16);
    }
    return true;
}

// High may have other colours and depths.
static bool is_plain_high(struct bits *b)
{
    return get_count(b, 3) == 1 && get_count(b, 6) == 0 && get_count(b, 6) == 0 && !flag(b) &&
           !flag(b);
}

bool h264_read_sps(struct h264_sps *ret, const struct h264_unit *sps)
{
    struct bits b;
    bits_begin(&b, sps);
    struct h264_sps s = {.aspect = {1, 1},
                         .primaries = 2,
                         .transfer = 2,
                         .matrix = 2,
                         .n_reorder = -1,
                         .n_buffered = -1};
    s.profile = (int)get(&b, 8);
    s.constraints = (int)get(&b, 8);
    s.level = (int)get(&b, 8);
    s.id = get_count(&b, 31);
    bool constrained = s.constraints & 0x40; // nothing that only Baseline knows
    if (!(s.profile == 77 || s.profile == 100 || (s.profile == 66 && constrained)) ||
        (s.profile == 100 && !is_plain_high(&b)))
        return false;
    s.log2_frame_num = get_count(&b, 12) + 4;
    s.order_type = get_count(&b, 2);
    if (s.order_type == 1)
        return false;
    if (s.order_type == 0)
        s.log2_order = get_count(&b, 12) + 4;
    s.n_refs = get_count(&b, 16);
    s.gaps = flag(&b);
    s.width = get_count(&b, 1023) + 1;
    s.height = get_count(&b, 1023) + 1;
    if (!flag(&b) || !flag(&b)) // half pictures; vectors of 4 x 4 in B pictures
        return false;
    for (int i = 0, crops = flag(&b); crops && i < 4; i++)
        s.crop[i] = get_count(&b, 8191);
    if (flag(&b) && !read_usability(&b, &s))
        return false;
    *ret = s;
    return !b.broken;
}

static bool pps_begin(struct bits *b, const struct h264_unit *pps, int *ret_id, int *ret_sps_id)
{
    bits_begin(b, pps);
    *ret_id = get_count(b, 255);
    *ret_sps_id = get_count(b, 31);
    return !b->broken;
}

bool h264_read_pps(const struct h264_unit *pps, int *ret_id, int *ret_sps_id)
{
    struct bits b;
    return pps_begin(&b, pps, ret_id, ret_sps_id);
}

static void put(struct bits *b, uint32_t v, int n)
{
    for (int i = n - 1; i >= 0; i--, b->at++)
        if (v >> i & 1)
            b->data[b->at / 8] |= (uint8_t)(0x80 >> b->at % 8);
}

static void put_count(struct bits *b, int v)
{
    int length = 0;
    while ((v + 1) >> (length + 1))
        length++;
    put(b, 0, length);
    put(b, (uint32_t)v + 1, length + 1);
}

// With the bytes that keep start codes from appearing. Returns how many.
static size_t write_unit(const struct bits *b, uint8_t first, uint8_t *ret)
{
    size_t n = 0;
    int zeros = 0;
    ret[n++] = first;
    for (size_t i = 0; i < (b->at + 7) / 8; i++) {
        if (zeros >= 2 && b->data[i] <= 3) {
            ret[n++] = 3;
            zeros = 0;
        }
        zeros = b->data[i] == 0 ? zeros + 1 : 0;
        ret[n++] = b->data[i];
    }
    return n;
}

size_t h264_pps_of(const struct h264_unit *pps, int sps_id, uint8_t *ret)
{
    struct bits in, out = {0};
    int id, old;
    if (pps->size > MAX_SET - 8 || !pps_begin(&in, pps, &id, &old))
        return 0;
    size_t last = in.n; // the end mark is the last bit that is set
    while (last > in.at && !(in.data[(last - 1) / 8] >> (7 - (last - 1) % 8) & 1))
        last--;
    put_count(&out, id);
    put_count(&out, sps_id);
    while (in.at < last)
        put(&out, get(&in, 1), 1);
    return write_unit(&out, pps->data[0], ret);
}

// --- avcC ---

static bool read_set(const uint8_t **at, const uint8_t *end, int type, struct h264_unit *ret)
{
    size_t n = end - *at >= 2 ? (size_t)(*at)[0] << 8 | (*at)[1] : 0;
    if (n == 0 || n > (size_t)(end - *at) - 2)
        return false;
    *ret = (struct h264_unit){*at + 2, n};
    *at += 2 + n;
    return h264_type(ret) == type;
}

bool h264_read_config(struct h264_config *ret, const uint8_t *data, size_t size)
{
    if (size < 7 || data[0] != 1)
        return false;
    const uint8_t *at = data + 6, *end = data + size;
    ret->length_bytes = (data[4] & 3) + 1;
    if (ret->length_bytes == 3 || (data[5] & 31) != 1 || !read_set(&at, end, H264_SPS, &ret->sps) ||
        ret->sps.size < 4 || at == end)
        return false;
    ret->n_pps = *at++;
    for (int i = 0; i < ret->n_pps; i++)
        if (!read_set(&at, end, H264_PPS, &ret->pps[i]))
            return false;
    return ret->n_pps > 0;
}

// Above Main more is said: of which colours, how deep.
static bool says_more(const struct h264_config *c)
{
    return c->sps.data[1] == 100;
}

size_t h264_config_size(const struct h264_config *c)
{
    size_t n = 7 + 2 + c->sps.size + (says_more(c) ? 4 : 0);
    for (int i = 0; i < c->n_pps; i++)
        n += 2 + c->pps[i].size;
    return n;
}

static uint8_t *write_set(uint8_t *at, const struct h264_unit *u)
{
    *at++ = (uint8_t)(u->size >> 8);
    *at++ = (uint8_t)u->size;
    memcpy(at, u->data, u->size);
    return at + u->size;
}

void h264_write_config(const struct h264_config *c, uint8_t *ret)
{
    const uint8_t *sps = c->sps.data;
    const uint8_t head[] = {1, sps[1], sps[2], sps[3], 0xff, 0xe1};
    memcpy(ret, head, sizeof(head));
    ret = write_set(ret + sizeof(head), &c->sps);
    *ret++ = (uint8_t)c->n_pps;
    for (int i = 0; i < c->n_pps; i++)
        ret = write_set(ret, &c->pps[i]);
    if (says_more(c)) // 4:2:0, 8 bits, no more sets
        memcpy(ret, (const uint8_t[]){0xfd, 0xf8, 0xf8, 0}, 4);
}
