// One encoder and its stream of an mp4 in the making: frames go in, packets go into the file.
// Not thread-safe; may move between threads.
#ifndef MEDIA_ENCODE_H
#define MEDIA_ENCODE_H

#include "base/base.h"
#include "media/mux.h"
#include "media/splice.h"

#include <libavcodec/avcodec.h>

// All-zero is closed.
struct encoder {
    struct mux *mux;
    struct splice *splice;   // its packets are a part of a stream (splice.h); NULL: all of it
    AVCodecContext *context; // set up between encoder_init() and avcodec_open2()
    AVPacket *packet;
    int stream; // index in mux
    // Of the frame that is put next, in units of the context: its packet gets this duration, which
    // the muxer cannot tell of the last one. 0: as the encoder says.
    int64_t pts, duration;
};

// mux must not have been started and must outlive the encoder. KB_NO_SPACE.
enum kb_code encoder_init(struct encoder *e, struct mux *mux, const AVCodec *codec,
                          struct kb_error *err);
// A new context in place of the old one, to be set up and opened. KB_NO_SPACE.
enum kb_code encoder_renew(struct encoder *e, const AVCodec *codec, struct kb_error *err);
// After avcodec_open2(): the stream, which the mux owns. NULL: out of memory.
AVStream *encoder_add_stream(struct encoder *e);
// Write a packet of the stream, whose times are in these units; with a splice only its pts counts.
// Empties it.
enum kb_code encoder_pass(struct encoder *e, AVPacket *packet, AVRational units,
                          struct kb_error *err);
// Encode a frame, which stays the caller's, and write what comes out; NULL: all that is left in the
// encoder, once, at the end. KB_INTERNAL, and what mux_write() says.
enum kb_code encoder_put(struct encoder *e, const AVFrame *frame, struct kb_error *err);
void encoder_clear(struct encoder *e);

#endif
