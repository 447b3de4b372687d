#include "finish/lettering.h"

#include "base/text.h"
#include "base/utf8.h"
#include "finish/font.h"

#include <ass/ass.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROOM      3 // of the canvas on each side, in letters: rim and shadow
#define MAX_LINES 4
#define MAX_SIZE  4000 // of a letter; pictures have at most 16384 rows

// What is painted, in pixels of the canvas.
struct box {
    int left, top, right, bottom;
};

struct press {
    ASS_Library *library;
    ASS_Renderer *renderer;
    char family[FONT_NAME];
    const struct lettering_params *p;
};

static void be_silent(int level, const char *fmt, va_list args, void *data)
{
}

static void press_close(struct press *press)
{
    if (press->renderer)
        ass_renderer_done(press->renderer);
    if (press->library)
        ass_library_done(press->library);
}

static enum kb_code press_open(struct press *press, const struct lettering_params *p,
                               struct kb_error *err)
{
    enum kb_code code = font_family(NULL, press->family, err);
    if (code != KB_OK)
        return code;
    press->p = p;
    press->library = ass_library_init();
    if (!press->library)
        return kb_no_memory(err);
    ass_set_message_cb(press->library, be_silent, NULL);
    press->renderer = ass_renderer_init(press->library);
    if (!press->renderer)
        return kb_no_memory(err);
    ass_set_fonts(press->renderer, NULL, press->family, ASS_FONTPROVIDER_AUTODETECT, NULL, 1);
    ass_set_pixel_aspect(press->renderer, p->pixel_shape);
    return KB_OK;
}

// text in letters of a size, on a canvas of its own, in the left top or the top middle of it.
static ASS_Track *set(struct press *press, const char *text, double size, int width, int height)
{
    CLEANUP(text_free) struct text script = {0};
    text_addf(&script,
              "[Script Info]\nScriptType: v4.00+\nWrapStyle: 2\nPlayResX: %d\nPlayResY: %d\n"
              "ScaledBorderAndShadow: yes\n[V4+ Styles]\n"
              "Format: Name, Fontname, Fontsize, PrimaryColour, OutlineColour, BackColour, Bold, "
              "BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV\n"
              "Style: L,%s,%.2f,&H00FFFFFF,&H50000000,&HA0000000,1,1,%.2f,%.2f,%d,%d,%d,%d\n"
              "[Events]\nFormat: Start, End, Style, Text\n"
              "Dialogue: 0:00:00.00,9:00:00.00,L,{\\blur%.2f}%s\n",
              width, height, press->family, size, size * 0.035, size * 0.03,
              press->p->centred ? 8 : 7, (int)size, (int)size, (int)size, size * 0.03, text);
    ass_set_frame_size(press->renderer, width, height);
    ass_set_storage_size(press->renderer, width, height);
    // It does not write there, its argument is only not const.
    return ass_read_memory(press->library, (char *)text_get(&script), script.size, NULL);
}

static void box_add(struct box *b, int x, int y)
{
    b->left = KB_MIN(b->left, x);
    b->top = KB_MIN(b->top, y);
    b->right = KB_MAX(b->right, x + 1);
    b->bottom = KB_MAX(b->bottom, y + 1);
}

// Where something is painted: by letters alone, more than half, or by anything.
static struct box box_of(const ASS_Image *images, bool letters)
{
    struct box b = {INT32_MAX, INT32_MAX, 0, 0};
    for (const ASS_Image *i = images; i; i = i->next)
        for (int y = 0; y < i->h; y++)
            for (int x = 0; x < i->w; x++) {
                int a = i->bitmap[(ptrdiff_t)y * i->stride + x];
                if (letters ? i->type == IMAGE_TYPE_CHARACTER && a > 127 : a > 0)
                    box_add(&b, i->dst_x + x, i->dst_y + y);
            }
    return b.right > 0 ? b : (struct box){0};
}

// How high and wide the letters of a text become.
static bool measure(struct press *press, const char *text, double size, int *ret_height,
                    int *ret_width)
{
    int width = (int)((double)(utf8_count(text) + 2 * ROOM) * size * 1.5);
    ASS_Track *track = set(press, text, size, width, (int)(size * 2 * ROOM));
    ASS_Image *images = track ? ass_render_frame(press->renderer, track, 1000, NULL) : NULL;
    struct box b = box_of(images, true);
    if (track)
        ass_free_track(track);
    *ret_height = b.bottom - b.top;
    *ret_width = b.right - b.left;
    return *ret_height > 0;
}

