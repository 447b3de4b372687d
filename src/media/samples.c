#include "media/samples.h"

#include "base/base.h"

#include <math.h>

#include <libavutil/channel_layout.h>
#include <libavutil/samplefmt.h>

#define LARGEST 0x1p32 // floats on the scale of 32-bit integers are seen; beyond that is rubbish

// Of the mix: stretches that decide, in a second; how much of the energy of those before is left
// after each; the mean's energy over the louder channel's, where it counts as cancelled, and where
// it no longer does. One channel alone gives 0.25, two that know nothing of each other 0.5.
#define BLOCKS_PER_S 32
#define REMEMBERED   0.9
#define CANCELLED    0.15
#define HEARD        0.22
#define MUCH_LOUDER  4

// n floats, or doubles. Those that are no numbers become 0; how many.
static int64_t mend(void *samples, bool doubles, int n, double gain, float *peak)
{
    float *singles = samples;
    double *wide = samples, highest = 0;
    int64_t bad = 0;
    for (int i = 0; i < n; i++) {
        double x = doubles ? wide[i] : (double)singles[i];
        bool number = fabs(x) <= LARGEST; // false for NaN, too
        bad += !number;
        x = number ? x : 0;
        highest = KB_MAX(highest, fabs(x));
        if (doubles)
            wide[i] = x * gain;
        else
            singles[i] = (float)(x * gain);
    }
    *peak = KB_MAX(*peak, (float)highest);
    return bad;
}

int samples_mend(AVFrame *f, float gain, float *peak, int64_t *n_bad)
{
    enum AVSampleFormat packed = av_get_packed_sample_fmt(f->format);
    *peak = 0;
    if (packed != AV_SAMPLE_FMT_FLT && packed != AV_SAMPLE_FMT_DBL)
        return 0;
    int e = av_frame_make_writable(f);
    if (e < 0)
        return e;
    int channels = f->ch_layout.nb_channels;
    bool planar = av_sample_fmt_is_planar(f->format) == 1;
    int planes = planar ? channels : 1, n = planar ? f->nb_samples : f->nb_samples * channels;
    for (int p = 0; p < planes; p++)
        *n_bad += mend(f->extended_data[p], packed == AV_SAMPLE_FMT_DBL, n, (double)gain, peak);
    return 0;
}

AVFrame *samples_silence(int format, int rate_hz, const AVChannelLayout *layout, int n)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    if (!f)
        return NULL;
    f->nb_samples = n;
    f->format = format;
    f->sample_rate = rate_hz;
    if (av_channel_layout_copy(&f->ch_layout, layout) < 0 || av_frame_get_buffer(f, 0) < 0 ||
        av_samples_set_silence(f->extended_data, 0, n, layout->nb_channels, format) < 0)
        return NULL;
    return TAKE(f);
}

int samples_cut(AVFrame *f, int n)
{
    int e = av_frame_make_writable(f);
    if (e < 0)
        return e;
    f->nb_samples -= n;
    return av_samples_copy(f->extended_data, f->extended_data, 0, n, f->nb_samples,
                           f->ch_layout.nb_channels, f->format);
}

// Look at n samples of two channels, step floats from one to the next: which mix is wanted from
// here on, 0 the mean, 1 the chosen channel?
static float choose(struct mono *m, const float *const x[2], int step, int n, double remembered)
{
    double left = 0, right = 0, mean = 0;
    for (int i = 0; i < n; i++) {
        double l = (double)x[0][i * step], r = (double)x[1][i * step];
        left += l * l;
        right += r * r;
        mean += (l + r) * (l + r) / 4;
    }
    m->left = m->left * remembered + left;
    m->right = m->right * remembered + right;
    m->mean = m->mean * remembered + mean;
    double louder = KB_MAX(m->left, m->right);
    if (!(louder > 0))
        return m->part;
    // Opposites: to change from one to the other is to turn the wave over. So only while it is not
    // heard, or when the chosen one has gone.
    double own = m->chosen ? m->right : m->left, other = m->chosen ? m->left : m->right;
    if (other > own * (m->part == 0 ? 1 : MUCH_LOUDER))
        m->chosen = !m->chosen;
    bool cancelled = m->mean < louder * (m->part > 0 ? HEARD : CANCELLED);
    return cancelled ? 1 : 0;
}

int mono_mix(struct mono *m, AVFrame *f)
{
    int e = av_frame_make_writable(f);
    if (e < 0)
        return e;
    bool planar = av_sample_fmt_is_planar(f->format) == 1;
    int step = planar ? 1 : 2, block = KB_MAX(f->sample_rate / BLOCKS_PER_S, 1);
    float *out = (float *)f->extended_data[0];
    for (int first = 0; first < f->nb_samples; first += block) {
        int n = KB_MIN(block, f->nb_samples - first);
        const float *left = (const float *)f->extended_data[0] + (ptrdiff_t)first * step;
        const float *right =
            planar ? (const float *)f->extended_data[1] + (ptrdiff_t)first : left + 1;
        const float *const x[2] = {left, right};
        float wanted = choose(m, x, step, n, pow(REMEMBERED, (double)n / block));
        float from = m->begun ? m->part : wanted;
        for (int i = 0; i < n; i++) {
            float part = from + (wanted - from) * (float)(i + 1) / (float)n;
            float mean = (left[i * step] + right[i * step]) / 2;
            out[first + i] = mean + part * (x[m->chosen][i * step] - mean);
        }
        m->part = wanted;
        m->begun = m->left + m->right > 0; // silence has decided nothing
    }
    av_channel_layout_uninit(&f->ch_layout);
    f->ch_layout = (AVChannelLayout)AV_CHANNEL_LAYOUT_MONO;
    return 0;
}
