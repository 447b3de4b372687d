// libass draws the letters; a picture of them is kept as an overlay for as long as it says that
// nothing changed.
#include "finish/captions.h"

#include "base/text.h"
#include "finish/cut.h"
#include "finish/internal.h"
#include "finish/mouth.h"
#include "finish/overlay.h"
#include "media/subtitle_file.h"

#include <ass/ass.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CACHED_GLYPHS 2000
#define CACHED_MB     32
#define MOUTH_HIDDEN  0.03 // of all pictures: no matter

struct captions {
    const struct captions_params *p;
    const struct words *words;
    struct subtitle_file file;
    struct subtitle_track track; // laid out
};

// --- what the user says

static bool parse_word(const char *text, size_t n, const char *const *words, size_t n_words,
                       size_t *ret)
{
    for (*ret = 0; *ret < n_words; ++*ret)
        if (strlen(words[*ret]) == n && strncmp(words[*ret], text, n) == 0)
            return true;
    return false;
}

bool captions_as_parse(const char *text, unsigned *ret)
{
    static const char *const words[] = {"burn", "srt", "stream"};
    unsigned as = 0;
    if (strcmp(text, "none") == 0) {
        *ret = 0;
        return true;
    }
    for (const char *word = text;; word++) {
        size_t n = strcspn(word, ","), i;
        if (!parse_word(word, n, words, ARRAY_LEN(words), &i))
            return false;
        as |= 1U << i;
        word += n;
        if (!*word)
            break;
    }
    *ret = as;
    return true;
}

bool captions_place_parse(const char *text, enum captions_place *ret)
{
    static const char *const words[] = {"bottom", "middle", "top"};
    size_t i;
    if (!parse_word(text, strlen(text), words, ARRAY_LEN(words), &i))
        return false;
    *ret = (enum captions_place)i;
    return true;
}

bool captions_colour_parse(const char *text, uint32_t *ret)
{
    text += *text == '#';
    if (strlen(text) != 6 || strspn(text, "0123456789abcdefABCDEF") != 6)
        return false;
    *ret = (uint32_t)strtoul(text, NULL, 16);
    return true;
}

bool captions_wanted(const struct captions_params *p)
{
    return p->as && (p->file || p->cues || (p->words && p->words->n > 0) || p->text);
}

// --- what they are

enum kb_code captions_load(struct captions **ret, const struct captions_params *p,
                           const struct words *words, struct kb_error *err)
{
    CLEANUP(captions_free) struct captions *c = kb_alloc(sizeof(*c));
    c->p = p;
    c->words = words ? words : p->words;
    enum kb_code code = KB_OK;
    if (p->file)
        code = subtitle_file_read(&c->file, p->file, err);
    if (code == KB_OK)
        *ret = TAKE(c);
    return code;
}

const struct subtitle_track *captions_track(const struct captions *c)
{
    return &c->track;
}

void captions_free(struct captions **c)
{
    if (!*c)
        return;
    subtitle_file_clear(&(*c)->file);
    subtitle_track_clear(&(*c)->track);
    free(TAKE(*c));
}

const struct subtitle_file *captions_file(const struct captions *c)
{
    return c->p->file ? &c->file : NULL;
}

unsigned captions_as(const struct captions *c)
{
    return c->p->as;
}

enum kb_code captions_check(const struct captions_params *p, struct kb_error *err)
{
    CLEANUP(subtitle_file_clear) struct subtitle_file file = {0};
    char font[FONT_NAME];
    if (!captions_wanted(p))
        return KB_OK;
    enum kb_code code = p->file ? subtitle_file_read(&file, p->file, err) : KB_OK;
    if (code != KB_OK)
        return kb_wrap(err, _("the subtitles (--subtitles)"));
    return p->as & CAPTIONS_BURN ? font_family(p->font, font, err) : KB_OK;
}

static double size_of(float size)
{
    return size > 0 ? (double)size / 100 : CUT_SIZE;
}

// Of others: each one's lines, and of two at once the later one is seen.
static enum kb_code lay_out(struct subtitle_track *ret, const struct subtitle_track *from,
                            const struct cut_limits *l, struct kb_error *err)
{
    for (size_t i = 0; i < from->n; i++) {
        const struct subtitle *s = &from->at[i];
        int64_t end = i + 1 < from->n ? KB_MIN(s->end_us, from->at[i + 1].start_us) : s->end_us;
        CLEANUP(kb_freep) char *lines = cut_lines(s->text, l);
        if (!lines)
            return kb_no_memory(err);
        if (*lines && end > s->start_us)
            subtitle_add(ret, s->start_us, end, lines);
    }
    return KB_OK;
}

