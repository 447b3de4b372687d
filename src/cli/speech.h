// Making the speech of a text. Main thread only.
#ifndef CLI_SPEECH_H
#define CLI_SPEECH_H

#include "media/words.h"
#include "voices/voices.h"

struct speech_wish {
    const char *path; // the WAV file
    const char *text;
    const char *voice; // a voice of voices.json, else espeak-ng's; NULL: by the text
    double speed;      // 0 = 1
    bool has_pause;
    int pause_ms;
    const char *folder; // where pieces may lie for a while
};

// ret_words (may be NULL) must be empty. Errors as of voice_speak() and voice_recite().
enum kb_code speech_make(const struct speech_wish *w, struct words *ret_words,
                         struct kb_error *err);

// What speech_make() would refuse before it speaks: the voice, and what espeak-ng cannot speak. A
// service is not asked.
enum kb_code speech_speakable(const char *text, const char *voice, struct kb_error *err);

// All voices that are written down for this user: an array, json_decref() it.
enum kb_code speech_voices(json_t **ret, struct kb_error *err);

#endif
