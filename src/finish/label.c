#include "finish/label.h"

#include "base/utf8.h"
#include "finish/internal.h"
#include "finish/lettering.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LEAST_LETTER 0.05 // of the shorter side: GB 45438-2025, 5.4
#define START_LETTER 0.075
#define START_US     3000000 // 5.4: at least two seconds
#define FADE_US      300000  // after that
#define MARGIN       0.03    // to the picture's edges, of the shorter side
#define START_HEIGHT 0.76    // of the picture: below faces, above subtitles

const char *const label_shows[N_LABEL_SHOWS] = {"off", "corner", "start", "both"};
const char *const label_places[N_LABEL_PLACES] = {"top-left", "top-right", "bottom-left",
                                                  "bottom-right"};

// --- what may be asked for

static int find_word(const char *word, const char *const *words, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    return -1;
}

bool label_show_parse(const char *word, enum label_show *ret)
{
    int i = find_word(word, label_shows, N_LABEL_SHOWS);
    if (i >= 0)
        *ret = (enum label_show)i;
    return i >= 0;
}

bool label_place_parse(const char *word, enum label_place *ret)
{
    int i = find_word(word, label_places, N_LABEL_PLACES);
    if (i >= 0)
        *ret = (enum label_place)i;
    return i >= 0;
}

static bool has_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        for (const char *at = text; *at; at++)
            if (strncasecmp(at, *words, strlen(*words)) == 0)
                return true;
    return false;
}

enum kb_code label_text_check(const char *text, struct kb_error *err)
{
    static const char *const ai[] = {"AI", "人工智能", NULL};
    static const char *const made[] = {"生成", "合成", "generat", "synthe", NULL};
    int length;
    if (!utf8_valid(text) || utf8_count(text) > LABEL_MAX_LETTERS)
        return kb_fail(err, KB_BAD_INPUT, _("the label's text has at most %d letters"),
                       LABEL_MAX_LETTERS);
    for (const char *c = text; *c; c += length)
        if (utf8_is_hidden(utf8_next(c, &length)) || strchr("{}\\", *c))
            return kb_fail(err, KB_BAD_INPUT,
                           _("the label's text is one line without the signs { } \\"));
    if (!has_one_of(text, ai) || !has_one_of(text, made))
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the label's text '%s' does not say what it must (GB 45438-2025): that it "
              "is AI's (AI or 人工智能) and generated or synthesised (生成 or 合成), for "
              "instance AI生成"),
            text);
    return KB_OK;
}

char *label_note(const struct label_params *p)
{
    return p->show == LABEL_OFF
               ? NULL
               : kb_printf("%s %s", label_shows[p->show], p->text ? p->text : LABEL_TEXT);
}

int label_corner(const struct label_params *p)
{
    return p->show == LABEL_CORNER || p->show == LABEL_BOTH ? (int)p->place : -1;
}

// --- the step

struct mark {
    struct overlay *overlay; // NULL: not wanted
    int x, y;
};

struct label {
    struct mark corner, start;
    float opacity;
};

static void label_close(void *step)
{
    struct label *l = step;
    overlay_free(&l->corner.overlay);
    overlay_free(&l->start.overlay);
    free(l);
}

static void label_free(struct label **l)
{
    if (*l)
        label_close(TAKE(*l));
}

static enum kb_code make_mark(struct mark *m, const struct label_params *p,
                              const struct finish_picture *picture, double letter,
                              struct kb_error *err)
{
    double shape = picture->sample_aspect.num > 0 && picture->sample_aspect.den > 0
                       ? av_q2d(picture->sample_aspect)
                       : 1;
    double shorter = KB_MIN(picture->width * shape, (double)picture->height);
    const struct lettering_params lp = {.text = p->text ? p->text : LABEL_TEXT,
                                        .letter = ceil(shorter * letter),
                                        .width = (int)(picture->width * (1 - 2 * MARGIN)),
                                        .pixel_shape = shape,
                                        .centred = letter > LEAST_LETTER};
    return lettering_make(&m->overlay, &lp, err);
}

static void place_corner(struct mark *m, enum label_place place, const struct finish_picture *p)
{
    int margin = (int)lrint(KB_MIN(p->width, p->height) * MARGIN);
    bool right = place == LABEL_TOP_RIGHT || place == LABEL_BOTTOM_RIGHT;
    bool bottom = place == LABEL_BOTTOM_LEFT || place == LABEL_BOTTOM_RIGHT;
    m->x = right ? p->width - margin - overlay_width(m->overlay) : margin;
    m->y = bottom ? p->height - margin - overlay_height(m->overlay) : margin;
}

static void place_start(struct mark *m, const struct finish_picture *p)
{
    m->x = (p->width - overlay_width(m->overlay)) / 2;
    m->y = (int)(p->height * START_HEIGHT) - overlay_height(m->overlay) / 2;
    m->y = KB_MIN(m->y, p->height - overlay_height(m->overlay));
}

static enum kb_code label_open(void **ret, const struct finish_params *params,
                               const struct finish_source *source, struct finish_picture *picture,
                               struct kb_error *err)
{
    const struct label_params *p = &params->label;
    if (p->show == LABEL_OFF)
        return KB_OK;
    CLEANUP(label_free) struct label *l = kb_alloc(sizeof(*l));
    l->opacity = p->opacity > 0 ? KB_MAX(p->opacity, LABEL_LEAST_OPACITY) : LABEL_OPACITY;
    enum kb_code code = p->text ? label_text_check(p->text, err) : KB_OK;
    if (code == KB_OK && p->show != LABEL_START)
        code = make_mark(&l->corner, p, picture, LEAST_LETTER, err);
    if (code == KB_OK && p->show != LABEL_CORNER)
        code = make_mark(&l->start, p, picture, START_LETTER, err);
    if (code != KB_OK)
        return kb_wrap(err, _("the AI label (--ai-label)"));
    if (l->corner.overlay)
        place_corner(&l->corner, p->place, picture);
    if (l->start.overlay)
        place_start(&l->start, picture);
    *ret = TAKE(l);
    return KB_OK;
}

static enum kb_code label_put(void *step, AVFrame **frame, const struct finish_moment *at,
                              struct kb_error *err)
{
    const struct label *l = step;
    enum kb_code code = KB_OK;
    if (l->corner.overlay)
        code = overlay_draw(l->corner.overlay, *frame, l->corner.x, l->corner.y, l->opacity, err);
    int64_t over_us = at->output_us - START_US;
    if (code == KB_OK && l->start.overlay && over_us < FADE_US)
        code = overlay_draw(l->start.overlay, *frame, l->start.x, l->start.y,
                            over_us <= 0 ? 1 : 1 - (float)over_us / FADE_US, err);
    return code;
}

const struct finish_step label_step = {
    .open = label_open, .put = label_put, .close = label_close, .everywhere = true};
