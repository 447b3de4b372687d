// Pictures of an encoder and packets of a film in one stream, so that no player notices: the film's
// own sequence parameter set is the only one, the encoder is told to write what that says, and its
// picture parameter set stands beside the film's. Every piece begins with a picture before which
// nothing is needed. Internal to media/. Not thread-safe; may move between threads.
#ifndef MEDIA_SPLICE_H
#define MEDIA_SPLICE_H

#include "media/h264.h"

#include <libavcodec/avcodec.h>

struct splice;

// sps describes config's SPS. NULL: config leaves no room.
struct splice *splice_create(const struct h264_config *config, const struct h264_sps *sps);
void splice_free(struct splice **s); // NULL is fine
// What x264 must be told to be like the film, on top of what is set: a context that is not open
// yet. params: its x264-params so far, or "".
void splice_set_up(const struct splice *s, AVCodecContext *c, const char *params);
// Of an opened context, before all that follows: does it write what the film's SPS says?
bool splice_fit(struct splice *s, const AVCodecContext *c);
// Then: par says of the stream what is true of both. KB_NO_SPACE.
enum kb_code splice_describe(const struct splice *s, AVCodecParameters *par, struct kb_error *err);
// Opened again with the same settings, does it write the same as the first time?
bool splice_fits_again(const struct splice *s, const AVCodecContext *c);

// The times of all pictures, in the order in which they are shown, strictly increasing: each before
// its packet is stamped. KB_NO_SPACE.
enum kb_code splice_expect(struct splice *s, int64_t pts, struct kb_error *err);
// Of the packets, in the order of decoding: when each is decoded.
int64_t splice_next_dts(struct splice *s);

#endif
