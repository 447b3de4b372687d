#include "media/recital.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EDGE_MS    20          // of silence that stays around a sentence: soft sounds begin there
#define FADE_MS    5           // at each edge
#define QUIET      (1.0 / 400) // of the loudest sample of a sentence is silence: -52 dB
#define LEAST      24          // and so is less than this in any case
#define WAV_HEADER 44

struct recital {
    int rate_hz, pause_ms;
    bool line_ended; // by the latest sentence
    int16_t *samples;
    size_t n, capacity;
    struct words words;
};

static size_t in_samples(const struct recital *r, int ms)
{
    return (size_t)ms * (size_t)r->rate_hz / 1000;
}

static int64_t in_us(const struct recital *r, size_t samples)
{
    return (int64_t)samples * 1000000 / r->rate_hz;
}

enum kb_code recital_open(struct recital **ret, const char *text, int rate_hz, int pause_ms,
                          struct kb_error *err)
{
    struct recital *r = kb_alloc(sizeof(*r));
    r->rate_hz = rate_hz;
    r->pause_ms = KB_MAX(0, KB_MIN(pause_ms, RECITAL_MOST_PAUSE_MS));
    r->words.text = strdup(text);
    *ret = r;
    if (r->words.text)
        return KB_OK;
    recital_close(ret);
    return kb_no_memory(err);
}

void recital_close(struct recital **recital)
{
    struct recital *r = TAKE(*recital);
    if (!r)
        return;
    words_free(&r->words);
    free(r->samples);
    free(r);
}

bool recital_is_empty(const struct recital *r)
{
    return r->n == 0;
}

static bool make_room(struct recital *r, size_t n)
{
    size_t needed, bytes;
    if (__builtin_add_overflow(r->n, n, &needed) ||
        __builtin_mul_overflow(needed, sizeof(*r->samples), &bytes))
        return false;
    if (needed <= r->capacity)
        return true;
    size_t capacity = KB_MAX(needed, r->capacity * 2);
    int16_t *grown = reallocarray(r->samples, capacity, sizeof(*grown));
    if (!grown)
        return false;
    r->samples = grown;
    r->capacity = capacity;
    return true;
}

// What of n samples can be heard, and a little around it. False: nothing.
static bool find_sound(const struct recital *r, const int16_t *samples, size_t n, size_t *ret_begin,
                       size_t *ret_end)
{
    int peak = 0;
    for (size_t i = 0; i < n; i++)
        peak = KB_MAX(peak, abs(samples[i]));
    int quiet = (int)KB_MAX(peak * QUIET, LEAST);
    size_t begin = 0, end = n, edge = in_samples(r, EDGE_MS);
    while (begin < n && abs(samples[begin]) <= quiet)
        begin++;
    while (end > begin && abs(samples[end - 1]) <= quiet)
        end--;
    *ret_begin = begin - KB_MIN(begin, edge);
    *ret_end = KB_MIN(n, end + edge);
    return begin < end;
}

static void fade(int16_t *samples, size_t n, size_t length)
{
    length = KB_MIN(length, n / 2);
    for (size_t i = 0; i < length; i++) {
        double part = 0.5 - 0.5 * cos(M_PI * ((double)i + 0.5) / (double)length);
        samples[i] = (int16_t)lrint(samples[i] * part);
        samples[n - 1 - i] = (int16_t)lrint(samples[n - 1 - i] * part);
    }
}

// The sentence's samples lie from `from` to `to`; its first was cut off by `cut`.
static bool add_words(struct recital *r, const struct sentence *sentence, int64_t from_us,
                      int64_t to_us, int64_t cut_us, const struct word *words, int n_words)
{
    const struct word whole = {from_us, to_us, sentence->first, sentence->n};
    if (n_words == 0)
        return words_add(&r->words, whole);
    for (int i = 0; i < n_words; i++) {
        struct word w = words[i];
        w.begin_us = KB_MAX(from_us, KB_MIN(w.begin_us - cut_us + from_us, to_us));
        w.end_us = KB_MAX(w.begin_us, KB_MIN(w.end_us - cut_us + from_us, to_us));
        if (!words_add(&r->words, w))
            return false;
    }
    return true;
}

enum kb_code recital_say(struct recital *r, const struct sentence *sentence, const int16_t *samples,
                         size_t n, const struct word *words, int n_words, struct kb_error *err)
{
    size_t begin, end;
    if (!find_sound(r, samples, n, &begin, &end))
        return KB_OK;
    size_t pause = r->n > 0 ? in_samples(r, r->pause_ms * (r->line_ended ? 2 : 1)) : 0;
    pause -= KB_MIN(pause, 2 * in_samples(r, EDGE_MS)); // that are silent already
    if (!make_room(r, pause + end - begin))
        return kb_no_memory(err);
    memset(r->samples + r->n, 0, pause * sizeof(*r->samples));
    r->n += pause;
    memcpy(r->samples + r->n, samples + begin, (end - begin) * sizeof(*samples));
    fade(r->samples + r->n, end - begin, in_samples(r, FADE_MS));
    int64_t from_us = in_us(r, r->n);
    r->n += end - begin;
    r->line_ended = sentence->paragraph;
    return add_words(r, sentence, from_us, in_us(r, r->n), in_us(r, begin), words, n_words)
               ? KB_OK
               : kb_no_memory(err);
}

// --- the file

static void put_le(uint8_t *to, uint32_t value, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

// RIFF/WAVE, PCM, 16 bit, mono.
static enum kb_code write_wav(const struct recital *r, const char *path, struct kb_error *err)
{
    size_t size;
    if (__builtin_mul_overflow(r->n, sizeof(int16_t), &size) || size > UINT32_MAX - WAV_HEADER)
        return kb_fail(err, KB_BAD_INPUT, _("the text is too long; cut it into parts"));
    CLEANUP(kb_freep) uint8_t *wav = malloc(WAV_HEADER + size);
    if (!wav)
        return kb_no_memory(err);
    memcpy(wav, "RIFF....WAVEfmt ", 16);
    put_le(wav + 4, (uint32_t)(36 + size), 4);
    put_le(wav + 16, 16, 4);                       // bytes of the format chunk
    put_le(wav + 20, 1, 2);                        // PCM
    put_le(wav + 22, 1, 2);                        // channels
    put_le(wav + 24, (uint32_t)r->rate_hz, 4);     // samples a second
    put_le(wav + 28, (uint32_t)r->rate_hz * 2, 4); // bytes a second
    put_le(wav + 32, 2, 2);                        // bytes a sample
    put_le(wav + 34, 16, 2);                       // bits a sample
    memcpy(wav + 36, "data", 4);
    put_le(wav + 40, (uint32_t)size, 4);
    for (size_t i = 0; i < r->n; i++)
        put_le(wav + WAV_HEADER + 2 * i, (uint16_t)r->samples[i], 2);
    return file_write_atomic(path, wav, WAV_HEADER + size, err);
}

enum kb_code recital_write(struct recital *r, const char *path, struct words *ret_words,
                           struct kb_error *err)
{
    enum kb_code code = write_wav(r, path, err);
    if (code == KB_OK && ret_words) {
        *ret_words = r->words;
        r->words = (struct words){0};
    }
    return code;
}
