// Where a voice is heard in a speech, out of its mel. Thread-safe (no state).
//
// What stays the same is no voice: for every band the level that it does not fall below (a tenth of
// the time within four seconds on either side) is the noise floor, and a voice rises above that in
// many bands at once. So the hum of a machine, the hiss of a room and digital silence all count as
// silence.
#ifndef LIPSYNC_VAD_H
#define LIPSYNC_VAD_H

#include "media/mel.h"

// ret[i], i < n, at column i * step of the mel: 1 while a voice is heard and for VAD_AHEAD
// samples before it (lips open before they sound), 0 in silence, smooth between; VAD_FADE samples
// after the voice it is 0. KB_NO_SPACE.
#define VAD_AHEAD 4
#define VAD_FADE  4
#define VAD_GAP   8
enum kb_code vad_find(float *ret, int n, int step, const struct mel *mel, struct kb_error *err);

#endif
