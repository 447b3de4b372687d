// Streaming: at most one window and one piece of the padded, pre-emphasised signal is held.
// Column i looks at samples 200 i - 400 … 200 i + 399; beyond the ends the signal is mirrored. How
// loud the sound is shows only at its end, so the columns stay in dB until then: to make a sound
// louder or softer is to add to them.
#include "media/mel.h"

#include <kiss_fftr.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "media/audio.h"
#include "media/level.h"

#define FFT_SIZE    800
#define FFT_BINS    (FFT_SIZE / 2 + 1)
#define PADDING     (FFT_SIZE / 2)
#define LOWEST_HZ   55.0
#define HIGHEST_HZ  7600.0
#define PREEMPHASIS 0.97f
#define PIECE       4096
#define SILENCE     1e-8f // -160 dB: whatever is added, it stays below what the network knows
#define MOST_GAIN   60.0  // dB; what is quieter than -90 dB is the noise of 16 bits
#define CLICK_DB    30    // speech itself reaches 20 above its level

// The few bins of the spectrum one band looks at.
struct band {
    int first, n;
    float weights[FFT_BINS];
};

struct mel {
    kiss_fftr_cfg fft;
    float window[FFT_SIZE];
    struct band bands[MEL_BANDS];

    float held[FFT_SIZE + PIECE]; // padded signal from the next column's first sample on
    int n_held;
    bool started; // the mirrored head is in place
    float last;   // sample before pre-emphasis
    int64_t n_samples;
    struct level level;

    float *columns; // n_columns of MEL_BANDS values; in dB until mel_finish()
    int n_columns, capacity;
    struct sound_facts sound;
};

// Slaney's scale (Auditory Toolbox, 1998), as in librosa: linear below 1000 Hz, 200/3 Hz a mel,
// then 27 mels for a factor of 6.4.
static double mel_from_hz(double hz)
{
    return hz < 1000 ? hz * 3 / 200 : 15 + log(hz / 1000) * 27 / log(6.4);
}

static double hz_from_mel(double mel)
{
    return mel < 15 ? mel * 200 / 3 : 1000 * exp((mel - 15) * log(6.4) / 27);
}

// Triangles between neighbouring points of the scale, each of area 1 (in Hz, halved by "2 /").
static void make_bands(struct band *bands)
{
    double low = mel_from_hz(LOWEST_HZ), high = mel_from_hz(HIGHEST_HZ), edges[MEL_BANDS + 2];
    for (int i = 0; i < MEL_BANDS + 2; i++)
        edges[i] = hz_from_mel(low + (high - low) * i / (MEL_BANDS + 1));
    for (int b = 0; b < MEL_BANDS; b++) {
        double left = edges[b], top = edges[b + 1], right = edges[b + 2];
        for (int bin = 0; bin < FFT_BINS; bin++) {
            double hz = (double)bin * MEL_RATE_HZ / FFT_SIZE;
            double w = fmin((hz - left) / (top - left), (right - hz) / (right - top));
            if (w <= 0)
                continue;
            if (bands[b].n == 0)
                bands[b].first = bin;
            bands[b].weights[bands[b].n++] = (float)(w * 2 / (right - left));
        }
    }
}

struct mel *mel_create(void)
{
    struct mel *m = kb_alloc(sizeof(*m));
    m->fft = kiss_fftr_alloc(FFT_SIZE, 0, NULL, NULL);
    if (!m->fft)
        abort(); // a few kilobytes, as kb_alloc()
    for (int i = 0; i < FFT_SIZE; i++)
        m->window[i] = (float)(0.5 - 0.5 * cos(2 * M_PI * i / FFT_SIZE));
    make_bands(m->bands);
    return m;
}

static enum kb_code add_column(struct mel *m, struct kb_error *err)
{
    if (m->n_columns == m->capacity) {
        int capacity = m->capacity ? m->capacity : 1024;
        size_t size;
        if (__builtin_mul_overflow(capacity, 2, &capacity) ||
            __builtin_mul_overflow((size_t)capacity, MEL_BANDS * sizeof(float), &size))
            return kb_fail(err, KB_BAD_INPUT, _("the sound is too long"));
        float *columns = realloc(m->columns, size);
        if (!columns)
            return kb_no_memory(err);
        m->columns = columns;
        m->capacity = capacity;
    }
    float frame[FFT_SIZE], magnitude[FFT_BINS];
    kiss_fft_cpx spectrum[FFT_BINS];
    for (int i = 0; i < FFT_SIZE; i++)
        frame[i] = m->held[i] * m->window[i];
    kiss_fftr(m->fft, frame, spectrum);
    for (int i = 0; i < FFT_BINS; i++)
        magnitude[i] = hypotf(spectrum[i].r, spectrum[i].i);

    float *column = m->columns + (size_t)m->n_columns * MEL_BANDS;
    for (int b = 0; b < MEL_BANDS; b++) {
        const struct band *band = &m->bands[b];
        float sum = 0;
        for (int i = 0; i < band->n; i++)
            sum += band->weights[i] * magnitude[band->first + i];
        column[b] = 20 * log10f(fmaxf(SILENCE, sum)) - 20;
    }
    m->n_columns++;
    return KB_OK;
}

