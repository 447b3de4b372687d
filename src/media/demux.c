// Files come from strangers. Four doors are kept shut:
// * names: "http://…", "a:b", "-x" or "%03d" mean something to FFmpeg. The file is opened here as
//   "file:<path>" and FFmpeg's demuxers get the open file without its name;
// * references: playlists and the like may open further files. With a protocol white list that
//   matches nothing, every nested open fails;
// * formats: demuxers and decoders that few people need are not reached (media/formats.h);
// * size: pictures over 8192x8192 are refused before they are decoded.
#include "media/demux.h"

#include "base/utf8.h"
#include "media/formats.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <libavutil/avstring.h>
#include <libavutil/opt.h>

#define MAX_SIDE 8192

// Where this thread wants to read what FFmpeg says, which knows more than its codes do.
static _Thread_local struct ear {
    char *text;
    size_t size; // 0: nowhere
} ear;

static void on_log(void *from, int level, const char *fmt, va_list args)
{
    if (ear.size > 0 && level <= AV_LOG_ERROR) {
        va_list copy;
        va_copy(copy, args);
        vsnprintf(ear.text, ear.size, fmt, copy);
        va_end(copy);
        ear.text[strcspn(ear.text, "\r\n")] = '\0';
        utf8_mend(ear.text, ear.size);
    }
    av_log_default_callback(from, level, fmt, args);
}

void ffmpeg_listen(char *text, size_t size)
{
    ear = (struct ear){text, size};
    if (size > 0)
        text[0] = '\0';
}

static void init_once(void)
{
    av_log_set_callback(on_log);
    if (!getenv("KOUBO_FFMPEG_LOG"))
        av_log_set_level(AV_LOG_QUIET);
}

void ffmpeg_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_once);
}

enum kb_code ffmpeg_code(int e)
{
    switch (e) {
    case AVERROR(ENOMEM):
    case AVERROR(ENOSPC):
    case AVERROR(EDQUOT):
    case AVERROR(EFBIG):
        return KB_NO_SPACE;
    case AVERROR(ENOENT):
        return KB_NOT_FOUND;
    case AVERROR_EXIT:
        return KB_CANCELLED;
    default:
        return KB_BAD_INPUT;
    }
}

const char *ffmpeg_error(int e)
{
    static const char *const known[] = {
        N_("Invalid data found when processing input"),
        N_("End of file"),
        N_("Decoder not found"),
        N_("Encoder not found"),
        N_("Stream not found"),
        N_("Not yet implemented in FFmpeg, patches welcome"),
        N_("Generic error in an external library"),
        N_("Unknown error occurred"),
        N_("Internal bug, should not have happened"),
        N_("Bitstream filter not found"),
        N_("Buffer too small"),
        N_("Demuxer not found"),
        N_("Filter not found"),
        N_("Muxer not found"),
        N_("Option not found"),
        N_("Protocol not found"),
        N_("Immediate exit requested"),
    };
    char text[AV_ERROR_MAX_STRING_SIZE];
    // The system's own numbers: av_strerror() would speak the language of the environment.
    if (AVUNERROR(e) > 0 && strerrordesc_np(AVUNERROR(e)))
        return kb_strerror(AVUNERROR(e));
    av_strerror(e, text, sizeof(text));
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i], text) == 0)
            return _(known[i]);
    return _("Unknown error occurred");
}

static int interrupted(void *opaque)
{
    const struct demux *s = opaque;
    return cancel_requested(s->cancel);
}

static enum kb_code check_file(const char *path, struct kb_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return kb_fail(err, errno == ENOENT || errno == ENOTDIR ? KB_NOT_FOUND : KB_BAD_INPUT,
                       _("cannot open '%s': %s"), path, kb_strerror(errno));
    if (S_ISDIR(st.st_mode))
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is a folder; give a file in it"), path);
    if (!S_ISREG(st.st_mode))
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not a regular file"), path);
    if (st.st_size == 0)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is empty (0 bytes); copy or record it again"),
                       path);
    return KB_OK;
}

