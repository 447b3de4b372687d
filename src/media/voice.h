// Text to speech through espeak-ng, the voice that needs nothing.
// Thread-safe: espeak-ng's library has global state, so voice_speak() takes a lock.
#ifndef MEDIA_VOICE_H
#define MEDIA_VOICE_H

#include "base/base.h"
#include "base/cancel.h"
#include "media/words.h"

#define VOICE_LEAST_SPEED 0.5
#define VOICE_MOST_SPEED  2.0

struct voice_params {
    // espeak-ng's name or language ("zh", "en", "cmn", "en-us"…); "zh" means "cmn". NULL or ""
    // chooses zh if the text holds CJK characters, else en.
    const char *voice;
    double speed;   // 1 = as the voice speaks by itself, 0 = 1; VOICE_LEAST_SPEED..VOICE_MOST_SPEED
    bool has_pause; // else RECITAL_PAUSE_MS
    int pause_ms;   // between sentences (media/recital.h)
    const struct cancel *cancel; // asked after each sentence
};

// Speak UTF-8 text, sentence by sentence, into a 16-bit mono WAV file at path (written atomically).
// p may be NULL. ret_words (may be NULL) must be empty: when each word is said; words_free() it.
// KB_BAD_INPUT for empty text or an unknown voice (names some that exist); KB_CANCELLED.
enum kb_code voice_speak(const char *path, const char *text, const struct voice_params *p,
                         struct words *ret_words, struct kb_error *err);

// What voice_speak() would refuse before it speaks: the text (NULL: not asked), the voice.
// KB_BAD_INPUT, KB_UNAVAILABLE.
enum kb_code voice_speakable(const char *text, const char *voice, struct kb_error *err);

#endif
