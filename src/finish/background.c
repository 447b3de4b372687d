// The step: a rough mask of the people, or a coloured screen; the matte; what comes behind; the two
// together.
#include "finish/background.h"

#include "face/track.h"
#include "finish/backdrop.h"
#include "finish/blur.h"
#include "finish/chroma.h"
#include "finish/compose.h"
#include "finish/internal.h"
#include "finish/matte.h"
#include "finish/people.h"

#include <stdlib.h>
#include <string.h>

struct background {
    struct background_params params;
    const struct track *track;
    struct finish_picture picture;
    struct crew *crew;
    struct people *people;
    struct keyer *keyer; // NULL where no screen is looked for
    struct matter *matter;
    struct composer *composer;
    struct backdrop *backdrop;
    struct blurrer *blurrer;
    struct chroma_screen screen;
    float *alpha;    // by the screen, or rough
    int frame, shot; // of the track, of the picture before; -1 before the first
};

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool background_parse(const char *text, struct background_params *ret)
{
    if (strcmp(text, "none") == 0) {
        ret->kind = BACKGROUND_AS_IT_IS;
        return true;
    }
    if (strcmp(text, "blur") == 0) {
        ret->kind = BACKGROUND_BLUR;
        return true;
    }
    const char *digits = text[0] == '#' ? text + 1 : text;
    if (strlen(digits) != 6)
        return false;
    uint8_t rgb[3];
    for (int i = 0; i < 3; i++) {
        int high = hex_digit(digits[2 * i]), low = hex_digit(digits[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        rgb[i] = (uint8_t)(16 * high + low);
    }
    memcpy(ret->rgb, rgb, sizeof(rgb));
    ret->kind = BACKGROUND_COLOUR;
    return true;
}

static bool find_word(const char *text, const char *const *words, int *ret)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(text, words[i]) == 0) {
            *ret = i;
            return true;
        }
    return false;
}

bool background_key_parse(const char *text, enum background_key *ret)
{
    static const char *const words[] = {"auto", "person", "green", "blue", NULL};
    int i;
    if (!find_word(text, words, &i))
        return false;
    *ret = (enum background_key)i;
    return true;
}

const char *background_ending(enum background_alpha alpha)
{
    static const char *const endings[] = {".mp4", ".webm", ".mov"};
    return endings[alpha];
}

bool background_alpha_parse(const char *text, enum background_alpha *ret)
{
    static const char *const words[] = {"none", "webm", "mov", NULL};
    int i;
    if (!find_word(text, words, &i))
        return false;
    *ret = (enum background_alpha)i;
    return true;
}

static void background_close(void *opaque)
{
    struct background *b = opaque;
    people_close(&b->people);
    keyer_free(&b->keyer);
    matter_free(&b->matter);
    composer_free(&b->composer);
    backdrop_close(&b->backdrop);
    blurrer_free(&b->blurrer);
    crew_free(&b->crew);
    free(b->alpha);
    free(b);
}

static enum kb_code background_open(void **ret, const struct finish_params *p,
                                    const struct finish_source *source,
                                    struct finish_picture *picture, struct kb_error *err)
{
    const struct background_params *want = &p->background;
    if (want->kind == BACKGROUND_AS_IT_IS && want->alpha == ALPHA_NONE)
        return KB_OK;
    struct background *b = kb_alloc(sizeof(*b));
    *b = (struct background){.params = *want,
                             .track = source->track,
                             .picture = *picture,
                             .crew = crew_create(source->threads),
                             .frame = -1};
    b->matter = matter_create(picture->width, picture->height, b->crew);
    const struct matte *m = matter_matte(b->matter);
    b->composer = composer_create(m, b->crew);
    b->alpha = kb_alloc((size_t)m->w * (size_t)m->h * sizeof(float));
    enum kb_code code = KB_OK;
    if (want->kind == BACKGROUND_BLUR)
        b->blurrer = blurrer_create(m, b->crew);
    if (want->kind == BACKGROUND_COLOUR || want->kind == BACKGROUND_FILE)
        code = backdrop_open(&b->backdrop, want, picture, source, err);
    if (want->key != KEY_PERSON)
        b->keyer = keyer_create(m, b->crew);
    if (code == KB_OK)
        code = people_open(&b->people, picture, source, err);
    if (code != KB_OK) {
        background_close(b);
        return code;
    }
    if (want->alpha != ALPHA_NONE) {
        picture->alpha = true;
        picture->deep = false;
    }
    *ret = b;
    return KB_OK;
}