// Formats that any text or bytes look like: who is told of them learns nothing.
static bool is_vague(const AVInputFormat *format)
{
    static const char *const names[] = {"tty",  "image2", "concat", "data", "bin",
                                        "xbin", "adf",    "idf",    "lavfi"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (av_match_name(names[i], format->name))
            return true;
    return false;
}

// The ISO media family says in bytes 4 to 7 what it is.
static bool looks_like_mp4(AVIOContext *io)
{
    static const char kinds[][5] = {"ftyp", "moov", "mdat", "free", "skip", "wide"};
    char head[8] = "";
    avio_seek(io, 0, SEEK_SET);
    if (avio_read(io, (unsigned char *)head, sizeof(head)) != sizeof(head))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!memcmp(head + 4, kinds[i], 4))
            return true;
    return false;
}

// Chooses by content, with the ending of the name as the only hint. *ret_other: what it is when
// that is none of those that are read, else NULL.
static const AVInputFormat *find_format(struct demux *s, const AVInputFormat **ret_other)
{
    const char *dot = strrchr(s->path, '.');
    CLEANUP(kb_freep) char *hint = kb_printf("x%s", dot && !strchr(dot, '/') ? dot : "");
    const char *const hints[] = {hint, ""};
    *ret_other = NULL;
    for (size_t i = 0; i < ARRAY_LEN(hints); i++) {
        const AVInputFormat *format = NULL;
        avio_seek(s->io, 0, SEEK_SET);
        if (av_probe_input_buffer2(s->io, &format, hints[i], NULL, 0, 0) < 0 || !format)
            continue;
        if (format_allowed(format)) {
            avio_seek(s->io, 0, SEEK_SET);
            return format;
        }
        if (!*ret_other && !is_vague(format))
            *ret_other = format;
    }
    return NULL;
}

static enum kb_code open_file(struct demux *s, int64_t offset, struct kb_error *err)
{
    AVIOInterruptCB interrupt = {interrupted, s};
    CLEANUP(kb_freep)
    char *url = offset > 0
                    ? kb_printf("subfile,,start,%lld,end,0,,:file:%s", (long long)offset, s->path)
                    : kb_printf("file:%s", s->path);
    AVDictionary *options = NULL;
    av_dict_set(&options, "protocol_whitelist", offset > 0 ? "file,subfile" : "file", 0);
    int e = avio_open2(&s->io, url, AVIO_FLAG_READ, &interrupt, &options);
    av_dict_free(&options);
    if (e < 0)
        return kb_fail(err, ffmpeg_code(e), _("cannot open '%s': %s"), s->path, ffmpeg_error(e));
    return KB_OK;
}

// FFmpeg asked for more memory than there is: for a packet, or a table of the header, of the size
// that the file gives it, which may be any. Neither is larger than its file; if so much is there,
// the file lied.
static bool memory_is_short(const struct demux *s)
{
    int64_t size = avio_size(s->io);
    void *as_much = av_malloc((size_t)KB_MIN(KB_MAX(size, 1 << 20), INT32_MAX / 2));
    av_free(as_much);
    return !as_much;
}

static enum kb_code damaged(const struct demux *s, int e, struct kb_error *err)
{
    if (e == AVERROR(ENOMEM) && memory_is_short(s))
        return kb_no_memory(err);
    if (e == AVERROR(ENOMEM))
        e = AVERROR_INVALIDDATA;
    return kb_fail(err, ffmpeg_code(e), _("'%s' is damaged: %s"), s->path, ffmpeg_error(e));
}

