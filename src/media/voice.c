#include "media/voice.h"

#include <espeak-ng/speak_lib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "media/recital.h"
#include "media/sentences.h"

#define REST_MS 100 // of silence at the end of a word is a pause, and not of the word

// Where the library says a word of the sentence begins.
struct heard {
    int letter; // of the sentence, from 0
    int64_t begin_us;
};

// The library calls back without an argument of ours, so what it says is collected here, sentence
// by sentence. Fields are protected by lock.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int16_t *samples;
    size_t n, capacity;
    struct heard *heard;
    int n_heard, heard_capacity;
    bool out_of_memory;
    int rate_hz; // 0 until the library was started
} spoken;

static bool collect_samples(const short *samples, size_t n)
{
    if (spoken.n + n > spoken.capacity) {
        size_t capacity = KB_MAX(2 * spoken.capacity, spoken.n + n);
        int16_t *grown = reallocarray(spoken.samples, capacity, sizeof(*grown));
        if (!grown)
            return false;
        spoken.samples = grown;
        spoken.capacity = capacity;
    }
    memcpy(spoken.samples + spoken.n, samples, n * sizeof(*samples));
    spoken.n += n;
    return true;
}

static bool collect_words(const espeak_EVENT *events)
{
    for (; events && events->type != espeakEVENT_LIST_TERMINATED; events++) {
        if (events->type != espeakEVENT_WORD || events->text_position < 1)
            continue;
        if (!kb_grow(&spoken.heard, spoken.n_heard, &spoken.heard_capacity, sizeof(*spoken.heard)))
            return false;
        spoken.heard[spoken.n_heard++] =
            (struct heard){events->text_position - 1, (int64_t)events->audio_position * 1000};
    }
    return true;
}

static int collect(short *samples, int n, espeak_EVENT *events)
{
    if ((samples && n > 0 && !collect_samples(samples, (size_t)n)) || !collect_words(events)) {
        spoken.out_of_memory = true;
        return 1; // stop
    }
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

// --- when each word is said

// The byte of the sentence at which its letter begins.
static size_t byte_of_letter(const char *sentence, int letter)
{
    size_t at = 0;
    for (int length; letter > 0 && sentence[at]; letter--, at += (size_t)length)
        utf8_next(sentence + at, &length);
    return at;
}

// Numbers give several events whose places are guesses, and places are off by one behind them. So
// what counts is which word of the sentence they lie in: the first event of each, and as a letter
// of Chinese is one syllable, its second event is the next word's.
static void place_words(const char *sentence, const struct words *w)
{
    int at = 0;
    bool begun = false;
    for (int i = 0; i < spoken.n_heard; i++) {
        size_t byte = byte_of_letter(sentence, spoken.heard[i].letter);
        int next = at;
        while (next + 1 < w->n && byte >= w->list[next].first + w->list[next].n)
            next++;
        bool syllable = (unsigned char)sentence[w->list[at].first] >= 0xe2;
        if (begun && next == at && syllable && at + 1 < w->n)
            next++;
        if (begun && next == at)
            continue;
        w->list[next].begin_us = spoken.heard[i].begin_us;
        at = next;
        begun = true;
    }
}

// Words of which nothing was said: they share the time of the one before by their length.
static void share_time(const struct words *w, int64_t end_us)
{
    for (int i = 0; i < w->n;) {
        int next = i + 1;
        size_t bytes = w->list[i].n;
        while (next < w->n && w->list[next].begin_us < 0)
            bytes += w->list[next++].n;
        int64_t begin_us = KB_MAX(w->list[i].begin_us, 0);
        int64_t until_us = next < w->n ? KB_MAX(w->list[next].begin_us, begin_us) : end_us;
        size_t before = 0;
        for (int k = i; k < next; k++) {
            w->list[k].begin_us =
                begin_us + (until_us - begin_us) * (int64_t)before / (int64_t)bytes;
            before += w->list[k].n;
            w->list[k].end_us = begin_us + (until_us - begin_us) * (int64_t)before / (int64_t)bytes;
        }
        i = next;
    }
}

// A comma's pause belongs to no word.
static void cut_rest(struct word *w)
{
    int64_t first = w->begin_us * spoken.rate_hz / 1000000;
    int64_t end = KB_MIN(w->end_us * spoken.rate_hz / 1000000, (int64_t)spoken.n), last = end;
    while (last > first && abs(spoken.samples[last - 1]) < 64)
        last--;
    if (last > first && end - last > (int64_t)REST_MS * spoken.rate_hz / 1000)
        w->end_us = last * 1000000 / spoken.rate_hz;
}

// The words of what was just spoken; times since its first sample, places in the sentence.
static bool find_words(struct words *ret, const char *sentence)
{
    ret->text = (char *)sentence;
    if (!words_split(ret, 0, strlen(sentence)))
        return false;
    for (int i = 0; i < ret->n; i++)
        ret->list[i].begin_us = -1;
    if (ret->n == 0)
        return true;
    place_words(sentence, ret);
    share_time(ret, (int64_t)spoken.n * 1000000 / spoken.rate_hz);
    for (int i = 0; i < ret->n; i++)
        cut_rest(&ret->list[i]);
    return true;
}

// --- speaking, under the lock

static enum kb_code start(const char *voice, double speed, struct kb_error *err)
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
    int rate = (int)(espeakRATE_NORMAL * speed + 0.5);
    espeak_SetParameter(espeakRATE, KB_MAX(espeakRATE_MINIMUM, KB_MIN(rate, espeakRATE_MAXIMUM)),
                        0);
    return KB_OK;
}

