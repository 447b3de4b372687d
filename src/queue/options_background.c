// What is behind the people (finish/background.h).
#include "queue/options_internal.h"

#include <jansson.h>
#include <string.h>

static enum kb_code set_background(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    struct background_params *b = &o->dub.finish.background;
    const char *word = json_is_string(v) ? json_string_value(v) : "";
    if (background_parse(word, b))
        return KB_OK;
    b->kind = BACKGROUND_FILE; // its path is known where the job is done
    return option_read_material(o, "background", v,
                                _("the option 'background' takes none, blur, a colour such as "
                                  "#00b140, or the id of an uploaded picture or video"),
                                err);
}

static enum kb_code set_key(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *word = json_is_string(v) ? json_string_value(v) : "";
    return background_key_parse(word, &o->dub.finish.background.key)
               ? KB_OK
               : option_not_one_of("background_key", "auto, person, green, blue", err);
}

static enum kb_code set_alpha(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *word = json_is_string(v) ? json_string_value(v) : "";
    return background_alpha_parse(word, &o->dub.finish.background.alpha)
               ? KB_OK
               : option_not_one_of("alpha", "none, webm, mov", err);
}

const struct option_row background_option_rows[] = {
    {"background", set_background},
    {"background_key", set_key},
    {"alpha", set_alpha},
    {0},
};