static enum kb_code open_demuxer(struct demux *s, struct kb_error *err)
{
    const AVInputFormat *other;
    const AVInputFormat *format = find_format(s, &other);
    if (!format && other && !cancel_requested(s->cancel))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' has the format '%s', which koubo does not read; convert it to MP4 "
                         "(H.264 and AAC) first"),
                       s->path, other->long_name ? other->long_name : other->name);
    s->demux = avformat_alloc_context();
    if (!s->demux || !format_restrict(s->demux))
        return kb_no_memory(err);
    s->demux->pb = s->io;
    s->demux->flags |= AVFMT_FLAG_CUSTOM_IO; // or closing a half-open demuxer closes io as well
    s->demux->interrupt_callback = (AVIOInterruptCB){interrupted, s};
    av_opt_set(s->demux, "protocol_whitelist", "none", 0);
    int e = format ? avformat_open_input(&s->demux, "", format, NULL) : AVERROR_INVALIDDATA;
    if (e >= 0)
        return KB_OK;
    if (cancel_requested(s->cancel))
        return cancel_check(s->cancel, err);
    if (e == AVERROR(ENOMEM))
        return damaged(s, e, err);
    if (looks_like_mp4(s->io))
        return kb_fail(
            err, KB_BAD_INPUT,
            _("'%s' is cut short or damaged: the part that says what is in it is missing; "
              "copy or export it again"),
            s->path);
    return kb_fail(err, KB_BAD_INPUT,
                   _("'%s' is not an audio or video file that can be read; its content does not "
                     "match any known format"),
                   s->path);
}

// Decoders used for probing must not allocate what a few bytes of a header ask for.
static int find_stream_info(AVFormatContext *demux)
{
    unsigned n = demux->nb_streams;
    AVDictionary **options = n ? av_calloc(n, sizeof(*options)) : NULL;
    if (n && !options)
        return AVERROR(ENOMEM);
    for (unsigned i = 0; i < n; i++)
        av_dict_set_int(&options[i], "max_pixels", (int64_t)MAX_SIDE * MAX_SIDE, 0);
    int e = avformat_find_stream_info(demux, options);
    for (unsigned i = 0; i < n; i++)
        av_dict_free(&options[i]);
    av_free(options);
    return e;
}

static enum kb_code choose_stream(struct demux *s, enum AVMediaType type, struct kb_error *err)
{
    int e = av_find_best_stream(s->demux, type, -1, -1, NULL, 0);
    bool cover = e >= 0 && (s->demux->streams[e]->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;
    if (e < 0 || cover) {
        if (type == AVMEDIA_TYPE_VIDEO)
            return kb_fail(err, KB_BAD_INPUT,
                           _("'%s' has no picture; choose a video or an image of a person"),
                           s->path);
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' has no sound; choose an audio file or a video with sound"), s->path);
    }
    s->stream = s->demux->streams[e];
    for (unsigned i = 0; i < s->demux->nb_streams; i++)
        if ((int)i != e)
            s->demux->streams[i]->discard = AVDISCARD_ALL;

    const AVCodecParameters *par = s->stream->codecpar;
    if (par->width > MAX_SIDE || par->height > MAX_SIDE)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the picture of '%s' is %dx%d; at most %dx%d is supported, scale it down "
                         "first"),
                       s->path, par->width, par->height, MAX_SIDE, MAX_SIDE);
    s->codec = format_decoder(par->codec_id);
    if (!s->codec)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is encoded with '%s', which koubo does not read; convert it to MP4 "
                         "(H.264 and AAC) first"),
                       s->path, avcodec_get_name(par->codec_id));
    return KB_OK;
}

// From the start of the open file.
static enum kb_code open_stream(struct demux *s, enum AVMediaType type, struct kb_error *err)
{
    enum kb_code code = gallery_open(&s->gallery, &s->demux, s->io, s->path, MAX_SIDE, err);
    if (code == KB_OK && s->gallery)
        return choose_stream(s, type, err);
    if (code == KB_OK)
        code = open_demuxer(s, err);
    if (code != KB_OK)
        return code;
    int e = s->quick ? 0 : find_stream_info(s->demux);
    if (cancel_requested(s->cancel))
        return cancel_check(s->cancel, err);
    if (e < 0)
        return damaged(s, e, err);
    return choose_stream(s, type, err);
}

