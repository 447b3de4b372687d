#include "media/subtitle_file.h"

#include "media/demux.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/mem.h>
#include <stdlib.h>
#include <string.h>

#define IO_BYTES 4096
#define LAST_US  INT64_C(360000000000) // 100 hours

// --- which of them it is

static const char *skip_blanks(const char *text)
{
    while (*text == ' ' || *text == '\t' || *text == '\r' || *text == '\n')
        text++;
    return text;
}

// The first of its lines tells; of SRT there is none, but "-->" comes soon.
static const char *format_of(const char *text)
{
    const char *begin = skip_blanks(text);
    if (text_begins(begin, "WEBVTT"))
        return "vtt";
    if (strncasecmp(begin, "[Script Info]", 13) == 0 || strcasestr(begin, "\n[V4") ||
        strncasecmp(begin, "[V4", 3) == 0)
        return "ass";
    return strstr(begin, "-->") ? "srt" : NULL;
}

bool subtitle_file_begins(const uint8_t *head, size_t n)
{
    CLEANUP(kb_freep) char *text = NULL;
    return charset_decode(&text, NULL, head, n, "", NULL) == KB_OK && format_of(text) != NULL;
}

// --- reading through FFmpeg, from memory

struct memory {
    const uint8_t *bytes;
    int64_t n, at;
};

static int memory_read(void *opaque, uint8_t *ret, int size)
{
    struct memory *m = opaque;
    int n = (int)KB_MIN(size, m->n - m->at);
    if (n <= 0)
        return AVERROR_EOF;
    memcpy(ret, m->bytes + m->at, (size_t)n);
    m->at += n;
    return n;
}

static int64_t memory_seek(void *opaque, int64_t offset, int whence)
{
    struct memory *m = opaque;
    if (whence == AVSEEK_SIZE)
        return m->n;
    int64_t to = whence == SEEK_SET ? offset : whence == SEEK_CUR ? m->at + offset : m->n + offset;
    if (to < 0 || to > m->n)
        return AVERROR(EINVAL);
    return m->at = to;
}

struct source {
    struct memory memory;
    AVIOContext *io;
    AVFormatContext *demux;
    AVCodecContext *decoder;
    AVPacket *packet;
};

static void source_close(struct source *s)
{
    av_packet_free(&s->packet);
    avcodec_free_context(&s->decoder);
    avformat_close_input(&s->demux);
    if (s->io)
        av_freep(&s->io->buffer);
    avio_context_free(&s->io);
}

static enum kb_code source_open(struct source *s, const char *text, const char *format,
                                const char *name, struct kb_error *err)
{
    const AVInputFormat *input = av_find_input_format(strcmp(format, "vtt") ? format : "webvtt");
    uint8_t *buffer = av_malloc(IO_BYTES);
    s->memory = (struct memory){(const uint8_t *)text, (int64_t)strlen(text), 0};
    s->io =
        buffer ? avio_alloc_context(buffer, IO_BYTES, 0, &s->memory, memory_read, NULL, memory_seek)
               : NULL;
    s->demux = avformat_alloc_context();
    s->packet = av_packet_alloc();
    if (!s->io) {
        av_free(buffer);
        return kb_no_memory(err);
    }
    if (!s->demux || !s->packet)
        return kb_no_memory(err);
    s->demux->pb = s->io;
    s->demux->flags |= AVFMT_FLAG_CUSTOM_IO;
    if (!input)
        return kb_fail(err, KB_UNAVAILABLE, _("this FFmpeg cannot read subtitles of the kind %s"),
                       format);
    int e = avformat_open_input(&s->demux, NULL, input, NULL);
    if (e >= 0 && s->demux->nb_streams < 1)
        e = AVERROR_INVALIDDATA;
    if (e < 0)
        return kb_fail(err, ffmpeg_code(e), _("the subtitles in '%s' cannot be read: %s"), name,
                       ffmpeg_error(e));
    const AVStream *st = s->demux->streams[0];
    const AVCodec *codec = avcodec_find_decoder(st->codecpar->codec_id);
    s->decoder = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!s->decoder || avcodec_parameters_to_context(s->decoder, st->codecpar) < 0)
        return kb_no_memory(err);
    s->decoder->pkt_timebase = st->time_base;
    e = avcodec_open2(s->decoder, codec, NULL);
    return e < 0 ? kb_fail(err, ffmpeg_code(e), _("the subtitles in '%s' cannot be read: %s"), name,
                           ffmpeg_error(e))
                 : KB_OK;
}

