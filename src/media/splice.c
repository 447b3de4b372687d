// How the times of decoding come about: a player decodes `order` pictures before it shows the first
// one, so packet number i of the stream is decoded when picture number i - order of all is shown.
// That strictly increases as they do, over every seam, and is never after the packet's own picture
// is shown, since none is decoded more than `order` places after the one that it is shown at.
#include "media/splice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/mathematics.h>
#include <libavutil/mem.h>
#include <libavutil/opt.h>

struct splice {
    struct h264_config config; // of the film; points into `own`
    struct h264_sps sps;
    uint8_t *own;
    int pps_id;   // of the encoder
    uint8_t *pps; // of the encoder, for the film's SPS; NULL before it is known
    size_t pps_size;
    int order;
    int64_t step;   // between two pictures, where the first ones are decoded
    int64_t *times; // of all pictures that are expected: little beside what a track has of each
    size_t n, capacity;
    size_t n_stamped;
};

// A number that none of the film's has. x264 takes that of its SPS for both of its sets.
static int free_id(const struct h264_config *config)
{
    for (int id = 0; id < 32; id++) {
        bool taken = false;
        for (int i = 0; i < config->n_pps; i++) {
            int other, sps;
            taken |= !h264_read_pps(&config->pps[i], &other, &sps) || other == id;
        }
        if (!taken)
            return id;
    }
    return -1;
}

static struct h264_unit keep(uint8_t **at, const struct h264_unit *u)
{
    struct h264_unit kept = {*at, u->size};
    memcpy(*at, u->data, u->size);
    *at += u->size;
    return kept;
}

struct splice *splice_create(const struct h264_config *config, const struct h264_sps *sps)
{
    int id = free_id(config);
    if (id < 0 || config->n_pps >= H264_MAX_PPS)
        return NULL;
    struct splice *s = kb_alloc(sizeof(*s));
    size_t n = config->sps.size;
    for (int i = 0; i < config->n_pps; i++)
        n += config->pps[i].size;
    uint8_t *at = s->own = kb_alloc(n);
    s->config.sps = keep(&at, &config->sps);
    for (int i = 0; i < config->n_pps; i++)
        s->config.pps[i] = keep(&at, &config->pps[i]);
    s->config.n_pps = config->n_pps;
    s->sps = *sps;
    s->pps_id = id;
    return s;
}

void splice_free(struct splice **s)
{
    if (!*s)
        return;
    free((*s)->pps);
    free((*s)->own);
    free((*s)->times);
    free(*s);
    *s = NULL;
}

void splice_set_up(const struct splice *s, AVCodecContext *c, const char *params)
{
    const struct h264_sps *sps = &s->sps;
    bool ordered = sps->order_type == 2; // shown as they are decoded
    char all[200];
    if (ordered)
        c->max_b_frames = 0;
    snprintf(all, sizeof(all), "%s%ssps-id=%d:dpb-size=%d:b-pyramid=%s", params, *params ? ":" : "",
             s->pps_id, KB_MAX(sps->n_refs, 1), ordered || sps->n_reorder < 2 ? "none" : "normal");
    av_opt_set(c->priv_data, "x264-params", all, 0);
    const char *profile = sps->profile == 66 ? "baseline" : sps->profile == 77 ? "main" : "high";
    av_opt_set(c->priv_data, "profile", profile, 0);
}

// Pictures that were written for a are read right by who knows b. How many pictures are kept must
// be the same, too: which ones a player refers to follows from that.
static bool is_read_right(const struct h264_sps *a, const struct h264_sps *b)
{
    return a->profile == b->profile && a->level <= b->level &&
           a->log2_frame_num == b->log2_frame_num && a->order_type == b->order_type &&
           a->log2_order == b->log2_order && a->n_refs == b->n_refs && a->gaps == b->gaps &&
           a->width == b->width && a->height == b->height &&
           memcmp(a->crop, b->crop, sizeof(a->crop)) == 0 &&
           a->aspect[0] * (int64_t)b->aspect[1] == a->aspect[1] * (int64_t)b->aspect[0] &&
           a->range == b->range && a->primaries == b->primaries && a->transfer == b->transfer &&
           a->matrix == b->matrix && a->n_reorder <= KB_MAX(b->n_reorder, 0) &&
           (b->n_buffered < 0 || a->n_buffered <= b->n_buffered);
}

// The encoder's SPS, if it writes what the film's says, and its PPS as one of the film's SPS: a new
// array. NULL: it does not.
static uint8_t *fitting_pps(const struct splice *s, const AVCodecContext *c, size_t *ret_size)
{
    struct h264_units units = {c->extradata, c->extradata + c->extradata_size, 0, false};
    struct h264_unit u, pps = {0};
    struct h264_sps sps;
    int id, sps_id;
    bool fits = false;
    while (c->extradata && h264_next(&units, &u)) {
        if (h264_type(&u) == H264_SPS)
            fits = h264_read_sps(&sps, &u) && is_read_right(&sps, &s->sps);
        else if (h264_type(&u) == H264_PPS)
            pps = u;
    }
    if (!fits || pps.size == 0 || !h264_read_pps(&pps, &id, &sps_id) || id != s->pps_id)
        return NULL;
    uint8_t *data = kb_alloc(H264_PPS_ROOM(pps.size));
    *ret_size = h264_pps_of(&pps, s->sps.id, data);
    return data;
}

bool splice_fit(struct splice *s, const AVCodecContext *c)
{
    s->pps = fitting_pps(s, c, &s->pps_size);
    s->order = KB_MAX(c->has_b_frames, s->sps.n_reorder);
    s->step = 1;
    if (c->framerate.num > 0)
        s->step = KB_MAX(av_rescale_q(1, av_inv_q(c->framerate), c->time_base), 1);
    return s->pps && s->pps_size > 0;
}

bool splice_fits_again(const struct splice *s, const AVCodecContext *c)
{
    size_t size = 0;
    CLEANUP(kb_freep) uint8_t *pps = fitting_pps(s, c, &size);
    return pps && size == s->pps_size && memcmp(pps, s->pps, size) == 0;
}

enum kb_code splice_describe(const struct splice *s, AVCodecParameters *par, struct kb_error *err)
{
    struct h264_config both = s->config;
    both.pps[both.n_pps++] = (struct h264_unit){s->pps, s->pps_size};
    size_t size = h264_config_size(&both);
    uint8_t *data = av_mallocz(size + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!data)
        return kb_no_memory(err);
    h264_write_config(&both, data);
    av_freep(&par->extradata);
    par->extradata = data;
    par->extradata_size = (int)size;
    return KB_OK;
}

enum kb_code splice_expect(struct splice *s, int64_t pts, struct kb_error *err)
{
    if (s->n == s->capacity) {
        size_t capacity = KB_MAX(2 * s->capacity, 256);
        int64_t *grown = realloc(s->times, capacity * sizeof(*grown));
        if (!grown)
            return kb_no_memory(err);
        s->times = grown;
        s->capacity = capacity;
    }
    s->times[s->n++] = pts;
    return KB_OK;
}

int64_t splice_next_dts(struct splice *s)
{
    size_t i = s->n_stamped++, order = (size_t)s->order;
    return i < order ? s->times[0] - (int64_t)(order - i) * s->step : s->times[i - order];
}
