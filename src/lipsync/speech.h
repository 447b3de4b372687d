// The speech of dubs: its mel, and a word on what is not as it should be in the file.
// Thread-safe.
#ifndef LIPSYNC_SPEECH_H
#define LIPSYNC_SPEECH_H

#include "media/mel.h"

// mel_from_file(), once for all dubs of a speech, and warnings in the log: what is missing or
// damaged in it, and where; samples that are no numbers; a voice too quiet to tell from noise.
// name: what people call the file.
enum kb_code speech_hear(struct mel **ret, const char *path, const char *name, bool loudnorm,
                         const struct watch *watch, struct kb_error *err);
// Those warnings alone, of a sound that mel_from_file() heard.
void speech_say(const struct mel *mel, const char *name);

#endif
