// The options of subtitles, as those of the command line (docs/subtitles.md).
#include "queue/options_internal.h"

#include "base/utf8.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct captions_params *captions(struct batch_options *o)
{
    return &o->dub.finish.captions;
}

// {"begin": seconds, "end": seconds, "text": "…"}, as somebody edited them.
static enum kb_code read_cue(struct subtitle_track *to, const json_t *v, size_t i,
                             struct kb_error *err)
{
    double begin, end;
    const char *text;
    if (json_unpack_ex((json_t *)v, NULL, JSON_STRICT, "{s:F, s:F, s:s}", "begin", &begin, "end",
                       &end, "text", &text) != 0 ||
        !(begin >= 0 && end > begin && end <= 360000) || strlen(text) >= SUBTITLE_BYTES)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the option 'subtitles': number %zu is not {\"begin\": seconds, \"end\": "
                         "seconds, \"text\": \"…\"} with an end behind its beginning"),
                       i + 1);
    int64_t from = llrint(begin * 1e6), last = to->n > 0 ? to->at[to->n - 1].start_us : 0;
    if (from < last)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the option 'subtitles': number %zu begins before the one before it"),
                       i + 1);
    if (*text && !subtitle_add(to, from, llrint(end * 1e6), text))
        return kb_fail(err, KB_BAD_INPUT, _("the option 'subtitles' has too many subtitles"));
    return KB_OK;
}

static enum kb_code set_subtitles(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *word = json_is_string(v) ? json_string_value(v) : "";
    o->subtitles_spoken = strcmp(word, "text") == 0;
    if (o->subtitles_spoken || strcmp(word, "off") == 0)
        return KB_OK;
    if (!json_is_array(v))
        return option_read_material(o, "subtitles", v,
                                    _("the option 'subtitles' takes off, text, the id of an "
                                      "uploaded file of subtitles, or a list of subtitles"),
                                    err);
    struct subtitle_track *cues = kb_alloc(sizeof(*cues));
    o->cues = cues;
    captions(o)->cues = cues;
    enum kb_code code = KB_OK;
    for (size_t i = 0; code == KB_OK && i < json_array_size(v); i++)
        code = read_cue(cues, json_array_get(v, i), i, err);
    return code;
}

static enum kb_code set_text(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *text = json_string_value(v);
    if (!text || strlen(text) != json_string_length(v) || strlen(text) > CAPTIONS_TEXT_BYTES)
        return kb_fail(err, KB_BAD_INPUT, _("the option '%s' takes a text of at most %d bytes"),
                       "subtitles_text", CAPTIONS_TEXT_BYTES);
    json_t *kept = json_string(text);
    if (json_object_set_new(o->keep, "subtitles_text", kept) != 0)
        return kb_no_memory(err);
    captions(o)->text = *text ? json_string_value(kept) : NULL;
    return KB_OK;
}

static enum kb_code set_as(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    if (!json_is_string(v) || !captions_as_parse(json_string_value(v), &captions(o)->as))
        return option_not_one_of("subtitles_as", CAPTIONS_AS_WORDS, err);
    return KB_OK;
}

static enum kb_code set_size(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    double size = 0;
    enum kb_code code =
        option_read_number("subtitle_size", v, CAPTIONS_LEAST_SIZE, CAPTIONS_MOST_SIZE, &size, err);
    captions(o)->size = (float)size;
    return code;
}

static enum kb_code set_colour(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    captions(o)->coloured = true;
    if (!json_is_string(v) || !captions_colour_parse(json_string_value(v), &captions(o)->colour))
        return kb_fail(err, KB_BAD_INPUT, _("the option '%s' takes a colour such as #ffcc00"),
                       "subtitle_colour");
    return KB_OK;
}

static enum kb_code set_box(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_bool("subtitle_box", v, &captions(o)->box, err);
}

static enum kb_code set_place(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    if (!json_is_string(v) || !captions_place_parse(json_string_value(v), &captions(o)->place))
        return option_not_one_of("subtitle_place", "bottom, middle, top", err);
    return KB_OK;
}

static enum kb_code set_font(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *name = json_string_value(v);
    if (!name || !*name || strlen(name) != json_string_length(v) || strlen(name) >= FONT_NAME)
        return kb_fail(err, KB_BAD_INPUT, _("the option '%s' takes the name of a font"),
                       "subtitle_font");
    json_t *kept = json_string(name);
    if (json_object_set_new(o->keep, "subtitle_font", kept) != 0)
        return kb_no_memory(err);
    captions(o)->font = json_string_value(kept);
    return KB_OK;
}

const struct option_row captions_rows[] = {
    {"subtitles", set_subtitles},  {"subtitles_text", set_text},    {"subtitles_as", set_as},
    {"subtitle_size", set_size},   {"subtitle_colour", set_colour}, {"subtitle_box", set_box},
    {"subtitle_place", set_place}, {"subtitle_font", set_font},     {0},
};