// Make the columns that the held signal is long enough for.
static enum kb_code use_held(struct mel *m, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    while (code == KB_OK && m->n_held >= FFT_SIZE) {
        code = add_column(m, err);
        m->n_held -= MEL_HOP;
        memmove(m->held, m->held + MEL_HOP, (size_t)m->n_held * sizeof(*m->held));
    }
    return code;
}

// As numpy.pad(mode="reflect"): the end sample itself is not repeated.
static void mirror_head(struct mel *m)
{
    memmove(m->held + PADDING, m->held, (size_t)m->n_held * sizeof(*m->held));
    for (int i = 0; i < PADDING; i++)
        m->held[i] = m->held[2 * PADDING - i];
    m->n_held += PADDING;
    m->started = true;
}

enum kb_code mel_feed(struct mel *m, const float *samples, int n, struct kb_error *err)
{
    while (n > 0) {
        int piece = KB_MIN(n, (int)ARRAY_LEN(m->held) - PADDING - m->n_held);
        float *to = m->held + m->n_held;
        for (int i = 0; i < piece; i++) {
            to[i] = samples[i] - PREEMPHASIS * m->last;
            m->last = samples[i];
        }
        level_feed(&m->level, samples, piece);
        m->n_held += piece;
        m->n_samples += piece;
        samples += piece;
        n -= piece;
        if (!m->started && m->n_held > PADDING)
            mirror_head(m);
        enum kb_code code = m->started ? use_held(m, err) : KB_OK;
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

// What is added to the columns so that nothing is above 0 dB and no speech too quiet; else 0.
static double find_gain(const struct mel *m)
{
    double level = level_db(&m->level), gain = -fmax(level_peak_db(&m->level), 0);
    if (isfinite(level) && level + gain < MEL_QUIET_DB)
        gain = fmin(MEL_QUIET_DB - level, MOST_GAIN);
    return gain;
}

// From dB to what the networks know.
static void scale_columns(struct mel *m, float gain)
{
    for (ptrdiff_t i = 0; i < (ptrdiff_t)m->n_columns * MEL_BANDS; i++)
        m->columns[i] = fminf(fmaxf(8 * (m->columns[i] + gain + 100) / 100 - 4, -4), 4);
}

enum kb_code mel_finish(struct mel *m, struct kb_error *err)
{
    if (m->n_samples < FFT_SIZE)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the sound is only %d ms long; at least 50 ms are needed"),
                       (int)(m->n_samples * 1000 / MEL_RATE_HZ));
    for (int i = 0; i < PADDING; i++)
        m->held[m->n_held + i] = m->held[m->n_held - 2 - i];
    m->n_held += PADDING;
    enum kb_code code = use_held(m, err);
    if (code == KB_OK)
        scale_columns(m, (float)find_gain(m));
    return code;
}

void mel_free(struct mel **m)
{
    if (!*m)
        return;
    kiss_fftr_free((*m)->fft);
    free((*m)->columns);
    free(*m);
    *m = NULL;
}

enum kb_code mel_from_file(struct mel **ret, const char *path, bool loudnorm,
                           const struct watch *watch, struct kb_error *err)
{
    const struct audio_params wanted = {
        .rate_hz = MEL_RATE_HZ, .loudnorm = loudnorm, .cancel = watch_cancel(watch)};
    CLEANUP(audio_close) struct audio_reader *audio = NULL;
    enum kb_code code = audio_open(&audio, path, &wanted, err);
    if (code != KB_OK)
        return code;
    int64_t total = audio_duration_us(audio) / (1000000 / MEL_PER_S);
    CLEANUP(mel_free) struct mel *m = mel_create();
    float samples[PIECE];
    int n;
    while ((code = audio_read(audio, samples, PIECE, &n, err)) == KB_OK) {
        code = mel_feed(m, samples, n, err);
        if (code != KB_OK)
            return kb_wrap(err, "'%s'", path);
        watch_tell(watch, STAGE_AUDIO, m->n_columns, KB_MAX(total, m->n_columns));
    }
    if (code != KB_EOF)
        return code;
    code = mel_finish(m, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", path);
    m->sound = *audio_facts(audio);
    // So far above the speech is a click: what is heard is scaled to the speech, and the click
    // clipped.
    double level = level_db(&m->level);
    if (isfinite(level))
        m->sound.peak = (float)fmin((double)m->sound.peak, pow(10, (level + CLICK_DB) / 20));
    watch_tell(watch, STAGE_AUDIO, m->n_columns, m->n_columns);
    *ret = TAKE(m);
    return KB_OK;
}

const struct sound_facts *mel_sound(const struct mel *m)
{
    return &m->sound;
}

double mel_level_db(const struct mel *m)
{
    return level_db(&m->level);
}

int mel_columns(const struct mel *m)
{
    return m->n_columns;
}

int64_t mel_duration_us(const struct mel *m)
{
    return m->n_samples * 1000000 / MEL_RATE_HZ;
}

const float *mel_column(const struct mel *m, int i)
{
    return m->columns + (size_t)KB_MAX(KB_MIN(i, m->n_columns - 1), 0) * MEL_BANDS;
}

void mel_window(const struct mel *m, int first, int n, float *ret)
{
    for (int k = 0; k < n; k++) {
        const float *column = mel_column(m, first + k);
        for (int b = 0; b < MEL_BANDS; b++)
            ret[b * n + k] = column[b];
    }
}