// One line after the other, blanks at their ends gone and no line empty.
static void tidy(char *text)
{
    char *to = text;
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\r\n"), first = strspn(line, " \t"), last = n;
        while (last > first && (line[last - 1] == ' ' || line[last - 1] == '\t'))
            last--;
        const char *next = line + n + strspn(line + n, "\r\n");
        if (first < last) {
            if (to > text)
                *to++ = '\n';
            memmove(to, line + first, last - first);
            to += last - first;
        }
        line = next;
    }
    *to = '\0';
}

static void take_packet(struct subtitle_file *f, struct source *s)
{
    AVSubtitle sub = {0};
    int got = 0;
    const AVRational base = s->demux->streams[0]->time_base;
    int64_t start = s->packet->pts == AV_NOPTS_VALUE
                        ? INT64_MIN
                        : av_rescale_q(s->packet->pts, base, AV_TIME_BASE_Q);
    int64_t length = av_rescale_q(KB_MAX(s->packet->duration, 0), base, AV_TIME_BASE_Q);
    if (start < 0 || start > LAST_US || length <= 0 || length > LAST_US ||
        avcodec_decode_subtitle2(s->decoder, &sub, &got, s->packet) < 0 || !got) {
        f->n_skipped++;
        return;
    }
    bool taken = false;
    for (unsigned i = 0; i < sub.num_rects; i++) {
        char text[SUBTITLE_BYTES];
        if (!sub.rects[i]->ass)
            continue;
        subtitle_plain(sub.rects[i]->ass, text);
        tidy(text);
        taken |= *text && subtitle_add(&f->track, start, start + length, text);
    }
    f->n_skipped += !taken;
    avsubtitle_free(&sub);
}

// A WebVTT without its STYLE and REGION blocks, at which FFmpeg 5.1 takes the file for ended: of
// the blocks between empty lines those stay that have a time.
static char *without_styles(const char *text)
{
    CLEANUP(text_free) struct text kept = {0};
    text_add(&kept, "WEBVTT\n\n");
    for (const char *block = text; *block;) {
        const char *end = block;
        bool timed = false;
        while (*end && *end != '\n' && *end != '\r') {
            size_t n = strcspn(end, "\r\n");
            timed |= memmem(end, n, "-->", 3) != NULL;
            end += n;
            end += *end == '\r';
            end += *end == '\n';
        }
        if (timed) {
            text_add_bytes(&kept, block, (size_t)(end - block));
            text_add(&kept, "\n");
        }
        block = skip_blanks(end);
    }
    return TAKE(kept.data);
}

static int by_start(const void *a, const void *b)
{
    const struct subtitle *x = a, *y = b;
    return x->start_us != y->start_us ? (x->start_us > y->start_us) - (x->start_us < y->start_us)
                                      : (x->end_us > y->end_us) - (x->end_us < y->end_us);
}

static enum kb_code parse(struct subtitle_file *f, char **text, const char *name,
                          struct kb_error *err)
{
    CLEANUP(source_close) struct source s = {0};
    f->format = format_of(*text);
    if (!f->format)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is no file of subtitles: SRT, VTT and ASS can be read"), name);
    ffmpeg_init();
    CLEANUP(kb_freep) char *bare = strcmp(f->format, "vtt") ? NULL : without_styles(*text);
    enum kb_code code = source_open(&s, bare ? bare : *text, f->format, name, err);
    if (code != KB_OK)
        return code;
    while (av_read_frame(s.demux, s.packet) >= 0) {
        take_packet(f, &s);
        av_packet_unref(s.packet);
    }
    if (f->track.n == 0)
        return kb_fail(err, KB_BAD_INPUT, _("there are no subtitles in '%s'"), name);
    qsort(f->track.at, f->track.n, sizeof(*f->track.at), by_start);
    if (strcmp(f->format, "ass") == 0)
        f->ass = TAKE(*text);
    return KB_OK;
}

