// The packets of a film as its file has them: for pictures that need not be encoded again, since
// nothing changed in them. Only of films whose pictures reader_next() gives as they are: H.264 of 8
// bits and whole pictures, in an MP4, a MOV or a Matroska. Not thread-safe; may move between
// threads.
#ifndef MEDIA_ORIGINAL_H
#define MEDIA_ORIGINAL_H

#include "media/h264.h"
#include "media/reader.h"

#include <libavcodec/packet.h>

struct original;

// film: open, at its first picture; only needed until this returns. *ret is NULL where the film is
// of another kind or cannot be opened a second time. KB_CANCELLED, KB_NO_SPACE.
enum kb_code original_open(struct original **ret, const struct reader *film,
                           const struct cancel *cancel, struct kb_error *err);
void original_close(struct original **o); // NULL is fine

// Of its stream, while it is open.
const struct h264_config *original_config(const struct original *o);
const struct h264_sps *original_sps(const struct original *o);

// Continue near a time, before it where the file allows. False: not possible.
bool original_seek(struct original *o, int64_t pts_us);
// The next packet in the order of decoding, one picture, as original_repack() leaves it. *ret_us:
// as frame->pts of reader_next(). KB_EOF: the end, or something that cannot be passed on.
// KB_CANCELLED, KB_NO_SPACE.
enum kb_code original_next(struct original *o, AVPacket *ret, int64_t *ret_us,
                           struct kb_error *err);

// Units with lengths of 4 bytes, without parameter sets; marked as key only where nothing before it
// is needed. config: whose parameter sets may be in it; NULL: any. KB_EOF: it is broken, or
// something else is in it. KB_NO_SPACE.
enum kb_code original_repack(AVPacket *packet, int length_bytes, const struct h264_config *config,
                             struct kb_error *err);

#endif