// At the first picture of a view it is told whether there is a screen.
static void look_for_screen(struct background *b, const struct matte *m)
{
    static const char only[] = {0, 0, 'g', 'b'};
    if (b->params.key != KEY_PERSON)
        b->screen = chroma_find(m, only[b->params.key]);
    if (b->params.key == KEY_GREEN || b->params.key == KEY_BLUE)
        b->screen.found = true;
}

static enum kb_code make_matte(struct background *b, const AVFrame *frame,
                               const struct finish_moment *at, struct kb_error *err)
{
    const struct matte *m = matter_matte(b->matter);
    int shot = b->track ? track_shot(b->track, at->track_frame) : 0;
    bool is_new = b->frame < 0 || shot != b->shot;
    matter_look(b->matter, frame, is_new);
    if (is_new)
        look_for_screen(b, m);
    b->frame = at->track_frame;
    b->shot = shot;
    enum kb_code code =
        people_find(b->people, b->crew, frame, at->track_frame, b->alpha, m->w, m->h, err);
    if (code != KB_OK)
        return code;
    if (b->screen.found)
        keyer_run(b->keyer, &b->screen, m, b->alpha);
    matter_refine(b->matter, b->alpha);
    return KB_OK;
}

// The alpha as a fourth plane.
static enum kb_code add_alpha(struct background *b, AVFrame **frame, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    if (!f)
        return kb_no_memory(err);
    f->width = (*frame)->width;
    f->height = (*frame)->height;
    f->format = AV_PIX_FMT_YUVA420P;
    if (av_frame_get_buffer(f, 0) < 0 || av_frame_copy_props(f, *frame) < 0)
        return kb_no_memory(err);
    av_buffer_unref(&f->opaque_ref); // its ten bits, where a film has them (media/deep.h)
    for (int plane = 0; plane < 4; plane++) {
        bool coarse = plane == 1 || plane == 2;
        const uint8_t *from = plane < 3 ? (*frame)->data[plane] : composer_alpha(b->composer);
        ptrdiff_t stride = plane < 3 ? (*frame)->linesize[plane] : f->width;
        for (int y = 0; y < f->height >> coarse; y++)
            memcpy(f->data[plane] + (ptrdiff_t)y * f->linesize[plane], from + y * stride,
                   (size_t)f->width >> coarse);
    }
    av_frame_free(frame);
    *frame = TAKE(f);
    return KB_OK;
}

static enum kb_code background_put(void *opaque, AVFrame **frame, const struct finish_moment *at,
                                   struct kb_error *err)
{
    struct background *b = opaque;
    const struct matte *m = matter_matte(b->matter);
    const AVFrame *behind = NULL;
    const struct compose_screen none = {0};
    enum kb_code code = make_matte(b, *frame, at, err);
    if (code == KB_OK && b->blurrer)
        code = blurrer_run(b->blurrer, m, &behind, err);
    if (code == KB_OK && b->backdrop)
        code = backdrop_at(b->backdrop, at->pts_us, &behind, err);
    if (code != KB_OK)
        return code;
    if (av_frame_make_writable(*frame) < 0)
        return kb_no_memory(err);
    const struct compose_screen spill = b->screen.found ? chroma_spill(&b->screen) : none;
    composer_run(b->composer, m, &spill, *frame, behind,
                 b->picture.range == AVCOL_RANGE_JPEG ? 0 : 16);
    return b->params.alpha != ALPHA_NONE ? add_alpha(b, frame, err) : KB_OK;
}

const struct finish_step background_step = {
    .open = background_open, .put = background_put, .close = background_close};