// The font's size with which the smaller kind of letters in the text is as high as wanted.
static bool find_size(struct press *press, double *ret)
{
    const char *text = press->p->text;
    bool latin = false, other = false;
    for (const char *c = text; *c; c++) {
        latin |= *c > ' ' && *c < 0x7f;
        other |= *c < 0;
    }
    double size = press->p->letter * 1.4;
    for (int tries = 0; tries < 40 && size < MAX_SIZE; tries++) {
        int least = INT32_MAX, h, w;
        if ((latin && !measure(press, "A", size, &h, &w)) ||
            (latin && (least = KB_MIN(least, h)) <= 0) ||
            (other && !measure(press, "\u751f", size, &h, &w)) || // 生
            (other && (least = KB_MIN(least, h)) <= 0))
            return false;
        *ret = size;
        if (least >= press->p->letter)
            return true;
        size = KB_MAX(size * press->p->letter / least, size + 0.5);
    }
    return false;
}

// Cut into n lines of about as many letters, at a space where one is near.
static void break_lines(const char *text, int n, struct text *ret)
{
    size_t count = utf8_count(text), at = 0, line = 1;
    for (const char *c = text; *c;) {
        int length;
        utf8_next(c, &length);
        size_t wanted = count * line / (size_t)n;
        bool cut = (int)line < n && at > 0 &&
                   (*c == ' ' ? at + 4 >= wanted : at >= wanted + (*c > 0 ? 4 : 0));
        if (cut) {
            text_add(ret, "\\N");
            line++;
        }
        if (!cut || *c != ' ')
            text_addf(ret, "%.*s", length, c);
        at++;
        c += length;
    }
}

// Layer over layer into premultiplied RGBA.
static void paint(const ASS_Image *images, const struct box *b, uint8_t *rgba)
{
    int width = b->right - b->left;
    for (const ASS_Image *i = images; i; i = i->next) {
        int opaque = 255 - (int)(i->color & 255);
        for (int y = 0; y < i->h; y++)
            for (int x = 0; x < i->w; x++) {
                int a = (i->bitmap[(ptrdiff_t)y * i->stride + x] * opaque + 127) / 255;
                if (a == 0)
                    continue;
                uint8_t *to =
                    rgba +
                    (((ptrdiff_t)(i->dst_y + y - b->top) * width) + i->dst_x + x - b->left) * 4;
                for (int c = 0; c < 4; c++) {
                    int value = c < 3 ? (int)(i->color >> (24 - 8 * c) & 255) : 255;
                    to[c] = (uint8_t)((value * a + to[c] * (255 - a) + 127) / 255);
                }
            }
    }
}

static enum kb_code print(struct press *press, const char *text, double size, struct overlay **ret,
                          struct kb_error *err)
{
    int width = (int)(press->p->width + 2 * ROOM * size);
    ASS_Track *track = set(press, text, size, width, (int)(size * 2 * (ROOM + MAX_LINES)));
    ASS_Image *images = track ? ass_render_frame(press->renderer, track, 1000, NULL) : NULL;
    struct box b = box_of(images, false);
    struct overlay_bitmap bitmap = {.width = b.right - b.left, .height = b.bottom - b.top};
    CLEANUP(kb_freep)
    uint8_t *rgba = kb_calloc_checked((size_t)bitmap.width * (size_t)bitmap.height, 4);
    enum kb_code code = KB_OK;
    if (!rgba || bitmap.width == 0) {
        code = kb_no_memory(err);
    } else {
        paint(images, &b, rgba);
        bitmap.data = rgba;
        bitmap.stride = (ptrdiff_t)bitmap.width * 4;
        code = overlay_create(ret, &bitmap, err);
    }
    if (track)
        ass_free_track(track);
    return code;
}

static enum kb_code make(struct press *press, struct overlay **ret, struct kb_error *err)
{
    double size = 0;
    const char *text = press->p->text;
    if (!find_size(press, &size))
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the text '%s' cannot be drawn with the font '%s'; install the package "
                         "fonts-wqy-microhei"),
                       text, press->family);
    for (int n = 1; n <= MAX_LINES; n++) {
        CLEANUP(text_free) struct text lines = {0};
        int h, w;
        break_lines(text, n, &lines);
        if (!measure(press, text_get(&lines), size, &h, &w))
            break;
        if (w <= press->p->width)
            return print(press, text_get(&lines), size, ret, err);
    }
    return kb_fail(err, KB_BAD_INPUT,
                   _("the text '%s' is too long for a picture of this width; choose a shorter one"),
                   text);
}

enum kb_code lettering_make(struct overlay **ret, const struct lettering_params *p,
                            struct kb_error *err)
{
    CLEANUP(press_close) struct press press = {0};
    *ret = NULL;
    enum kb_code code = press_open(&press, p, err);
    return code == KB_OK ? make(&press, ret, err) : code;
}