// What lies behind the end of the dub.
static void cut_off(struct subtitle_track *t, int64_t length_us)
{
    while (t->n > 0 && t->at[t->n - 1].start_us >= length_us)
        free(t->at[--t->n].text);
    if (t->n > 0)
        t->at[t->n - 1].end_us = KB_MIN(t->at[t->n - 1].end_us, length_us);
}

enum kb_code captions_preview(struct subtitle_track *ret, const struct words *words, int width,
                              int height, float size, struct kb_error *err)
{
    const struct cut_limits l = cut_limits_of(width, height, size_of(size));
    return cut_words(ret, words, &l, err);
}

static enum kb_code make_track(struct captions *c, const struct finish_picture *picture,
                               int64_t length_us, struct kb_error *err)
{
    // Pixels may be wider than high.
    double aspect = picture->sample_aspect.num > 0 && picture->sample_aspect.den > 0
                        ? av_q2d(picture->sample_aspect)
                        : 1;
    int width = (int)lrint(KB_MIN(picture->width * aspect, 1e6));
    const struct cut_limits l =
        cut_limits_of(KB_MAX(width, 2), picture->height, size_of(c->p->size));
    const struct subtitle_track *from = c->p->file ? &c->file.track : c->p->cues;
    enum kb_code code =
        from ? lay_out(&c->track, from, &l, err) : cut_words(&c->track, c->words, &l, err);
    if (code == KB_OK)
        cut_off(&c->track, length_us);
    return code;
}

// --- drawing

struct drawer {
    ASS_Library *library;
    ASS_Renderer *renderer;
    ASS_Track *track;
    struct overlay *overlay; // NULL: nothing is to be seen
    int x, y;
    uint8_t *bitmap; // RGBA, grows
    size_t capacity;
};

static void say_nothing(int level, const char *fmt, va_list args, void *opaque)
{
    (void)level, (void)fmt, (void)args, (void)opaque;
}

static void drawer_close(void *opaque)
{
    struct drawer *d = opaque;
    overlay_free(&d->overlay);
    if (d->track)
        ass_free_track(d->track);
    if (d->renderer)
        ass_renderer_done(d->renderer);
    if (d->library)
        ass_library_done(d->library);
    free(d->bitmap);
    free(d);
}

static void drawer_freep(struct drawer **d)
{
    if (*d)
        drawer_close(TAKE(*d));
}

static double letters_of(const struct finish_picture *p, float size)
{
    return KB_MIN(p->width, p->height) * size_of(size);
}

// Rows that all subtitles need at most.
static double rows_of(const struct captions *c, const struct finish_picture *p, const char *font)
{
    double letters = letters_of(p, c->p->size);
    int n_lines = 1;
    for (size_t i = 0; i < c->track.n; i++) {
        int n = 1;
        for (const char *t = c->track.at[i].text; *t; t++)
            n += *t == '\n';
        n_lines = KB_MAX(n_lines, n);
    }
    return letters * (1.2 + (n_lines - 1) * font_line(font));
}

// How far from the edge, as a part of the height: above a player's controls; in tall pictures
// above what the platforms lay over them. Nearer to the edge where they would hide the mouth.
static double margin_of(const struct captions *c, const struct finish_source *source,
                        const struct finish_picture *p, const char *font)
{
    static const double tall_ones[] = {0.20, 0.15, 0.10, 0.06}, others[] = {0.085, 0.05, 0.03};
    bool tall = p->height > p->width * 5 / 4;
    if (c->p->place == CAPTIONS_TOP)
        return tall ? 0.12 : 0.07;
    const double *margins = tall ? tall_ones : others;
    size_t n = tall ? ARRAY_LEN(tall_ones) : ARRAY_LEN(others), best = 0;
    double least = 1, rows = rows_of(c, p, font);
    for (size_t i = 0; i < n && least > MOUTH_HIDDEN; i++) {
        double bottom = p->height * (1 - margins[i]);
        double hidden = mouth_between(source, p, bottom - rows, bottom);
        if (hidden < least || i == 0) {
            least = hidden;
            best = i;
        }
    }
    return margins[best];
}

// In ASS numbers: 0xAABBGGRR in hexadecimal, AA 00 for opaque.
static unsigned ass_colour(uint32_t rgb, unsigned transparency)
{
    return transparency << 24 | (rgb & 0xff) << 16 | (rgb & 0xff00) | rgb >> 16;
}

