// The options of the AI label (docs/label.md), and what a server's own defaults add to a batch.
#include "queue/options_internal.h"

#include "media/aigc.h"

#include <jansson.h>
#include <string.h>

static enum kb_code set_show(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *word = json_is_string(v) ? json_string_value(v) : "";
    return label_show_parse(word, &o->dub.finish.label.show)
               ? KB_OK
               : option_not_one_of("ai_label", "off, corner, start, both", err);
}

static enum kb_code set_place(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *word = json_is_string(v) ? json_string_value(v) : "";
    return label_place_parse(word, &o->dub.finish.label.place)
               ? KB_OK
               : option_not_one_of("ai_label_place",
                                   "top-left, top-right, bottom-left, bottom-right", err);
}

static enum kb_code set_opacity(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    double value = 0;
    enum kb_code code =
        option_read_number("ai_label_opacity", v, (double)LABEL_LEAST_OPACITY, 1, &value, err);
    o->dub.finish.label.opacity = (float)value;
    return code;
}

// A text that lives as long as the options.
static const char *keep_text(struct batch_options *o, const char *name, const json_t *v)
{
    const char *given = json_string_value(v);
    json_t *kept = given && strlen(given) == json_string_length(v) ? json_string(given) : NULL;
    return kept && json_object_set_new(o->keep, name, kept) == 0 ? json_string_value(kept) : NULL;
}

static enum kb_code set_text(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *text = keep_text(o, "ai_label_text", v);
    o->dub.finish.label.text = text;
    return label_text_check(text ? text : "", err);
}

static enum kb_code set_producer(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *text = keep_text(o, "ai_producer", v);
    o->dub.finish.label.producer = text;
    return aigc_producer_check("ai_producer", text ? text : "", err);
}

const struct option_row label_options[] = {
    {"ai_label", set_show},        {"ai_label_text", set_text},
    {"ai_label_place", set_place}, {"ai_label_opacity", set_opacity},
    {"ai_producer", set_producer}, {0},
};

// options, with what they leave to the defaults: what is null in them and, if absent, what is not
// there.
static json_t *lay_defaults(const char *options, const char *defaults, bool absent)
{
    json_t *all = json_loads(options && *options ? options : "{}", 0, NULL);
    json_auto_t *more = json_loads(defaults, 0, NULL);
    const char *name;
    json_t *value;
    json_object_foreach(more, name, value)
    {
        const json_t *own = json_object_get(all, name);
        if (own ? json_is_null(own) : absent)
            json_object_set(all, name, value);
    }
    return all;
}

// Do they show a label without a text to somebody who reads English? Another machine that makes the
// video may speak another language.
static bool wants_text(const json_t *options, const char *lang)
{
    const char *show = json_string_value(json_object_get(options, "ai_label"));
    return show && strcmp(show, "off") != 0 &&
           !json_is_string(json_object_get(options, "ai_label_text")) &&
           kb_language_of(lang) == KB_LANGUAGE_SOURCE;
}

static void add_text(json_t *options)
{
    json_object_set_new(options, "ai_label_text", json_string(LABEL_TEXT_ENGLISH));
}

char *batch_options_complete(const char *options, const char *defaults, const char *lang)
{
    json_auto_t *all = lay_defaults(options, defaults, true);
    if (wants_text(all, lang))
        add_text(all);
    return all ? json_dumps(all, JSON_COMPACT) : NULL;
}

char *batch_options_restore(const char *own, const char *options, const char *defaults,
                            const char *lang)
{
    json_auto_t *all = lay_defaults(own, defaults, false);
    CLEANUP(kb_freep) char *above = all ? json_dumps(all, JSON_COMPACT) : NULL;
    CLEANUP(kb_freep) char *laid = NULL;
    if (!above || batch_options_merge(options, above, &laid, NULL) != KB_OK)
        return NULL;
    json_auto_t *together = json_loads(laid, 0, NULL);
    if (wants_text(together, lang))
        add_text(all);
    return json_dumps(all, JSON_COMPACT);
}