static enum kb_code open_at(struct demux *s, const char *path, int64_t offset, bool quick,
                            enum AVMediaType type, const struct cancel *cancel,
                            struct kb_error *err)
{
    ffmpeg_init();
    *s = (struct demux){.path = kb_strdup(path),
                        .quick = quick,
                        .cancel = cancel,
                        .packet = av_packet_alloc(),
                        .read_end = AV_NOPTS_VALUE};
    enum kb_code code = s->packet ? check_file(s->path, err) : kb_no_memory(err);
    if (code == KB_OK)
        code = open_file(s, offset, err);
    if (code == KB_OK)
        code = open_stream(s, type, err);
    if (code != KB_OK)
        demux_close(s);
    return code;
}

enum kb_code demux_open(struct demux *s, const char *path, enum AVMediaType type,
                        const struct cancel *cancel, struct kb_error *err)
{
    return open_at(s, path, 0, false, type, cancel, err);
}

enum kb_code demux_open_quick(struct demux *s, const char *path, enum AVMediaType type,
                              const struct cancel *cancel, struct kb_error *err)
{
    return open_at(s, path, 0, true, type, cancel, err);
}

enum kb_code demux_open_at(struct demux *s, const char *path, int64_t offset, enum AVMediaType type,
                           const struct cancel *cancel, struct kb_error *err)
{
    return open_at(s, path, offset, false, type, cancel, err);
}

enum kb_code demux_open_decoder(struct demux *s, int threads, struct kb_error *err)
{
    s->decoder = avcodec_alloc_context3(s->codec);
    if (!s->decoder)
        return kb_no_memory(err);
    int e = avcodec_parameters_to_context(s->decoder, s->stream->codecpar);
    if (e >= 0) {
        s->decoder->pkt_timebase = s->stream->time_base;
        s->decoder->thread_count = KB_MAX(threads, 1);
        s->decoder->thread_type = FF_THREAD_FRAME | FF_THREAD_SLICE;
        s->decoder->max_pixels = (int64_t)MAX_SIDE * MAX_SIDE;
        e = avcodec_open2(s->decoder, s->codec, NULL);
    }
    if (e < 0)
        return kb_fail(err, ffmpeg_code(e), _("cannot decode '%s' (%s): %s"), s->path,
                       s->codec->name, ffmpeg_error(e));
    return KB_OK;
}

enum kb_code demux_read(struct demux *s, AVPacket *ret, struct kb_error *err)
{
    for (;;) {
        enum kb_code code = cancel_check(s->cancel, err);
        if (code != KB_OK)
            return code;
        if (s->gallery)
            return gallery_read(s->gallery, ret, err);
        int e = av_read_frame(s->demux, ret);
        if (e == AVERROR(ENOMEM) && memory_is_short(s))
            return kb_no_memory(err);
        if (e < 0)
            return cancel_requested(s->cancel) ? cancel_check(s->cancel, err) : KB_EOF;
        if (ret->stream_index == s->stream->index) {
            if (s->first.size == 0)
                s->first = (struct first_packet){ret->pos, ret->pts, ret->dts, ret->size};
            if (ret->pts == AV_NOPTS_VALUE ||
                __builtin_add_overflow(ret->pts, ret->duration, &s->read_end))
                s->read_end = AV_NOPTS_VALUE;
            return KB_OK;
        }
        av_packet_unref(ret);
    }
}

enum kb_code demux_decode(struct demux *s, AVFrame *ret, struct kb_error *err)
{
    for (;;) {
        enum kb_code code = cancel_check(s->cancel, err);
        if (code != KB_OK)
            return code;
        int e = avcodec_receive_frame(s->decoder, ret);
        if (e >= 0)
            return KB_OK;
        if (e == AVERROR_EOF)
            return KB_EOF;
        if (e == AVERROR(ENOMEM))
            return kb_no_memory(err);
        if (e != AVERROR(EAGAIN)) {
            s->n_broken++; // a picture, or a piece of a sound; what was inside is used up
            continue;
        }
        if (s->draining)
            return KB_EOF;

        code = demux_read(s, s->packet, err);
        if (code == KB_OK) {
            e = avcodec_send_packet(s->decoder, s->packet);
            av_packet_unref(s->packet);
        } else if (code == KB_EOF) {
            s->draining = true;
            e = avcodec_send_packet(s->decoder, NULL);
        } else {
            return code;
        }
        if (e == AVERROR(ENOMEM))
            return kb_no_memory(err);
        s->n_broken += e < 0;
    }
}

