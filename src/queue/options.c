// The options of a batch: JSON of a client, checked like the command line's options.
#include "queue/options_internal.h"

#include "base/file.h"
#include "base/text.h"
#include "base/utf8.h"
#include "media/writer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Longer than any batch of options needs; jansson itself bounds the nesting.
#define MAX_BYTES 65536

static void json_free(json_t **json)
{
    json_decref(*json);
}

// --- the options

static enum kb_code set_model(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *name = json_string_value(v);
    size_t n = name ? strlen(name) : 0;
    if (n == 0 || n > 200 || n != json_string_length(v) || name[0] == '.' || strchr(name, '/'))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the option 'model' takes the name of a model, not a path"));
    if (strcmp(name, MODEL_BUNDLED) == 0)
        return KB_OK;
    CLEANUP(kb_freep) char *file = kb_printf(model_is_file(name) ? "%s" : "%s.safetensors", name);
    CLEANUP(kb_freep) char *path = NULL;
    if (model_locate(&path, file, NULL) != KB_OK)
        return kb_fail(err, KB_BAD_INPUT,
                       _("there is no model '%s' in the models folder; koubo model list shows "
                         "what is there"),
                       name);
    // The engine takes a path; it lives as long as keep.
    json_t *located = json_string(path);
    if (!located || json_object_set_new(o->keep, "model", located) != 0)
        return kb_fail(err, KB_BAD_INPUT, _("the path of the model '%s' is not valid UTF-8"), name);
    o->model = json_string_value(located);
    return KB_OK;
}

static enum kb_code set_precision(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    if (!json_is_string(v) || !precision_parse(json_string_value(v), &o->precision))
        return option_not_one_of("precision", "auto, f32, bf16, int8", err);
    return KB_OK;
}

static enum kb_code set_face(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    char number[24];
    snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
    const char *word = json_is_integer(v) ? number : json_string_value(v);
    if (!word || !face_choice_parse(word, &o->dub.face, &o->dub.face_number))
        return option_not_one_of("face", "largest, left, right, center, 1, 2, 3…", err);
    return KB_OK;
}

static enum kb_code set_loop(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    if (!json_is_string(v) || !loop_mode_parse(json_string_value(v), &o->dub.loop))
        return option_not_one_of("loop", "pingpong, restart, freeze, none", err);
    return KB_OK;
}

static enum kb_code set_keep_video(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_bool("keep_video", v, &o->dub.keep_video, err);
}

static enum kb_code set_start(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_seconds("start", v, &o->dub.start_us, err);
}

static enum kb_code set_duration(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    enum kb_code code = option_read_seconds("duration", v, &o->dub.duration_us, err);
    if (code == KB_OK && o->dub.duration_us == 0)
        return kb_fail(err, KB_BAD_INPUT, _("the option '%s' must be more than 0"), "duration");
    return code;
}

static enum kb_code set_height(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_int("height", v, 64, 16384, &o->dub.height, err);
}

static enum kb_code set_denoise(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_bool("denoise", v, &o->dub.denoise, err);
}

static enum kb_code set_copy(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    bool copy = true;
    enum kb_code code = option_read_bool("copy", v, &copy, err);
    o->dub.encode_all = !copy;
    return code;
}

static enum kb_code set_loudnorm(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_bool("loudnorm", v, &o->dub.loudnorm, err);
}

static enum kb_code set_crf(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_int("crf", v, 0, 51, &o->dub.crf, err);
}

static enum kb_code set_bitrate(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    if (!json_is_string(v) || strcmp(json_string_value(v), "source") != 0)
        return option_not_one_of("bitrate", "source", err);
    o->dub.bitrate_source = true;
    return KB_OK;
}

static enum kb_code set_preset(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    CLEANUP(text_free) struct text words = {0};
    for (int i = 0; i < N_WRITER_PRESETS; i++) {
        if (json_is_string(v) && strcmp(json_string_value(v), writer_presets[i]) == 0) {
            o->dub.preset = writer_presets[i];
            return KB_OK;
        }
        text_addf(&words, "%s%s", i ? ", " : "", writer_presets[i]);
    }
    return option_not_one_of("preset", text_get(&words), err);
}

