// Writes one film: H.264 pictures (or HEVC of ten bits, or what keeps alpha) and AAC sound (Opus in
// .webm), in the format that the name ends in, mp4 else, as file_part_path() says,
// renamed to path when whole. Not thread-safe; may move between threads.
#ifndef MEDIA_WRITER_H
#define MEDIA_WRITER_H

#include "base/base.h"
#include "base/cancel.h"
#include "media/extras.h"
#include "media/reader.h"

#include <libavcodec/packet.h>

struct mix_params;
struct original;
struct sound_facts;
struct writer;

// Efforts of x264, quickest first; before them "auto": superfast with the macroblock tree of
// veryfast.
#define N_WRITER_PRESETS 11
extern const char *const writer_presets[N_WRITER_PRESETS];

struct writer_params {
    int width, height;     // even
    bool deep;             // the pictures carry ten bits (media/deep.h): HEVC Main 10
    bool alpha;            // the pictures are yuva420p: VP9 in .webm, ProRes 4444 in .mov (alpha.h)
    AVRational frame_rate; // nominal, a hint for the encoder and players
    AVRational sample_aspect;
    enum AVColorRange range;
    enum AVColorSpace space;
    enum AVColorPrimaries primaries;
    enum AVColorTransferCharacteristic transfer;
    int crf;                // 0..51; used when bitrate is 0
    int64_t bitrate;        // bits per second, or 0 for crf
    const char *preset;     // one of writer_presets; NULL = "auto"
    int threads;            // encoder threads; 0 = library's choice
    const char *audio_path; // file whose best audio stream becomes the sound; NULL = none
    const struct mix_params
        *mix; // this instead; its strings are borrowed until the writer is closed
    const struct sound_facts *audio_facts;  // what mel_sound() says of it, or NULL
    bool loudnorm;                          // normalise it (then it is re-encoded)
    int64_t audio_from_us;                  // where in the file the sound begins
    int64_t max_duration_us;                // cut sound and picture there; 0 = no limit
    const struct subtitle_track *subtitles; // as captions_open() wants them; NULL = none
    int n_subtitles;
    const char *comment;             // of the file, UTF-8; NULL = none
    const char *cues;                // CUES_TAG; NULL = none
    const char *aigc;                // its implicit label (aigc.h); NULL = none
    const char *mark;                // AIGC_MARK_KEY; NULL = none
    const struct original *original; // the film some of whose pictures are to be passed on as they
                                     // are, see writer_passes(); NULL = none
    const struct cancel *cancel;
};

// Opens path.part and writes the header. AAC sound is copied as it is when no filter or resampling
// is asked for, the container carries it and nothing is missing in it, else encoded to AAC at 192
// kbit/s, sample rate and up to two channels kept. KB_BAD_INPUT, KB_NO_SPACE, KB_NOT_FOUND (folder
// missing), KB_UNAVAILABLE (no libx264, or no libx265).
enum kb_code writer_open(struct writer **ret, const char *path, const struct writer_params *params,
                         struct kb_error *err);

// Encode one picture (yuv420p of the given size). frame->pts and FRAME_DURATION(frame) in
// microseconds from the start, pts strictly increasing. The frame stays the caller's. Sound up to
// the same time is written along, so memory does not grow. KB_NO_SPACE when the disk is full: says
// so.
enum kb_code writer_put(struct writer *w, AVFrame *frame, struct kb_error *err);

// May pictures of params.original be passed on? In .mp4 and .mov, of H.264, and where the encoder
// can write what that film's own parameters say.
bool writer_passes(const struct writer *w);

// A picture as original_next() gave it, and when it is shown, as writer_put() counts.
struct passed_picture {
    AVPacket *packet;
    int64_t pts_us, duration_us;
};
#define MAX_PASSED 64
// n of them, at most MAX_PASSED, in the order of decoding: all that are shown from the first of
// them to the last, after all that came before. What follows a writer_put() begins with a key. Each
// is decoded at most as many places after the one that it is shown at as the film says (n_reorder).
// Empties the packets, which stay the caller's. The codes of writer_put().
enum kb_code writer_pass(struct writer *w, const struct passed_picture *pictures, int n,
                         struct kb_error *err);

// Drain, write the sound that is left (up to the end of the last picture, or max_duration_us),
// trailer with faststart, sync, rename. On failure the .part file is gone.
enum kb_code writer_finish(struct writer *w, struct kb_error *err);

// Without writer_finish() before: gives up and deletes the .part file.
void writer_close(struct writer **w);

#endif
