// Text to speech through espeak-ng, so that a demo needs no recording.
// Thread-safe: espeak-ng's library has global state, so voice_speak() takes a lock.
#ifndef MEDIA_VOICE_H
#define MEDIA_VOICE_H

#include "base/base.h"

// Speak UTF-8 text into a 16-bit mono WAV file at path (written atomically).
// voice: espeak-ng's name or language ("zh", "en", "cmn", "en-us"…); "zh" means "cmn".
// NULL chooses zh if the text holds CJK characters, else en. speed: words a minute, 0 = default.
// KB_BAD_INPUT for empty text or an unknown voice (names some that exist).
enum kb_code voice_speak(const char *path, const char *text, const char *voice, int speed,
                         struct kb_error *err);

#endif
