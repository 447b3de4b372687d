#include "cli/hearing.h"

#include <string.h>

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool hearing_fits(const struct hearing *h, const struct pair *pair, bool loudnorm)
{
    return h->pair && h->loudnorm == loudnorm && same(h->pair->audio, pair->audio) &&
           same(h->pair->text, pair->text) && same(h->pair->voice, pair->voice);
}

enum kb_code hearing_make(struct hearing *ret, const struct pair *pair, bool loudnorm,
                          const struct speech_options *how, const struct watch *watch,
                          struct kb_error *err)
{
    struct hearing h = {.pair = pair,
                        .loudnorm = loudnorm,
                        .spoken = {.audio = pair->audio,
                                   .text = pair->text,
                                   .voice = pair->voice,
                                   .speed = how->speed,
                                   .has_pause = how->has_pause,
                                   .pause_ms = how->pause_ms}};
    enum kb_code code = speech_prepare(&h.spoken, err);
    if (code == KB_OK)
        code = mel_from_file(&h.mel, h.spoken.audio, loudnorm, watch, err);
    if (code == KB_OK)
        *ret = h;
    else
        hearing_clear(&h);
    return code;
}

void hearing_clear(struct hearing *h)
{
    mel_free(&h->mel);
    speech_cleanup(&h->spoken);
    *h = (struct hearing){0};
}
