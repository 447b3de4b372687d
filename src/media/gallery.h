// Pictures that FFmpeg does not read: HEIC, as phones take them, through libheif, and animated WebP
// through libwebp. They are given as packets of raw pictures, so that whoever demuxes and decodes
// them need not know. Internal to media/. Not thread-safe; may move between threads.
#ifndef MEDIA_GALLERY_H
#define MEDIA_GALLERY_H

#include "base/base.h"

#include <libavformat/avformat.h>

struct gallery;

// If path, which is open as io, is such a file, *ret reads it and ret_context describes it: one
// stream of raw video, without a demuxer (no iformat). Both are the caller's:
// avformat_close_input(), gallery_close(). Any other file leaves both as they are, which is KB_OK
// too. A picture with a side of more than max_side is refused. KB_BAD_INPUT, KB_NO_SPACE.
enum kb_code gallery_open(struct gallery **ret, AVFormatContext **ret_context, AVIOContext *io,
                          const char *path, int max_side, struct kb_error *err);
bool gallery_has_alpha(const struct gallery *g); // somewhere it is transparent
// "heic", "webp"
const char *gallery_format(const struct gallery *g);
// The next picture, with its time and duration in the stream's units; av_packet_unref() it. KB_EOF
// after the last one and where a file breaks off.
enum kb_code gallery_read(struct gallery *g, AVPacket *ret, struct kb_error *err);
void gallery_rewind(struct gallery *g);
void gallery_close(struct gallery **g); // NULL is fine

#endif