static enum kb_code say(struct recital *r, const char *text, const struct sentence *sentence,
                        struct kb_error *err)
{
    CLEANUP(kb_freep) char *copy = strndup(text + sentence->first, sentence->n);
    struct words words = {0};
    if (!copy)
        return kb_no_memory(err);
    spoken.n = 0;
    spoken.n_heard = 0;
    spoken.out_of_memory = false;
    // Synchronous output: everything was collected when it returns.
    espeak_ERROR e =
        espeak_Synth(copy, strlen(copy) + 1, 0, POS_CHARACTER, 0, espeakCHARS_UTF8, NULL, NULL);
    if (e != EE_OK && !spoken.out_of_memory)
        return kb_fail(err, KB_INTERNAL, _("espeak-ng cannot speak this text (error %d)"), (int)e);
    enum kb_code code =
        spoken.out_of_memory || !find_words(&words, copy) ? kb_no_memory(err) : KB_OK;
    for (int i = 0; i < words.n; i++)
        words.list[i].first += sentence->first;
    if (code == KB_OK)
        code = recital_say(r, sentence, spoken.samples, spoken.n, words.list, words.n, err);
    free(words.list);
    return code;
}

static enum kb_code speak(struct recital **ret, const char *text, const struct sentence *sentences,
                          int n, const struct voice_params *p, const char *voice,
                          struct kb_error *err)
{
    enum kb_code code = start(voice, p->speed > 0 ? p->speed : 1, err);
    if (code == KB_OK)
        code = recital_open(ret, text, spoken.rate_hz,
                            p->has_pause ? p->pause_ms : RECITAL_PAUSE_MS, err);
    for (int i = 0; code == KB_OK && i < n; i++) {
        code = cancel_check(p->cancel, err);
        if (code == KB_OK)
            code = say(*ret, text, &sentences[i], err);
    }
    if (code == KB_OK && recital_is_empty(*ret))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the voice '%s' found nothing to say in the text; choose the voice of its "
                         "language"),
                       voice);
    return code;
}

static enum kb_code read_text(const char *text, struct sentence **ret, int *ret_n,
                              struct kb_error *err)
{
    *ret_n = 0;
    if (text && strlen(text) > WORDS_TEXT_BYTES)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the text is %zu bytes long, at most %d can be spoken at once; cut it into "
              "parts"),
            strlen(text), WORDS_TEXT_BYTES);
    if (text && !utf8_valid(text))
        return kb_fail(err, KB_BAD_INPUT, _("the text is not UTF-8; save it as UTF-8"));
    if (text && !sentences_find(text, ret, ret_n))
        return kb_no_memory(err);
    return *ret_n > 0 ? KB_OK : kb_fail(err, KB_BAD_INPUT, _("there is no text to speak"));
}

static const char *choose_voice(const char *voice, const char *text)
{
    voice = voice && *voice ? voice : text && has_chinese(text) ? "zh" : "en";
    // espeak-ng's own "zh" was dropped for ISO 639-3's Mandarin
    return strcmp(voice, "zh") == 0 ? "cmn" : voice;
}

enum kb_code voice_speakable(const char *text, const char *voice, struct kb_error *err)
{
    CLEANUP(kb_freep) struct sentence *sentences = NULL;
    int n;
    enum kb_code code = text ? read_text(text, &sentences, &n, err) : KB_OK;
    if (code != KB_OK)
        return code;
    pthread_mutex_lock(&lock);
    code = start(choose_voice(voice, text), 1, err);
    pthread_mutex_unlock(&lock);
    return code;
}

enum kb_code voice_speak(const char *path, const char *text, const struct voice_params *p,
                         struct words *ret_words, struct kb_error *err)
{
    static const struct voice_params defaults;
    CLEANUP(recital_close) struct recital *r = NULL;
    CLEANUP(kb_freep) struct sentence *sentences = NULL;
    int n = 0;
    p = p ? p : &defaults;
    enum kb_code code = read_text(text, &sentences, &n, err);
    if (code != KB_OK)
        return code;

    pthread_mutex_lock(&lock);
    code = speak(&r, text, sentences, n, p, choose_voice(p->voice, text), err);
    free(spoken.samples);
    free(spoken.heard);
    spoken.samples = NULL;
    spoken.heard = NULL;
    spoken.n = spoken.capacity = 0;
    spoken.n_heard = spoken.heard_capacity = 0;
    pthread_mutex_unlock(&lock);
    return code == KB_OK ? recital_write(r, path, ret_words, err) : code;
}
