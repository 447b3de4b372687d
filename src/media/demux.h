// One stream of a file from a user: opened without ever leaving that file, demuxed, decoded.
// What reader, audio and writer share. Not thread-safe; may move between threads.
#ifndef MEDIA_DEMUX_H
#define MEDIA_DEMUX_H

#include "base/base.h"
#include "base/cancel.h"
#include "media/gallery.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

// All-zero is closed. Stays where it is while it is open: FFmpeg knows its address.
struct demux {
    char *path;
    AVIOContext *io;
    AVFormatContext *demux;
    struct gallery *gallery; // reads the file instead, and demux only describes it; mostly NULL
    AVStream *stream;        // the chosen one, all others are discarded
    const AVCodec *codec;
    AVCodecContext *decoder; // NULL until demux_open_decoder()
    AVPacket *packet;
    bool draining, quick;
    const struct cancel *cancel;
    int64_t n_broken;     // times that something did not decode
    int64_t read_end;     // time stamp where the last packet that was read ends, or AV_NOPTS_VALUE
    struct first_packet { // of the stream; size 0: none was read yet
        int64_t pos, pts, dts;
        int size;
    } first;
};

// Open path and choose its best stream of a type. Only a regular file is opened and nothing that it
// names (playlists, references). On failure *s is closed. KB_NOT_FOUND, KB_BAD_INPUT, KB_NO_SPACE.
enum kb_code demux_open(struct demux *s, const char *path, enum AVMediaType type,
                        const struct cancel *cancel, struct kb_error *err);
// The same, believing what the header says: nothing is decoded to find out more. A quarter of the
// time where the header says all, as that of an MP4 does; what it does not say stays unknown.
enum kb_code demux_open_quick(struct demux *s, const char *path, enum AVMediaType type,
                              const struct cancel *cancel, struct kb_error *err);
// The same of a file that begins at a byte of another one.
enum kb_code demux_open_at(struct demux *s, const char *path, int64_t offset, enum AVMediaType type,
                           const struct cancel *cancel, struct kb_error *err);
enum kb_code demux_open_decoder(struct demux *s, int threads, struct kb_error *err);

// The next packet of the stream; av_packet_unref() it. KB_EOF at the end, also of a file that
// breaks off. KB_CANCELLED.
enum kb_code demux_read(struct demux *s, AVPacket *ret, struct kb_error *err);

// The next decoded frame; av_frame_unref() it. What does not decode is skipped, and counted.
// KB_EOF, KB_CANCELLED.
enum kb_code demux_decode(struct demux *s, AVFrame *ret, struct kb_error *err);

// Continue at the last key frame at or before a time stamp of the stream, or somewhere near: drop
// frames up to the first that is a key frame. False: not possible.
bool demux_seek(struct demux *s, int64_t timestamp);

// Begin again as demux_open() left it, without a decoder; the file stays open. On failure *s is
// closed. The same codes.
enum kb_code demux_restart(struct demux *s, const struct cancel *cancel, struct kb_error *err);

// The time stamp that counts as 0, the first of the file, in AV_TIME_BASE units. May be negative.
int64_t demux_origin(const struct demux *s);
// Of the stream, else of the file; microseconds, 0 if unknown.
int64_t demux_duration_us(const struct demux *s);
// A picture file (png, jpeg…), not a film.
bool demux_is_still(const struct demux *s);

void demux_close(struct demux *s);

// Silence FFmpeg's own lines (unless KOUBO_FFMPEG_LOG is set). Cheap, from any thread.
void ffmpeg_init(void);
// From now on this thread's text has the latest error that FFmpeg told it, "" if none; size 0: no
// more.
void ffmpeg_listen(char *text, size_t size);
// The code that fits one of FFmpeg's errors; KB_BAD_INPUT where none does better.
enum kb_code ffmpeg_code(int e);
// What it means, for people, in the language of _(). Until the thread asks for the next one.
const char *ffmpeg_error(int e);

#endif
