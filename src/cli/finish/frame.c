// --crop, --logo, --intro, --outro, --music and what belongs to them (docs/frame.md).
#include "cli/finish/finish.h"

#include <string.h>

enum {
    OPT_CROP = 2200,
    OPT_CROP_ZOOM,
    OPT_LOGO,
    OPT_LOGO_PLACE,
    OPT_LOGO_SIZE,
    OPT_LOGO_OPACITY,
    OPT_INTRO,
    OPT_OUTRO,
    OPT_MUSIC,
    OPT_MUSIC_VOLUME,
    OPT_MUSIC_DUCK
};

static const struct argp_option frame_options[] = {
    {NULL, 0, NULL, 0, N_("Shape and packaging:"), 46},
    {"crop", OPT_CROP, "W:H", 0,
     N_("cut this shape out of the picture, such as 9:16, 1:1, 4:5 or 16:9 (up to four times as "
        "long as wide), and follow the face that speaks, calmly (default: the whole picture)"),
     46},
    {"crop-zoom", OPT_CROP_ZOOM, "X", 0,
     N_("come nearer than the largest part of that shape, 1 to 3 (default: 1)"), 46},
    {"logo", OPT_LOGO, "FILE", 0,
     N_("show this picture in a corner; PNG and WebP keep their transparency"), 46},
    {"logo-place", OPT_LOGO_PLACE, "CORNER", 0,
     N_("top-left, top-right, bottom-left or bottom-right; where the AI label has that corner, the "
        "logo takes the one beside it (default: top-right)"),
     46},
    {"logo-size", OPT_LOGO_SIZE, "X", 0,
     N_("its width as a part of the picture's where that is 16:9, 0.02 to 0.5; as large in other "
        "shapes, a fourth of the width of 9:16 (default: 0.14)"),
     46},
    {"logo-opacity", OPT_LOGO_OPACITY, "X", 0, N_("how opaque it is, 0.05 to 1 (default: 1)"), 46},
    {"intro", OPT_INTRO, "FILE", 0,
     N_("shown before the video: a film of up to 10 minutes, with its own sound, or a picture, for "
        "3 seconds"),
     46},
    {"outro", OPT_OUTRO, "FILE", 0, N_("the same after it"), 46},
    {"music", OPT_MUSIC, "FILE", 0,
     N_("music under the speech, again and again to the end; it is made quieter while somebody "
        "speaks"),
     46},
    {"music-volume", OPT_MUSIC_VOLUME, "X", 0,
     N_("how loud the music is, 0 to 1: 1 is as loud as the speech, 0.5 is 12 dB below it "
        "(default: 0.5)"),
     46},
    {"music-duck", OPT_MUSIC_DUCK, "yes|no", 0,
     N_("make the music quieter while somebody speaks (default: yes)"), 46},
    {0},
};

static bool parse_logo(int key, char *arg, struct argp_state *state, struct logo_params *logo)
{
    switch (key) {
    case OPT_LOGO:
        logo->path = option_path(arg);
        return true;
    case OPT_LOGO_PLACE:
        if (!logo_place_parse(arg, &logo->place))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--logo-place", LOGO_PLACES, arg);
        return true;
    case OPT_LOGO_SIZE:
        logo->size = option_float(state, "--logo-size", arg, LOGO_MIN_SIZE, LOGO_MAX_SIZE);
        return true;
    case OPT_LOGO_OPACITY:
        logo->opacity = option_float(state, "--logo-opacity", arg, LOGO_MIN_OPACITY, 1);
        return true;
    default:
        return false;
    }
}

// What says how something is, and that is not there.
static void check_needs(struct argp_state *state, const struct dub_params *p)
{
    const struct logo_params *logo = &p->finish.logo;
    if (p->finish.reframe.zoom > 0 && p->finish.reframe.width == 0)
        argp_error(state, _("%s needs %s"), "--crop-zoom", "--crop");
    if (!logo->path && (logo->size > 0 || logo->opacity > 0 || logo->place != LOGO_TOP_RIGHT))
        argp_error(state, _("%s needs %s"),
                   logo->size > 0      ? "--logo-size"
                   : logo->opacity > 0 ? "--logo-opacity"
                                       : "--logo-place",
                   "--logo");
    if (!p->music.path && (p->music.steady || p->music.volume != dub_defaults().music.volume))
        argp_error(state, _("%s needs %s"), p->music.steady ? "--music-duck" : "--music-volume",
                   "--music");
}

static error_t frame_parse(int key, char *arg, struct argp_state *state)
{
    struct dub_options *o = state->input;
    struct reframe_params *reframe = &o->dub.finish.reframe;
    if (parse_logo(key, arg, state, &o->dub.finish.logo))
        return 0;
    switch (key) {
    case OPT_CROP:
        if (!reframe_parse(arg, reframe))
            argp_error(state,
                       _("%s takes a shape such as 9:16, 1:1, 4:5 or 16:9, not '%s'; its sides may "
                         "be 1 to 4 at most"),
                       "--crop", arg);
        return 0;
    case OPT_CROP_ZOOM:
        reframe->zoom = option_float(state, "--crop-zoom", arg, 1, REFRAME_MAX_ZOOM);
        return 0;
    case OPT_INTRO:
        o->dub.intro = option_path(arg);
        return 0;
    case OPT_OUTRO:
        o->dub.outro = option_path(arg);
        return 0;
    case OPT_MUSIC:
        o->dub.music.path = option_path(arg);
        return 0;
    case OPT_MUSIC_VOLUME:
        o->dub.music.volume = option_float(state, "--music-volume", arg, 0, 1);
        return 0;
    case OPT_MUSIC_DUCK:
        if (strcmp(arg, "yes") != 0 && strcmp(arg, "no") != 0)
            argp_error(state, _("%s takes one of %s, not '%s'"), "--music-duck", "yes, no", arg);
        o->dub.music.steady = strcmp(arg, "no") == 0;
        return 0;
    case ARGP_KEY_END:
        if (!o->speech.optional) // else a line of the list may have it
            check_needs(state, &o->dub);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp frame_argp = {
    .options = frame_options, .parser = frame_parse, .argp_domain = "koubo"};
