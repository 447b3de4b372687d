// Mel spectrogram exactly as Wav2Lip's hparams and audio.py (which follow librosa):
// pre-emphasis 0.97, |STFT| with n_fft 800, hop 200, Hann window 800 (periodic), centred with
// reflect padding, 80 Slaney mel bands 55-7600 Hz (area-normalised), 20*log10(max(1e-5, x)) - 20
// dB, then (8 * (dB + 100) / 100) - 4 clipped to -4..4. Two things go beyond that, for sounds that
// the published program was never given: what is above 0 dB is scaled and not clipped, and a speech
// quieter than MEL_QUIET_DB is heard as if it had that level. Not thread-safe while it is being
// filled; read-only and safe from any thread afterwards.
#ifndef MEDIA_MEL_H
#define MEDIA_MEL_H

#include "base/watch.h"
#include "media/sound.h"

#define MEL_BANDS   80
#define MEL_HOP     200
#define MEL_RATE_HZ 16000
#define MEL_PER_S   80 // columns a second

#define MEL_QUIET_DB (-30.0) // of mel_level_db()

struct mel;

// Streaming: feed samples (16 kHz mono) in pieces of any size, then finish.
struct mel *mel_create(void); // never NULL
enum kb_code mel_feed(struct mel *m, const float *samples, int n, struct kb_error *err);
// Fails with KB_BAD_INPUT when fewer than 800 samples (50 ms) came.
enum kb_code mel_finish(struct mel *m, struct kb_error *err);
void mel_free(struct mel **m);

// The whole sound of a file, normalised first if wanted (see audio.h). Progress: STAGE_AUDIO, in
// columns. Codes as audio_open() and audio_read().
enum kb_code mel_from_file(struct mel **ret, const char *path, bool loudnorm,
                           const struct watch *watch, struct kb_error *err);

// What mel_from_file() found in the file besides.
const struct sound_facts *mel_sound(const struct mel *m);
// How loud the voice is, or what stands out most, as it is in the file: dB of the mean square below
// full scale, pauses left out. Silence: -INFINITY.
double mel_level_db(const struct mel *m);

int mel_columns(const struct mel *m);                // 1 + samples / 200
int64_t mel_duration_us(const struct mel *m);        // of the sound
const float *mel_column(const struct mel *m, int i); // MEL_BANDS values; i is clamped to the ends
// Write the window of n columns that starts at column first as the networks want it: band-major,
// ret[band * n + k], columns clamped to the ends.
void mel_window(const struct mel *m, int first, int n, float *ret);

#endif