static enum kb_code set_hdr(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *word = json_is_string(v) ? json_string_value(v) : "";
    o->dub.keep_deep = strcmp(word, "keep") == 0;
    return o->dub.keep_deep || strcmp(word, "sdr") == 0
               ? KB_OK
               : option_not_one_of("hdr", "sdr, keep", err);
}

static enum kb_code set_mouth_amount(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_fraction("mouth_amount", v, 3, &o->dub.mouth_amount, err);
}

static enum kb_code set_mouth_from(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_material(
        o, "mouth_from", v, _("the option 'mouth_from' takes the id of an uploaded video"), err);
}

static enum kb_code set_style_from(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    const char *word = json_is_string(v) ? json_string_value(v) : "";
    o->dub.no_style = strcmp(word, "no") == 0;
    if (o->dub.no_style || strcmp(word, "self") == 0)
        return KB_OK;
    return option_read_material(
        o, "style_from", v,
        _("the option 'style_from' takes self, no, or the id of an uploaded video"), err);
}

static enum kb_code set_still_motion(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_fraction("still_motion", v, 1, &o->dub.still_motion, err);
}

static enum kb_code set_paint(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    bool paint = true;
    enum kb_code code = option_read_bool("paint", v, &paint, err);
    o->dub.lead = !paint;
    return code;
}

static enum kb_code set_pads(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    for (size_t i = 0; i < 4; i++)
        if (json_array_size(v) != 4 || option_read_int("pads", json_array_get(v, i), -10000, 10000,
                                                       &o->dub.pads[i], NULL) != KB_OK)
            return kb_fail(err, KB_BAD_INPUT,
                           _("the option 'pads' takes four whole numbers: [top, bottom, left, "
                             "right]"));
    o->dub.pads_set = true;
    return KB_OK;
}

static enum kb_code set_nosmooth(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_bool("nosmooth", v, &o->dub.nosmooth, err);
}

static enum kb_code set_mask_feather(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_fraction("mask_feather", v, 1, &o->dub.mask_feather, err);
}

static enum kb_code set_mask_dilate(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_fraction("mask_dilate", v, 1, &o->dub.mask_dilate, err);
}

static enum kb_code set_sharpen(struct batch_options *o, const json_t *v, struct kb_error *err)
{
    return option_read_fraction("sharpen", v, 5, &o->dub.sharpen, err);
}

static const struct option_row dub_options[] = {
    {"model", set_model},
    {"precision", set_precision},
    {"face", set_face},
    {"loop", set_loop},
    {"keep_video", set_keep_video},
    {"start", set_start},
    {"duration", set_duration},
    {"height", set_height},
    {"denoise", set_denoise},
    {"copy", set_copy},
    {"loudnorm", set_loudnorm},
    {"crf", set_crf},
    {"bitrate", set_bitrate},
    {"preset", set_preset},
    {"hdr", set_hdr},
    {"mouth_amount", set_mouth_amount},
    {"mouth_from", set_mouth_from},
    {"style_from", set_style_from},
    {"still_motion", set_still_motion},
    {"paint", set_paint},
    {"pads", set_pads},
    {"nosmooth", set_nosmooth},
    {"mask_feather", set_mask_feather},
    {"mask_dilate", set_mask_dilate},
    {"sharpen", set_sharpen},
    {0},
};

// Each kind in a file of its own.
static const struct option_row *const tables[] = {
    dub_options, background_option_rows, captions_rows, frame_options, label_options,
};

static enum kb_code set_option(struct batch_options *o, const char *name, const json_t *v,
                               struct kb_error *err)
{
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct option_row *row = tables[t]; row->name; row++)
            if (strcmp(name, row->name) == 0)
                return json_is_null(v) ? KB_OK : row->set(o, v, err); // null: as if not there
    return kb_fail(err, KB_BAD_INPUT, _("there is no option '%.*s'"), utf8_fit(name, 60), name);
}

