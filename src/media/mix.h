// The sound of a result that is more than one file: pieces one after the other, each as long as its
// pictures, and perhaps music under them, which gives way to who speaks. Streamed: memory does not
// grow with length. Two channels, 48 kHz, float (AV_SAMPLE_FMT_FLTP). Not thread-safe; may move
// between threads.
//
//   piece, piece, … ──► voice ──┬───────────────────► mix ──► limiter ──►
//   music, again and again ─────┴──► quieter where there is a voice ──┘
#ifndef MEDIA_MIX_H
#define MEDIA_MIX_H

#include "base/base.h"
#include "base/cancel.h"

#include <libavutil/frame.h>

#define MIX_RATE_HZ    48000
#define MIX_MAX_PIECES 3

struct mix_piece {
    const char *path;  // a file with sound; NULL: silence
    int64_t from_us;   // of the file: begins there
    int64_t length_us; // silence fills it up, what is longer is cut
    float gain;        // 0 = 1
    bool loudnorm;     // to -16 LUFS
};

// Music: 40 log10(volume) dB above the loudness of the speech, so that 1 is as loud, 0.5 is 12 dB
// below; where somebody speaks another 10 dB or so below that. Faded in and out; where it is
// shorter its end and its beginning are blended.
struct music_params {
    const char *path;       // NULL: none
    float volume;           // 0 to 1
    bool steady;            // does not give way
    int64_t from_us, to_us; // of the whole
};

struct mix_params {
    struct mix_piece pieces[MIX_MAX_PIECES];
    int n_pieces;
    int speech; // which of them sets the loudness of the music
    struct music_params music;
    const struct cancel *cancel;
};

struct mix;

// Strings are borrowed while it is open. Reads music and speech once to know how loud they are. The
// codes of sound_open().
enum kb_code mix_open(struct mix **ret, const struct mix_params *p, struct kb_error *err);
// As sound_next(): exactly as many samples as all pieces are long.
enum kb_code mix_next(struct mix *m, AVFrame *frame, struct kb_error *err);
void mix_close(struct mix **m); // NULL is fine

#endif
