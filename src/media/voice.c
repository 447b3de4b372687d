#include "media/voice.h"

#include <ctype.h>
#include <espeak-ng/speak_lib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"

#define MAX_TEXT_BYTES 100000 // about two hours of Chinese speech

// The library calls back without an argument of ours, so what it says is collected here.
// Fields are protected by lock.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int16_t *samples;
    size_t n, capacity;
    bool out_of_memory;
    int rate_hz; // 0 until the library was started
} spoken;

static int collect(short *samples, int n, espeak_EVENT *events)
{
    (void)events;
    if (!samples || n <= 0)
        return 0;
    if (spoken.n + (size_t)n > spoken.capacity) {
        size_t capacity = KB_MAX(2 * spoken.capacity, spoken.n + (size_t)n);
        int16_t *grown = realloc(spoken.samples, capacity * sizeof(*grown));
        if (!grown) {
            spoken.out_of_memory = true;
            return 1; // stop
        }
        spoken.samples = grown;
        spoken.capacity = capacity;
    }
    memcpy(spoken.samples + spoken.n, samples, (size_t)n * sizeof(*samples));
    spoken.n += (size_t)n;
    return 0;
}

// Unicode's blocks of Han characters.
static bool has_chinese(const char *text)
{
    for (int length; *text; text += length) {
        int32_t c = utf8_next(text, &length);
        if ((c >= 0x3400 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
            (c >= 0x20000 && c <= 0x3ffff))
            return true;
    }
    return false;
}

static bool is_blank(const char *text)
{
    for (; *text; text++)
        if (!isspace((unsigned char)*text))
            return false;
    return true;
}

static enum kb_code unknown_voice(const char *voice, struct kb_error *err)
{
    char names[200] = "";
    size_t n = 0;
    const espeak_VOICE **voices = espeak_ListVoices(NULL);
    // Each language string starts with one byte of priority.
    for (size_t i = 0; voices && voices[i] && n < 100; i++)
        n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%.20s", n ? ", " : "",
                              voices[i]->languages + 1);
    return kb_fail(err, KB_BAD_INPUT,
                   _("there is no voice '%s'; try zh, en, or one of espeak-ng's others: %s…"),
                   voice, names);
}

// Under the lock.
static enum kb_code speak(const char *text, const char *voice, int speed, struct kb_error *err)
{
    // Started once and kept: a second espeak_Initialize() after espeak_Terminate() hangs in 1.51.
    if (spoken.rate_hz <= 0)
        spoken.rate_hz =
            espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, NULL, espeakINITIALIZE_DONT_EXIT);
    if (spoken.rate_hz <= 0)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("espeak-ng's voices are missing; install the package espeak-ng-data"));
    if (espeak_SetVoiceByName(voice) != EE_OK)
        return unknown_voice(voice, err);
    espeak_SetSynthCallback(collect);
    espeak_SetParameter(espeakRATE, speed > 0 ? speed : espeakRATE_NORMAL, 0);
    // Synchronous output: everything was collected when it returns.
    espeak_ERROR e =
        espeak_Synth(text, strlen(text) + 1, 0, POS_CHARACTER, 0, espeakCHARS_UTF8, NULL, NULL);
    if (spoken.out_of_memory)
        return kb_no_memory(err);
    if (e != EE_OK)
        return kb_fail(err, KB_INTERNAL, _("espeak-ng cannot speak this text (error %d)"), (int)e);
    if (spoken.n == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the voice '%s' found nothing to say in the text; choose the voice of its "
                         "language"),
                       voice);
    return KB_OK;
}

static void put_le(uint8_t *to, uint32_t value, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

// RIFF/WAVE, PCM, 16 bit, mono: 44 bytes of header.
static enum kb_code write_wav(const char *path, struct kb_error *err)
{
    size_t size;
    if (__builtin_mul_overflow(spoken.n, sizeof(int16_t), &size) || size > UINT32_MAX - 44)
        return kb_fail(err, KB_BAD_INPUT, _("the text is too long; cut it into parts"));
    CLEANUP(kb_freep) uint8_t *wav = malloc(44 + size);
    if (!wav)
        return kb_no_memory(err);
    memcpy(wav, "RIFF....WAVEfmt ", 16);
    put_le(wav + 4, (uint32_t)(36 + size), 4);
    put_le(wav + 16, 16, 4);                           // bytes of the format chunk
    put_le(wav + 20, 1, 2);                            // PCM
    put_le(wav + 22, 1, 2);                            // channels
    put_le(wav + 24, (uint32_t)spoken.rate_hz, 4);     // samples a second
    put_le(wav + 28, (uint32_t)spoken.rate_hz * 2, 4); // bytes a second
    put_le(wav + 32, 2, 2);                            // bytes a sample
    put_le(wav + 34, 16, 2);                           // bits a sample
    memcpy(wav + 36, "data", 4);
    put_le(wav + 40, (uint32_t)size, 4);
    for (size_t i = 0; i < spoken.n; i++)
        put_le(wav + 44 + 2 * i, (uint16_t)spoken.samples[i], 2);
    return file_write_atomic(path, wav, 44 + size, err);
}

enum kb_code voice_speak(const char *path, const char *text, const char *voice, int speed,
                         struct kb_error *err)
{
    if (!text || is_blank(text))
        return kb_fail(err, KB_BAD_INPUT, _("there is no text to speak"));
    if (strlen(text) > MAX_TEXT_BYTES)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the text is %zu bytes long, at most %d can be spoken at once; cut it into "
              "parts"),
            strlen(text), MAX_TEXT_BYTES);
    if (!voice || !*voice)
        voice = has_chinese(text) ? "zh" : "en";
    if (!strcmp(voice, "zh"))
        voice = "cmn"; // espeak-ng's own "zh" was dropped for ISO 639-3's Mandarin

    pthread_mutex_lock(&lock);
    enum kb_code code = speak(text, voice, speed, err);
    if (code == KB_OK)
        code = write_wav(path, err);
    free(spoken.samples);
    spoken.samples = NULL;
    spoken.n = spoken.capacity = 0;
    spoken.out_of_memory = false;
    pthread_mutex_unlock(&lock);
    return code;
}
