// --ai-label and what belongs to it: the mark of what AI made (docs/label.md).
#include "cli/finish/finish.h"

#include "base/log.h"
#include "media/aigc.h"

#include <jansson.h>
#include <string.h>

static const struct argp_option label_options[] = {
    {NULL, 0, NULL, 0, N_("Mark of what AI made (docs/label.md):"), 48},
    {"ai-label", OPT_AI_LABEL, "WHERE", 0,
     N_("the mark that is seen: off, corner (all along), start (larger, for the first 3 seconds) "
        "or "
        "both (default: corner if koubo speaks Chinese, else off)"),
     48},
    {"ai-label-text", OPT_AI_LABEL_TEXT, "TEXT", 0,
     N_("its text, which must say AI and generated or synthesised (default: AI-generated, or the "
        "same in Chinese where koubo speaks Chinese)"),
     48},
    {"ai-label-place", OPT_AI_LABEL_PLACE, "CORNER", 0,
     N_("top-left, top-right, bottom-left or bottom-right (default: top-left)"), 48},
    {"ai-label-opacity", OPT_AI_LABEL_OPACITY, "X", 0,
     N_("how opaque the mark is, 0.6 to 1 (default: 0.9)"), 48},
    {"ai-producer", OPT_AI_PRODUCER, "NAME", 0,
     N_("who makes it, a name or better the code of the service provider, for the mark in the "
        "file's metadata, which every result has (default: koubo)"),
     48},
    {0},
};

bool label_option(struct argp_state *state, int key, char *arg, struct label_params *p, bool *said)
{
    struct kb_error err = {0};
    switch (key) {
    case OPT_AI_LABEL:
        *said = true;
        if (!label_show_parse(arg, &p->show))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--ai-label",
                       "off, corner, start, both", arg);
        return true;
    case OPT_AI_LABEL_TEXT:
        if (label_text_check(arg, &err) != KB_OK)
            argp_error(state, "%s", err.text);
        p->text = arg;
        return true;
    case OPT_AI_LABEL_PLACE:
        if (!label_place_parse(arg, &p->place))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--ai-label-place",
                       "top-left, top-right, bottom-left, bottom-right", arg);
        return true;
    case OPT_AI_LABEL_OPACITY:
        p->opacity = option_float(state, "--ai-label-opacity", arg, LABEL_LEAST_OPACITY, 1);
        return true;
    case OPT_AI_PRODUCER:
        if (aigc_producer_check("--ai-producer", arg, &err) != KB_OK)
            argp_error(state, "%s", err.text);
        if (!aigc_is_plain(arg))
            log_warn("%s", _("--ai-producer: the standard's appendix E has letters, digits and "
                             "signs of ASCII without spaces; platforms may not take another name, "
                             "a code of the service provider is safe"));
        p->producer = arg;
        return true;
    default:
        return false;
    }
}

// What holds where --ai-label was not said: in Chinese the corner, else nothing. Says once who is
// liable for what has no label, to those who read Chinese.
static void settle(struct label_params *p, bool said)
{
    bool chinese = cli_is_chinese();
    if (!said && chinese)
        p->show = LABEL_CORNER;
    if (p->show == LABEL_OFF && chinese)
        log_warn("%s", _("no visible AI label is drawn: whoever publishes the video must then say "
                         "that AI made it, and is liable for that (Measures for Labelling, "
                         "articles 9 and 10)"));
}

static error_t label_parse(int key, char *arg, struct argp_state *state)
{
    struct dub_options *o = state->input;
    if (key == ARGP_KEY_END) {
        settle(&o->dub.finish.label, o->label_said);
        if (!o->dub.finish.label.text && !cli_is_chinese())
            o->dub.finish.label.text = LABEL_TEXT_ENGLISH;
        return 0;
    }
    return label_option(state, key, arg, &o->dub.finish.label, &o->label_said) ? 0
                                                                               : ARGP_ERR_UNKNOWN;
}

const struct argp label_argp = {
    .options = label_options, .parser = label_parse, .argp_domain = "koubo"};

// --- a server's

static error_t defaults_parse(int key, char *arg, struct argp_state *state)
{
    struct label_defaults *d = state->input;
    if (key == ARGP_KEY_END) {
        settle(&d->params, d->said);
        return 0;
    }
    return label_option(state, key, arg, &d->params, &d->said) ? 0 : ARGP_ERR_UNKNOWN;
}

const struct argp label_defaults_argp = {
    .options = label_options, .parser = defaults_parse, .argp_domain = "koubo"};

char *label_defaults_json(const struct label_defaults *d)
{
    const struct label_params *p = &d->params;
    json_auto_t *json = json_object();
    if (p->show != LABEL_OFF)
        json_object_set_new(json, "ai_label", json_string(label_shows[p->show]));
    if (p->text)
        json_object_set_new(json, "ai_label_text", json_string(p->text));
    if (p->place != LABEL_TOP_LEFT)
        json_object_set_new(json, "ai_label_place", json_string(label_places[p->place]));
    if (p->opacity > 0)
        json_object_set_new(json, "ai_label_opacity", json_real((double)p->opacity));
    if (p->producer)
        json_object_set_new(json, "ai_producer", json_string(p->producer));
    return json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(3));
}