bool demux_seek(struct demux *s, int64_t timestamp)
{
    if (s->gallery)
        return false;
    if (avformat_seek_file(s->demux, s->stream->index, INT64_MIN, timestamp, timestamp, 0) < 0)
        return false;
    s->draining = false;
    if (!s->decoder)
        return true;
    avcodec_flush_buffers(s->decoder);
    // The H.264 decoder drops what follows an open-GOP key frame if the file ends before that
    // frame was put out. The caller starts at key frames, so nothing unfit is let through.
    s->decoder->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT;
    return true;
}

static bool seek_first(struct demux *s)
{
    int64_t stamp = s->first.dts != AV_NOPTS_VALUE ? s->first.dts : s->first.pts;
    return avformat_seek_file(s->demux, s->stream->index, INT64_MIN, stamp, stamp, 0) >= 0;
}

// Back to the first packet by the container's index. Only where packets carry their own time
// stamps, so that nothing depends on how the demuxer came there, and if it is that very packet.
static bool rewind_stream(struct demux *s)
{
    if (s->gallery) {
        gallery_rewind(s->gallery);
        return true;
    }
    const char *format = s->demux->iformat->name;
    if (s->first.size == 0 || !(av_match_name("mp4", format) || av_match_name("matroska", format)))
        return false;
    if (!seek_first(s) || demux_read(s, s->packet, NULL) != KB_OK)
        return false;
    const AVPacket *p = s->packet;
    bool same = p->pos == s->first.pos && p->pts == s->first.pts && p->dts == s->first.dts &&
                p->size == s->first.size;
    av_packet_unref(s->packet);
    return same && seek_first(s);
}

enum kb_code demux_restart(struct demux *s, const struct cancel *cancel, struct kb_error *err)
{
    avcodec_free_context(&s->decoder);
    s->draining = false;
    s->cancel = cancel;
    if (rewind_stream(s))
        return KB_OK;
    enum AVMediaType type = s->stream->codecpar->codec_type;
    avformat_close_input(&s->demux); // io is ours and stays
    s->stream = NULL;
    s->codec = NULL;
    s->first = (struct first_packet){0};
    enum kb_code code = cancel_check(cancel, err);
    if (code == KB_OK)
        code = open_stream(s, type, err);
    if (code != KB_OK)
        demux_close(s);
    return code;
}

int64_t demux_origin(const struct demux *s)
{
    int64_t start = s->demux->start_time;
    return start != AV_NOPTS_VALUE ? start : 0;
}

int64_t demux_duration_us(const struct demux *s)
{
    int64_t us = AV_NOPTS_VALUE;
    if (s->stream->duration != AV_NOPTS_VALUE)
        us = av_rescale_q(s->stream->duration, s->stream->time_base, AV_TIME_BASE_Q);
    if (us <= 0)
        us = s->demux->duration;
    return us > 0 ? us : 0; // AV_NOPTS_VALUE is negative
}

bool demux_is_still(const struct demux *s)
{
    if (s->gallery)
        return s->stream->nb_frames == 1;
    const AVDictionaryEntry *brand = av_dict_get(s->demux->metadata, "major_brand", NULL, 0);
    if (brand && !strcmp(brand->value, "avif"))
        return s->stream->nb_frames <= 1; // "avis" moves
    return av_match_name(s->demux->iformat->name, "image2") ||
           strstr(s->demux->iformat->name, "_pipe") != NULL;
}

void demux_close(struct demux *s)
{
    avcodec_free_context(&s->decoder);
    av_packet_free(&s->packet);
    avformat_close_input(&s->demux);
    gallery_close(&s->gallery);
    avio_closep(&s->io);
    free(s->path);
    *s = (struct demux){0};
}