// The script's units are pixels.
static void write_head(struct text *ret, const struct captions_params *p,
                       const struct finish_picture *picture, double margin, const char *font)
{
    double size = letters_of(picture, p->size);
    uint32_t colour = p->coloured ? p->colour : 0xffffff;
    static const int alignments[] = {
        [CAPTIONS_BOTTOM] = 2, [CAPTIONS_MIDDLE] = 5, [CAPTIONS_TOP] = 8};
    text_addf(ret,
              "[Script Info]\nScriptType: v4.00+\nPlayResX: %d\nPlayResY: %d\nWrapStyle: 0\n"
              "ScaledBorderAndShadow: yes\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize, "
              "PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, "
              "StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, "
              "MarginL, MarginR, MarginV, Encoding\n",
              picture->width, picture->height);
    // A box is the shadow of style 4 (libass's own): behind all lines together.
    text_addf(ret,
              "Style: Default,%s,%.2f,&H%08X,&H%08X,&H%08X,&H%08X,%d,0,0,0,100,100,%.2f,0,%d,%.2f,"
              "%.2f,%d,%d,%d,%d,1\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, "
              "MarginR, MarginV, Effect, Text\n",
              font, size * font_line(font), ass_colour(colour, 0), ass_colour(colour, 0),
              ass_colour(0x101010, p->box ? 0xff : 0x18),
              ass_colour(0x000000, p->box ? 0x60 : 0x90), p->box ? 0 : -1, size * 0.02,
              p->box ? 4 : 1, p->box ? 0 : size * 0.065, p->box ? size * 0.22 : size * 0.02,
              alignments[p->place], (int)(picture->width * 0.04), (int)(picture->width * 0.04),
              (int)(picture->height * margin));
}

// The letters as they are: braces and backslashes mean nothing.
static void add_plain(struct text *ret, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            text_add(ret, "\\N");
        else if (*text == '{' || *text == '}')
            text_addf(ret, "\\%c", *text);
        else if (*text == '\\')
            text_add(ret, "\\\xe2\x81\xa0"); // word joiner: no letter of a command follows
        else
            text_add_bytes(ret, text, 1);
    }
}

static ASS_Track *script_of(struct drawer *d, const struct captions *c,
                            const struct finish_source *source,
                            const struct finish_picture *picture, const char *font)
{
    CLEANUP(text_free) struct text script = {0};
    if (c->file.ass) // has its own styles
        return ass_read_memory(d->library, c->file.ass, strlen(c->file.ass), NULL);
    write_head(&script, c->p, picture, margin_of(c, source, picture, font), font);
    for (size_t i = 0; i < c->track.n; i++) {
        const struct subtitle *s = &c->track.at[i];
        int64_t from = (KB_MAX(s->start_us, 0) + 5000) / 10000, to = (s->end_us + 5000) / 10000;
        text_addf(&script, "Dialogue: 0,%lld:%02d:%02d.%02d,%lld:%02d:%02d.%02d,Default,,0,0,0,,",
                  (long long)(from / 360000), (int)(from / 6000 % 60), (int)(from / 100 % 60),
                  (int)(from % 100), (long long)(to / 360000), (int)(to / 6000 % 60),
                  (int)(to / 100 % 60), (int)(to % 100));
        add_plain(&script, s->text);
        text_add(&script, "\n");
    }
    return ass_read_memory(d->library, script.data, script.size, NULL);
}

static enum kb_code open_drawer(void **ret, struct captions *c, const struct finish_source *source,
                                const struct finish_picture *picture, struct kb_error *err)
{
    char font[FONT_NAME];
    CLEANUP(drawer_freep) struct drawer *d = kb_alloc(sizeof(*d));
    enum kb_code code = font_family(c->p->font, font, err);
    if (code != KB_OK)
        return code;
    d->library = ass_library_init();
    if (d->library) {
        ass_set_message_cb(d->library, say_nothing, NULL);
        ass_set_extract_fonts(d->library, 0); // of strangers' files
        d->renderer = ass_renderer_init(d->library);
    }
    if (!d->renderer)
        return kb_no_memory(err);
    ass_set_cache_limits(d->renderer, CACHED_GLYPHS, CACHED_MB);
    ass_set_frame_size(d->renderer, picture->width, picture->height);
    ass_set_storage_size(d->renderer, picture->width, picture->height);
    if (picture->sample_aspect.num > 0 && picture->sample_aspect.den > 0)
        ass_set_pixel_aspect(d->renderer, av_q2d(picture->sample_aspect));
    ass_set_fonts(d->renderer, NULL, font, ASS_FONTPROVIDER_AUTODETECT, NULL, 1);
    d->track = script_of(d, c, source, picture, font);
    if (!d->track)
        return kb_fail(err, KB_BAD_INPUT, _("the subtitles in '%s' cannot be drawn"),
                       c->p->file ? c->p->file : "");
    *ret = TAKE(d);
    return KB_OK;
}

