// Decodes the pictures of one video file (or still image) in presentation order.
// Not thread-safe; one reader may move between threads.
#ifndef MEDIA_READER_H
#define MEDIA_READER_H

#include "base/base.h"
#include "base/cancel.h"
#include "media/frame.h"

#include <libavutil/rational.h>

struct demux;
struct reader;

// All zero is "decode everything as it is".
struct reader_params {
    int height;   // scale down to this many rows (even), width in proportion; 0 or >= source: no
    bool denoise; // hqdn3d
    bool deep;    // keep more than 8 bits, and colours for bright screens, where the file has them
    bool chequered; // what is transparent lies on grey and white squares instead of white
    int threads;    // decoder threads; 0 means 1
    const struct cancel *cancel; // NULL = never
};

// What is known on opening. Sizes are of the frames that reader_next() returns: upright (rotation
// metadata applied), scaled, cropped to even numbers.
struct reader_info {
    int width, height;
    AVRational frame_rate;     // average; 25/1 for a still image
    AVRational sample_aspect;  // 0/1 unknown
    int64_t duration_us;       // 0 if unknown; three years (1e14) at most
    int64_t start_us;          // when the first picture is shown, as the file's sound counts (see
                               // audio_read); mostly 0
    int64_t n_frames_estimate; // 0 if unknown; 2^40 at most
    int64_t last_us;           // how long the last picture is shown; 0 until it was read
    int64_t bitrate;           // of the video stream, bits per second, 0 if unknown
    bool deep;                 // the frames carry ten bits (media/deep.h)
    bool is_still;             // one picture; the frame has pts 0 and duration 1/25 s
    char codec[32];
    enum AVColorRange range; // of the returned frames
    enum AVColorSpace space;
    enum AVColorPrimaries primaries;
    enum AVColorTransferCharacteristic transfer;
};

// Open path (a regular file, never a URL). On success *ret owns the file; release with
// reader_close(). On failure *ret is untouched. KB_NOT_FOUND, KB_BAD_INPUT, KB_NO_SPACE.
enum kb_code reader_open(struct reader **ret, const char *path, const struct reader_params *params,
                         struct kb_error *err);
const struct reader_info *reader_info(const struct reader *r);

// Next frame, a new reference for the caller (av_frame_free). Always AV_PIX_FMT_YUV420P (full-range
// sources keep their range, see color_range). frame->pts and FRAME_DURATION(frame) are in
// MICROSECONDS from the first picture of the file (which has pts 0); pts strictly increase.
// KB_EOF after the last. A broken picture in the middle is skipped; a file that breaks off ends
// there (KB_EOF) if at least one picture came, and is KB_BAD_INPUT otherwise. KB_CANCELLED.
enum kb_code reader_next(struct reader *r, AVFrame **ret, struct kb_error *err);

// Continue so that the next frame is the first whose pts >= pts_us (exact: decodes forward from the
// key frame before). Works after KB_EOF too. Falls back to decoding from the start.
enum kb_code reader_seek(struct reader *r, int64_t pts_us, struct kb_error *err);

// Begin again at the first picture as if the file had just been opened with these parameters; it
// stays open, so it may be gone from its folder. After a failure only reader_close() is left. The
// codes of reader_open().
enum kb_code reader_restart(struct reader *r, const struct reader_params *params,
                            struct kb_error *err);

// For who takes the pictures as the file has them (original.h), only before the first
// reader_next(): does each come out as it was decoded, with the time that the file gives it?
bool reader_is_plain(const struct reader *r);
const struct demux *reader_source(const struct reader *r); // the reader's
int64_t reader_origin(const struct reader *r); // the first picture's time stamp in the stream

void reader_close(struct reader **r); // NULL and half-opened are fine; sets *r to NULL

#endif