static enum kb_code load_object(const char *json, json_t **ret, struct kb_error *err)
{
    json_error_t where;
    size_t n = json ? strnlen(json, MAX_BYTES + 1) : 0;
    if (n > MAX_BYTES)
        return kb_fail(err, KB_BAD_INPUT, _("the options are too long"));
    json_t *given = n ? json_loadb(json, n, JSON_REJECT_DUPLICATES, &where) : json_object();
    if (!given && n == 0)
        return kb_no_memory(err);
    if (!given)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the options are no valid JSON: line %d, column %d: %s"), where.line,
                       where.column, where.text);
    *ret = given;
    return json_is_object(given)
               ? KB_OK
               : kb_fail(err, KB_BAD_INPUT, _("the options must be a JSON object"));
}

enum kb_code batch_options_merge(const char *options, const char *own, char **ret,
                                 struct kb_error *err)
{
    CLEANUP(json_free) json_t *below = NULL;
    CLEANUP(json_free) json_t *above = NULL;
    const char *name;
    json_t *value;
    enum kb_code code = load_object(options, &below, err);
    if (code == KB_OK)
        code = load_object(own, &above, err);
    if (code != KB_OK)
        return code;
    json_object_foreach(above, name, value)
    {
        if (json_is_null(value))
            json_object_del(below, name);
        else
            json_object_set(below, name, value);
    }
    *ret = json_dumps(below, JSON_COMPACT);
    return *ret ? KB_OK : kb_no_memory(err);
}

// What options have to do with each other.
static enum kb_code check_together(const struct batch_options *o, struct kb_error *err)
{
    if (o->dub.bitrate_source && o->dub.crf >= 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the options 'crf' and 'bitrate' exclude each other; give one of them"));
    if (o->dub.lead && !o->model)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the option 'paint' is for Wav2Lip checkpoints; choose one with the option 'model', "
              "or leave it out"));
    const struct background_params *b = &o->dub.finish.background;
    if (b->alpha != ALPHA_NONE && b->kind != BACKGROUND_AS_IT_IS)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the options 'alpha' and 'background' exclude each other; give one of "
                         "them"));
    return KB_OK;
}

const char *batch_options_ending(const char *options)
{
    CLEANUP(json_free) json_t *given = NULL;
    enum background_alpha alpha = ALPHA_NONE;
    if (load_object(options, &given, NULL) != KB_OK)
        return background_ending(ALPHA_NONE);
    const char *word = json_string_value(json_object_get(given, "alpha"));
    if (word)
        background_alpha_parse(word, &alpha);
    return background_ending(alpha);
}

enum kb_code batch_options_lay(struct batch_options *o, const char *json, struct kb_error *err)
{
    CLEANUP(json_free) json_t *given = NULL;
    enum kb_code code = load_object(json, &given, err);
    const char *name;
    json_t *value;
    o->keep = json_object();
    json_object_foreach(given, name, value)
    {
        if (code == KB_OK)
            code = set_option(o, name, value, err);
    }
    const json_t *subtitles = json_object_get(given, "subtitles");
    struct captions_params *c = &o->dub.finish.captions;
    if (json_is_string(subtitles) && strcmp(json_string_value(subtitles), "off") == 0)
        c->as = 0;
    else if ((subtitles || json_object_get(given, "subtitles_text")) && c->as == 0 &&
             !json_object_get(given, "subtitles_as"))
        c->as = CAPTIONS_BURN;
    if (code == KB_OK)
        code = check_together(o, err);
    if (code != KB_OK)
        batch_options_free(o);
    return code;
}

enum kb_code batch_options_parse(const char *json, struct batch_options *ret, struct kb_error *err)
{
    struct batch_options o = {.dub = dub_defaults()};
    enum kb_code code = batch_options_lay(&o, json, err);
    if (code == KB_OK)
        *ret = o;
    return code;
}

void batch_options_free(struct batch_options *o)
{
    if (o->cues)
        subtitle_track_clear(o->cues);
    free(o->cues);
    json_decref(o->keep);
    *o = (struct batch_options){0};
}
