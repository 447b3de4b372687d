// --background and what belongs to it (docs/background.md).
#include "cli/finish/finish.h"

#include "base/log.h"

#include <string.h>

enum { OPT_BACKGROUND = 2300, OPT_BACKGROUND_KEY, OPT_ALPHA };

static const struct argp_option background_options[] = {
    {NULL, 0, NULL, 0, N_("Background:"), 45},
    {"background", OPT_BACKGROUND, "WHAT", 0,
     N_("what is shown behind the people: none (as it is), blur (as it is, out of focus), a colour "
        "such as #00b140, or a file: a picture, or a film that begins again at its end (default: "
        "none)"),
     45},
    {"background-key", OPT_BACKGROUND_KEY, "HOW", 0,
     N_("how people are told from what is behind them: auto (by the green or blue screen if the "
        "rim of the picture is one, else by how people look), person, green or blue (default: "
        "auto)"),
     45},
    {"alpha", OPT_ALPHA, "webm|mov", 0,
     N_("a film with nothing behind the people, to be laid over others: VP9 in .webm for browsers, "
        "ProRes 4444 in .mov for editing; the output's name must end so"),
     45},
    {0},
};

// What was not said is a person's, and goes where the other is said, as in a batch
// (queue/person.h).
static void leave_out_background(struct dub_options *o)
{
    struct background_params *b = &o->dub.finish.background;
    if (b->alpha == ALPHA_NONE || b->kind == BACKGROUND_AS_IT_IS || o->background_said)
        return;
    b->kind = BACKGROUND_AS_IT_IS;
    b->path = NULL;
    log_info("%s", _("--alpha leaves nothing behind the people; the background that the person was "
                     "saved with is left out"));
}

static void leave_out_alpha(struct dub_options *o)
{
    struct background_params *b = &o->dub.finish.background;
    if (b->alpha != ALPHA_NONE && b->kind != BACKGROUND_AS_IT_IS && !o->alpha_said)
        b->alpha = ALPHA_NONE;
}

static error_t background_parse_option(int key, char *arg, struct argp_state *state)
{
    struct dub_options *o = state->input;
    struct background_params *b = &o->dub.finish.background;
    switch (key) {
    case OPT_BACKGROUND:
        if (!background_parse(arg, b)) {
            b->kind = BACKGROUND_FILE;
            b->path = option_path(arg);
        }
        o->background_said = true;
        leave_out_alpha(o);
        return 0;
    case OPT_BACKGROUND_KEY:
        if (!background_key_parse(arg, &b->key))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--background-key",
                       "auto, person, green, blue", arg);
        return 0;
    case OPT_ALPHA:
        if (!background_alpha_parse(arg, &b->alpha))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--alpha", "webm, mov", arg);
        o->alpha_said = true;
        leave_out_background(o);
        return 0;
    case ARGP_KEY_END:
        if (b->key != KEY_AUTO && b->alpha == ALPHA_NONE && b->kind == BACKGROUND_AS_IT_IS &&
            !o->speech.optional)
            argp_error(state, _("%s needs %s"), "--background-key", "--background");
        if (b->alpha != ALPHA_NONE && b->kind != BACKGROUND_AS_IT_IS)
            argp_error(state, "%s",
                       _("--alpha leaves nothing behind the people and --background puts something "
                         "there; give one of them"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp background_argp = {
    .options = background_options, .parser = background_parse_option, .argp_domain = "koubo"};
