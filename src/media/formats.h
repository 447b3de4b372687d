// Which of FFmpeg's some 350 demuxers and 500 decoders a stranger's file may reach: those in which
// people have films and sounds of somebody who speaks. The others are code that nobody needs here
// and that few have looked at. docs/films.md lists them. Thread-safe.
#ifndef MEDIA_FORMATS_H
#define MEDIA_FORMATS_H

#include <stdbool.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

bool format_allowed(const AVInputFormat *format);
// The first allowed decoder, NULL: none.
const AVCodec *format_decoder(enum AVCodecID id);
// The same for what FFmpeg opens by itself: before avformat_open_input(). False: out of memory.
bool format_restrict(AVFormatContext *demux);

#endif
