// The options of a batch for shape and packaging: crop, logo, films before and after, music.
#include "queue/options_internal.h"

#include <jansson.h>

static enum kb_code set_crop(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    if (!json_is_string(v) || !reframe_parse(json_string_value(v), &o->dub.finish.reframe))
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the option 'crop' takes a shape such as 9:16, 1:1, 4:5 or 16:9; its sides "
              "may be 1 to 4 at most"));
    return KB_OK;
}

static enum kb_code set_crop_zoom(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    double zoom = 1;
    enum kb_code code = option_read_number("crop_zoom", v, 1, REFRAME_MAX_ZOOM, &zoom, err);
    o->dub.finish.reframe.zoom = (float)zoom;
    return code;
}

static enum kb_code set_logo(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_material(o, "logo", v,
                                _("the option 'logo' takes the id of an uploaded picture"), err);
}

static enum kb_code set_logo_place(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    if (!json_is_string(v) || !logo_place_parse(json_string_value(v), &o->dub.finish.logo.place))
        return option_not_one_of("logo_place", LOGO_PLACES, err);
    return KB_OK;
}

static enum kb_code read_logo(const char *name, const json_t *v, float low, float high, float *ret,
                              struct kb_error *err)
{
    double value = 0;
    enum kb_code code = option_read_number(name, v, (double)low, (double)high, &value, err);
    *ret = (float)value;
    return code;
}

static enum kb_code set_logo_size(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return read_logo("logo_size", v, LOGO_MIN_SIZE, LOGO_MAX_SIZE, &o->dub.finish.logo.size, err);
}

static enum kb_code set_logo_opacity(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return read_logo("logo_opacity", v, LOGO_MIN_OPACITY, 1, &o->dub.finish.logo.opacity, err);
}

static enum kb_code set_intro(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_material(
        o, "intro", v, _("the option 'intro' takes the id of an uploaded video or picture"), err);
}

static enum kb_code set_outro(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_material(
        o, "outro", v, _("the option 'outro' takes the id of an uploaded video or picture"), err);
}

static enum kb_code set_music(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_material(
        o, "music", v,
        _("the option 'music' takes the id of an uploaded sound, or of a video with one"), err);
}

static enum kb_code set_music_volume(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_fraction("music_volume", v, 1, &o->dub.music.volume, err);
}

static enum kb_code set_music_duck(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    bool duck = true;
    enum kb_code code = option_read_bool("music_duck", v, &duck, err);
    o->dub.music.steady = !duck;
    return code;
}

const struct option_row frame_options[] = {
    {"crop", set_crop},
    {"crop_zoom", set_crop_zoom},
    {"logo", set_logo},
    {"logo_place", set_logo_place},
    {"logo_size", set_logo_size},
    {"logo_opacity", set_logo_opacity},
    {"intro", set_intro},
    {"outro", set_outro},
    {"music", set_music},
    {"music_volume", set_music_volume},
    {"music_duck", set_music_duck},
    {0},
};
