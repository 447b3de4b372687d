// The options of a batch, a JSON object of the API, as the parameters of a dub. Thread-safe.
#ifndef QUEUE_OPTIONS_H
#define QUEUE_OPTIONS_H

#include "queue/material.h"

// The options of a batch, named as those of koubo generate (docs/openapi.yaml: Options): model,
// precision, face, loop, keep_video, start, duration, height, denoise, copy, loudnorm, crf,
// bitrate, preset, mouth_amount, mouth_from, style_from, still_motion, and of Wav2Lip's paint,
// pads, nosmooth, mask_feather, mask_dilate, sharpen; those of finish/ as in their options_*.c.
// Unknown names and values out of range are KB_BAD_INPUT. Strings in *ret live as long as *keep
// (json_decref it).
struct json_t;
struct batch_options {
    const char *model; // NULL = bundled; a name listed by "koubo model list", never a path
    enum precision precision;
    struct dub_params dub; // without the paths of materials
    struct {
        const struct material_role *role;
        const char *asset; // its id; a path on the command line
    } materials[MATERIAL_MOST];
    int n_materials;
    bool subtitles_spoken;       // of the speech's text: its words come with the job
    struct subtitle_track *cues; // those of dub.finish.captions.cues, or NULL
    struct json_t *keep;
};
enum kb_code batch_options_parse(const char *json, struct batch_options *ret, struct kb_error *err);
// The same laid over what *o holds already: o->dub as it is wanted, keep NULL. On failure *o is
// empty.
enum kb_code batch_options_lay(struct batch_options *o, const char *json, struct kb_error *err);
// Own options laid over others, as JSON text, a new string; null there: the default again. Either
// may be NULL. Nothing is checked but that both are objects.
enum kb_code batch_options_merge(const char *options, const char *own, char **ret,
                                 struct kb_error *err);
void batch_options_free(struct batch_options *o);

// What the name of a result ends in that is made with them; of what cannot be read, ".mp4".
const char *batch_options_ending(const char *options);

// options, which batch_options_parse() takes (NULL = none), with those of defaults that it does not
// have, a JSON object too, and the label's text for who reads lang: a new string.
char *batch_options_complete(const char *options, const char *defaults, const char *lang);
// A job's own options, of which null means the default again, with that of defaults where they have
// one; and with the label's text for who reads lang where they, laid over options, those of the
// batch, show one that has none. JSON objects all. A new string; NULL: one of them is no object, or
// memory is out.
char *batch_options_restore(const char *own, const char *options, const char *defaults,
                            const char *lang);

#endif
