// Films with transparency: VP9 in .webm, ProRes 4444 in .mov. Not thread-safe; may move between
// threads.
#ifndef MEDIA_ALPHA_H
#define MEDIA_ALPHA_H

#include "base/base.h"
#include "media/mux.h"

#include <libavcodec/avcodec.h>

// The encoder that keeps alpha in this file. KB_BAD_INPUT: none does in this format;
// KB_UNAVAILABLE: this FFmpeg has it not.
enum kb_code alpha_codec(const AVCodec **ret, const struct mux *mux, struct kb_error *err);
// Format of the pictures and effort; width, height, times and colours are set. crf: 0..51 as of
// x264.
void alpha_set_up(AVCodecContext *c, int crf);

// All-zero is closed.
struct alpha_shape {
    struct SwsContext *scaler;
};
// A picture with alpha (yuva420p) as the encoder wants it, in a frame that is empty before. 0 or
// FFmpeg's error.
int alpha_shape(struct alpha_shape *s, const AVCodecContext *c, const AVFrame *frame, AVFrame *ret);
void alpha_shape_clear(struct alpha_shape *s);

#endif
