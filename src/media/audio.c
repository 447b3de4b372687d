#include "media/audio.h"

#include <stdlib.h>
#include <string.h>

#include "media/sound.h"

struct audio_reader {
    struct sound *sound;
    AVFrame *frame; // samples that do not fit the caller's buffer stay here
    int taken;
};

enum kb_code audio_open(struct audio_reader **ret, const char *path,
                        const struct audio_params *params, struct kb_error *err)
{
    CLEANUP(audio_close) struct audio_reader *a = kb_alloc(sizeof(*a));
    a->frame = av_frame_alloc();
    if (!a->frame)
        return kb_no_memory(err);
    struct sound_params sound = {.rate_hz = 16000, .channels = 1, .format = AV_SAMPLE_FMT_FLT};
    if (params) {
        sound.rate_hz = params->rate_hz > 0 ? params->rate_hz : sound.rate_hz;
        sound.loudnorm = params->loudnorm;
        sound.cancel = params->cancel;
    }
    enum kb_code code = sound_open(&a->sound, path, &sound, err);
    if (code != KB_OK)
        return code;
    *ret = TAKE(a);
    return KB_OK;
}

enum kb_code audio_read(struct audio_reader *a, float *samples, int capacity, int *ret_n,
                        struct kb_error *err)
{
    int n = 0;
    while (n < capacity) {
        if (a->taken == a->frame->nb_samples) {
            av_frame_unref(a->frame);
            a->taken = 0;
            enum kb_code code = sound_next(a->sound, a->frame, err);
            if (code == KB_EOF && n > 0)
                break;
            if (code != KB_OK)
                return code;
        }
        const float *from = (const float *)a->frame->data[0] + a->taken;
        int piece = KB_MIN(capacity - n, a->frame->nb_samples - a->taken);
        memcpy(samples + n, from, (size_t)piece * sizeof(*samples));
        n += piece;
        a->taken += piece;
    }
    *ret_n = n;
    return KB_OK;
}

const struct sound_facts *audio_facts(const struct audio_reader *a)
{
    return sound_facts(a->sound);
}

int64_t audio_duration_us(const struct audio_reader *a)
{
    return sound_duration_us(a->sound);
}

void audio_close(struct audio_reader **a)
{
    if (!*a)
        return;
    sound_close(&(*a)->sound);
    av_frame_free(&(*a)->frame);
    free(*a);
    *a = NULL;
}