enum kb_code subtitle_file_parse(struct subtitle_file *ret, const void *bytes, size_t n,
                                 const char *name, struct kb_error *err)
{
    CLEANUP(kb_freep) char *text = NULL;
    *ret = (struct subtitle_file){0};
    enum kb_code code = charset_decode(&text, ret->encoding, bytes, n, name, err);
    if (code == KB_OK)
        code = parse(ret, &text, name, err);
    if (code != KB_OK)
        subtitle_file_clear(ret);
    return code;
}

enum kb_code subtitle_file_read(struct subtitle_file *ret, const char *path, struct kb_error *err)
{
    CLEANUP(kb_freep) char *text = NULL;
    *ret = (struct subtitle_file){0};
    enum kb_code code = charset_read(&text, ret->encoding, path, SUBTITLE_FILE_BYTES, err);
    if (code == KB_OK)
        code = parse(ret, &text, path, err);
    if (code != KB_OK)
        subtitle_file_clear(ret);
    return code;
}

void subtitle_track_clear(struct subtitle_track *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->at[i].text);
    free(t->at);
    *t = (struct subtitle_track){0};
}

void subtitle_file_clear(struct subtitle_file *f)
{
    subtitle_track_clear(&f->track);
    free(f->ass);
    *f = (struct subtitle_file){0};
}

// --- writing

static void add_time(struct text *ret, int64_t us, char point)
{
    int64_t ms = (KB_MAX(us, 0) + 500) / 1000;
    text_addf(ret, "%02lld:%02lld:%02lld%c%03lld", (long long)(ms / 3600000),
              (long long)(ms / 60000 % 60), (long long)(ms / 1000 % 60), point,
              (long long)(ms % 1000));
}

// markup: "&", "<" and ">" mean something in WebVTT; in SRT players take tags for such.
static void add_lines(struct text *ret, const char *text, bool markup)
{
    bool begun = false; // the line has something in it
    for (const char *c = text; *c; c++) {
        if (*c == '\n' || *c == '\r') {
            if (begun)
                text_add(ret, "\n");
            begun = false;
            continue;
        }
        begun = true;
        if (markup && (*c == '&' || *c == '<' || *c == '>'))
            text_add(ret, *c == '&' ? "&amp;" : *c == '<' ? "&lt;" : "&gt;");
        else if (text_begins(c, "-->"))
            text_add(ret, "\xe2\x86\x92"), c += 2; // →
        else
            text_add_bytes(ret, c, 1);
    }
    text_add(ret, begun ? "\n\n" : "\n");
}

void subtitles_to_srt(struct text *ret, const struct subtitle_track *t, int64_t shift_us)
{
    for (size_t i = 0; i < t->n; i++) {
        text_addf(ret, "%zu\n", i + 1);
        add_time(ret, t->at[i].start_us + shift_us, ',');
        text_add(ret, " --> ");
        add_time(ret, t->at[i].end_us + shift_us, ',');
        text_add(ret, "\n");
        add_lines(ret, t->at[i].text, false);
    }
}

void subtitles_to_vtt(struct text *ret, const struct subtitle_track *t, int64_t shift_us)
{
    text_add(ret, "WEBVTT\n\n");
    for (size_t i = 0; i < t->n; i++) {
        add_time(ret, t->at[i].start_us + shift_us, '.');
        text_add(ret, " --> ");
        add_time(ret, t->at[i].end_us + shift_us, '.');
        text_add(ret, "\n");
        add_lines(ret, t->at[i].text, true);
    }
}