static enum kb_code captions_open_step(void **ret, const struct finish_params *p,
                                       const struct finish_source *source,
                                       struct finish_picture *picture, struct kb_error *err)
{
    struct captions *c = p->captions.loaded;
    if (!c)
        return KB_OK;
    enum kb_code code = make_track(c, picture, source->length_us, err);
    if (code == KB_OK && c->p->as & CAPTIONS_BURN)
        code = open_drawer(ret, c, source, picture, err);
    return code;
}

// The rectangle that all of them lie in, within the picture. False: nothing.
static bool bounds_of(const ASS_Image *list, const AVFrame *frame, int ret[4])
{
    int left = frame->width, top = frame->height, right = 0, bottom = 0;
    for (const ASS_Image *i = list; i; i = i->next) {
        if (i->w <= 0 || i->h <= 0)
            continue;
        left = KB_MIN(left, i->dst_x);
        top = KB_MIN(top, i->dst_y);
        right = KB_MAX(right, i->dst_x + i->w);
        bottom = KB_MAX(bottom, i->dst_y + i->h);
    }
    ret[0] = KB_MAX(left, 0) & ~1; // even, so that chroma falls as it will
    ret[1] = KB_MAX(top, 0) & ~1;
    ret[2] = KB_MIN(right, frame->width) - ret[0];
    ret[3] = KB_MIN(bottom, frame->height) - ret[1];
    return ret[2] > 0 && ret[3] > 0;
}

// One of libass's coverages over what lies there, premultiplied.
static void blend_image(uint8_t *rgba, const int box[4], const ASS_Image *i)
{
    unsigned opacity = 255 - (i->color & 0xff);
    const uint8_t colour[3] = {(uint8_t)(i->color >> 24), (uint8_t)(i->color >> 16),
                               (uint8_t)(i->color >> 8)};
    int from_x = KB_MAX(i->dst_x, box[0]), to_x = KB_MIN(i->dst_x + i->w, box[0] + box[2]);
    int from_y = KB_MAX(i->dst_y, box[1]), to_y = KB_MIN(i->dst_y + i->h, box[1] + box[3]);
    for (int y = from_y; y < to_y; y++) {
        const uint8_t *from = i->bitmap + (ptrdiff_t)(y - i->dst_y) * i->stride - i->dst_x;
        uint8_t *to = rgba + ((ptrdiff_t)(y - box[1]) * box[2] - box[0]) * 4;
        for (int x = from_x; x < to_x; x++) {
            unsigned a = (from[x] * opacity + 127) / 255;
            uint8_t *pixel = to + (ptrdiff_t)x * 4;
            for (int k = 0; k < 3 && a; k++)
                pixel[k] = (uint8_t)((colour[k] * a + pixel[k] * (255 - a) + 127) / 255);
            pixel[3] = (uint8_t)(a + (pixel[3] * (255 - a) + 127) / 255);
        }
    }
}

static enum kb_code take_images(struct drawer *d, const ASS_Image *list, const AVFrame *frame,
                                struct kb_error *err)
{
    int box[4];
    overlay_free(&d->overlay);
    if (!bounds_of(list, frame, box))
        return KB_OK;
    size_t size = (size_t)box[2] * (size_t)box[3] * 4;
    if (size > d->capacity) {
        uint8_t *grown = realloc(d->bitmap, size);
        if (!grown)
            return kb_no_memory(err);
        d->bitmap = grown;
        d->capacity = size;
    }
    memset(d->bitmap, 0, size);
    for (const ASS_Image *i = list; i; i = i->next)
        if (i->w > 0 && i->h > 0)
            blend_image(d->bitmap, box, i);
    const struct overlay_bitmap bitmap = {
        .data = d->bitmap, .stride = (ptrdiff_t)box[2] * 4, .width = box[2], .height = box[3]};
    d->x = box[0];
    d->y = box[1];
    return overlay_create(&d->overlay, &bitmap, err);
}

static enum kb_code captions_put_step(void *opaque, AVFrame **frame, const struct finish_moment *at,
                                      struct kb_error *err)
{
    struct drawer *d = opaque;
    int changed = 0;
    ASS_Image *list = ass_render_frame(d->renderer, d->track, at->pts_us / 1000, &changed);
    enum kb_code code = changed ? take_images(d, list, *frame, err) : KB_OK;
    if (code == KB_OK && d->overlay)
        code = overlay_draw(d->overlay, *frame, d->x, d->y, 1, err);
    return code;
}

const struct finish_step captions_step = {
    .open = captions_open_step, .put = captions_put_step, .close = drawer_close};
