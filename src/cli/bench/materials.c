// What the measurements read: a film, a speech, a checkpoint. The film is the demo's picture under
// a camera that slowly moves and zooms, so that every frame differs and the face travels.
#include "cli/bench/bench.h"

#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/photo.h"
#include "face/models.h"
#include "media/audio.h"
#include "media/mel.h"
#include "media/voice.h"
#include "media/writer.h"
#include "nn/import/import.h"
#include "media/demux.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libavformat/avformat.h>

#define SPEECH_S      60
#define LONG_SPEECH_S 600
#define FULL_HD_S     20 // long enough that a face turns, short enough to be made
#define FPS           25

char *bench_path(const struct bench *b, const char *name)
{
    return path_join(b->folder, name);
}

char *bench_clip(const struct bench *b)
{
    return b->user_clip ? kb_strdup(b->user_clip) : bench_path(b, "clip.mp4");
}

// --- speech ---

static void put_le(uint8_t *at, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

// Where no voice is installed: a hum of some harmonics in syllables of a quarter of a second, as
// 16-bit mono WAV.
static enum kb_code make_hum(const char *path, int seconds, struct kb_error *err)
{
    uint32_t n = (uint32_t)(seconds + 1) * MEL_RATE_HZ, bytes = n * 2;
    CLEANUP(kb_freep) uint8_t *wav = kb_calloc_checked(44 + (size_t)bytes, 1);
    if (!wav)
        return kb_no_memory(err);
    memcpy(wav, "RIFF....WAVEfmt ", 16);
    put_le(wav + 4, 36 + bytes, 4);
    put_le(wav + 16, 16, 4); // size of this chunk
    put_le(wav + 20, 1, 2);  // PCM
    put_le(wav + 22, 1, 2);  // channels
    put_le(wav + 24, MEL_RATE_HZ, 4);
    put_le(wav + 28, MEL_RATE_HZ * 2, 4); // bytes a second
    put_le(wav + 32, 2, 2);               // bytes a sample
    put_le(wav + 34, 16, 2);              // bits a sample
    memcpy(wav + 36, "data", 4);
    put_le(wav + 40, bytes, 4);
    for (uint32_t i = 0; i < n; i++) {
        double t = (double)i / MEL_RATE_HZ, sum = 0;
        for (int k = 1; k <= 12; k++)
            sum += sin(2 * M_PI * 140 * k * t) / k;
        double syllable = pow(sin(M_PI * 4 * t), 2);
        put_le(wav + 44 + 2 * i, (uint16_t)(int16_t)(6000 * syllable * sum), 2);
    }
    return file_write_atomic(path, wav, 44 + (size_t)bytes, err);
}

static bool long_enough(const char *path, int seconds)
{
    CLEANUP(audio_close) struct audio_reader *audio = NULL;
    struct audio_params ap = {0};
    struct kb_error ignored = {0};
    return audio_open(&audio, path, &ap, &ignored) == KB_OK &&
           audio_duration_us(audio) >= seconds * INT64_C(1000000);
}

static enum kb_code make_speech(const char *path, int seconds, struct kb_error *err)
{
    static const char sentence[] = "The figures on this page were measured while somebody talked "
                                   "for a minute about nothing in particular. ";
    CLEANUP(text_free) struct text text = {0};
    for (int i = 0; i < seconds; i += 3) // some 5 s each
        text_add(&text, sentence);
    struct kb_error ignored = {0};
    if (voice_speak(path, text.data, &(struct voice_params){.voice = "en"}, NULL, &ignored) ==
            KB_OK &&
        long_enough(path, seconds))
        return KB_OK;
    return make_hum(path, seconds, err);
}

// --- film ---

// The part of a picture that a frame shows: 16:9, in pixels of the picture.
struct window {
    double cx, cy, height;
};

// Around the largest face, which then fills four tenths of the frame, as of one who speaks to the
// camera.
static enum kb_code window_of(struct window *ret, const AVFrame *picture, struct kb_error *err)
{
    CLEANUP(face_models_free) struct face_models *models = NULL;
    struct detection found[8];
    int n = 0, best = 0;
    enum kb_code code = face_models_load(&models, err);
    if (code == KB_OK)
        code = face_detect(models, picture, found, ARRAY_LEN(found), &n, err);
    if (code != KB_OK)
        return code;
    if (n == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("no face was found in the first picture; give another --clip"));
    for (int i = 1; i < n; i++)
        if (found[i].height > found[best].height)
            best = i;
    const struct detection *d = &found[best];
    *ret = (struct window){(double)d->x + (double)d->width / 2,
                           (double)d->y + (double)d->height / 2, (double)d->height * 2.5};
    return KB_OK;
}

// One plane of the frame: bilinear, beyond the picture's rim its last pixel. unit: size of a
// sample in pixels (2 for chroma).
static void sample_plane(AVFrame *frame, const AVFrame *picture, int plane, int unit,
                         const struct window *w)
{
    int width = frame->width / unit, height = frame->height / unit;
    int last_x = picture->width / unit - 1, last_y = picture->height / unit - 1;
    double step = w->height / frame->height;
    double left = (w->cx - step * frame->width / 2) / unit;
    double top = (w->cy - w->height / 2) / unit;
    for (int y = 0; y < height; y++) {
        double sy = fmin(fmax(top + (y + 0.5) * step - 0.5, 0), last_y);
        const uint8_t *a = picture->data[plane] + (ptrdiff_t)(int)sy * picture->linesize[plane];
        const uint8_t *b = (int)sy < last_y ? a + picture->linesize[plane] : a;
        int ty = (int)((sy - (int)sy) * 256);
        uint8_t *out = frame->data[plane] + (ptrdiff_t)y * frame->linesize[plane];
        for (int x = 0; x < width; x++) {
            double sx = fmin(fmax(left + (x + 0.5) * step - 0.5, 0), last_x);
            int i = (int)sx, j = KB_MIN(i + 1, last_x), tx = (int)((sx - i) * 256);
            int upper = a[i] * (256 - tx) + a[j] * tx, lower = b[i] * (256 - tx) + b[j] * tx;
            out[x] = (uint8_t)((upper * (256 - ty) + lower * ty + (1 << 15)) >> 16);
        }
    }
}

static enum kb_code put_frame(struct writer *writer, const AVFrame *picture,
                              const struct window *start, int width, int height, int i,
                              struct kb_error *err)
{
    double t = (double)i / FPS; // seconds
    struct window w = {start->cx + start->height * 0.08 * sin(t * 0.9),
                       start->cy + start->height * 0.03 * sin(t * 1.3),
                       start->height * (1 - 0.12 * sin(t * 0.2))};
    CLEANUP(av_frame_free) AVFrame *frame = av_frame_alloc();
    if (!frame)
        return kb_no_memory(err);
    frame->format = picture->format;
    frame->width = width;
    frame->height = height;
    if (av_frame_get_buffer(frame, 0) < 0 || av_frame_copy_props(frame, picture) < 0)
        return kb_no_memory(err);
    frame->pts = i * INT64_C(1000000) / FPS;
    FRAME_DURATION(frame) = 1000000 / FPS;
    for (int plane = 0; plane < 3; plane++)
        sample_plane(frame, picture, plane, plane ? 2 : 1, &w);
    return writer_put(writer, frame, err);
}

static enum kb_code make_film(const char *path, const AVFrame *picture, int width, int height,
                              int seconds, struct kb_error *err)
{
    CLEANUP(writer_close) struct writer *writer = NULL;
    struct window window = {0};
    enum kb_code code = window_of(&window, picture, err);
    if (code != KB_OK)
        return code;
    struct writer_params wp = {.width = width,
                               .height = height,
                               .frame_rate = {FPS, 1},
                               .sample_aspect = {1, 1},
                               .range = picture->color_range,
                               .space = picture->colorspace,
                               .primaries = picture->color_primaries,
                               .transfer = picture->color_trc,
                               .crf = 18,
                               .threads = kb_cpu_count(),
                               .cancel = cli_cancel()};
    code = writer_open(&writer, path, &wp, err);
    for (int i = 0; i < seconds * FPS && code == KB_OK; i++)
        code = put_frame(writer, picture, &window, width, height, i, err);
    return code == KB_OK ? writer_finish(writer, err) : code;
}

static enum kb_code read_picture(AVFrame **ret, const char *path, struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *reader = NULL;
    struct reader_params rp = {.cancel = cli_cancel()};
    enum kb_code code = reader_open(&reader, path, &rp, err);
    return code == KB_OK ? reader_next(reader, ret, err) : code;
}

static enum kb_code make_clip(const struct bench *b, const char *name, int width, int height,
                              int seconds, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *picture = NULL;
    CLEANUP(kb_freep) char *path = bench_path(b, name);
    enum kb_code code =
        b->user_clip ? read_picture(&picture, b->user_clip, err) : photo_read(&picture, err);
    return code == KB_OK ? make_film(path, picture, width, height, seconds, err) : code;
}

// --- long films ---

struct copy {
    AVFormatContext *in, *out;
};

static void copy_close(struct copy *c)
{
    avformat_close_input(&c->in);
    if (c->out)
        avio_closep(&c->out->pb);
    avformat_free_context(c->out);
}

static enum kb_code cannot_copy(const char *path, int e, struct kb_error *err)
{
    return kb_fail(err, KB_INTERNAL,
                   _("cannot write '%s': %s; check the disk and the permissions of its folder"),
                   path, ffmpeg_error(e));
}

static int copy_open(struct copy *c, const char *from, const char *to)
{
    int e = avformat_open_input(&c->in, from, NULL, NULL);
    if (e >= 0)
        e = avformat_find_stream_info(c->in, NULL);
    if (e >= 0)
        e = avformat_alloc_output_context2(&c->out, NULL, "mp4", to);
    if (e < 0)
        return e;
    AVStream *stream = avformat_new_stream(c->out, NULL);
    if (!stream)
        return AVERROR(ENOMEM);
    e = avcodec_parameters_copy(stream->codecpar, c->in->streams[0]->codecpar);
    if (e >= 0)
        e = avio_open(&c->out->pb, to, AVIO_FLAG_WRITE);
    return e >= 0 ? avformat_write_header(c->out, NULL) : e;
}

// The packets of the one film again and again: it starts with a key frame.
static enum kb_code repeat_film(const char *from, const char *to, int times, struct kb_error *err)
{
    CLEANUP(copy_close) struct copy c = {0};
    CLEANUP(av_packet_free) AVPacket *packet = av_packet_alloc();
    if (!packet)
        return kb_no_memory(err);
    int e = copy_open(&c, from, to);
    if (e < 0)
        return cannot_copy(to, e, err);
    AVRational in = c.in->streams[0]->time_base, out = c.out->streams[0]->time_base;
    int64_t length = av_rescale_q(FULL_HD_S, (AVRational){1, 1}, in);
    for (int i = 0; i < times && e >= 0; i++) {
        e = avformat_seek_file(c.in, 0, INT64_MIN, 0, 0, 0);
        while (e >= 0 && (e = av_read_frame(c.in, packet)) >= 0) {
            packet->pts += i * length;
            packet->dts += i * length;
            av_packet_rescale_ts(packet, in, out);
            packet->pos = -1;
            e = av_write_frame(c.out, packet);
            av_packet_unref(packet);
        }
        e = e == AVERROR_EOF ? 0 : e;
    }
    if (e >= 0)
        e = av_write_trailer(c.out);
    return e < 0 ? cannot_copy(to, e, err) : KB_OK;
}

static enum kb_code make_long_films(const struct bench *b, struct kb_error *err)
{
    static const int seconds[] = {60, 300, 600};
    CLEANUP(kb_freep) char *from = bench_path(b, "full_hd.mp4");
    enum kb_code code = KB_OK;
    for (size_t i = 0; i < ARRAY_LEN(seconds) && code == KB_OK; i++) {
        CLEANUP(kb_freep) char *to = kb_printf("%s/full_hd_%d.mp4", b->folder, seconds[i]);
        code = repeat_film(from, to, seconds[i] / FULL_HD_S, err);
    }
    return code;
}

// --- the rest ---

static enum kb_code make_wav2lip(const char *path, struct kb_error *err)
{
    CLEANUP(tensor_set_free) struct tensor_set *set = wav2lip_random(1);
    return safetensors_write(path, set, err);
}

static enum kb_code make_track(const struct bench *b, struct kb_error *err)
{
    CLEANUP(kb_freep) char *clip = bench_clip(b), *cache = bench_path(b, "cache");
    CLEANUP(face_models_free) struct face_models *models = NULL;
    CLEANUP(track_free) struct track *track = NULL;
    struct track_params tp = {.decoder_threads = kb_cpu_count(), .watch.cancel = cli_cancel()};
    enum kb_code code = face_models_load(&models, err);
    return code == KB_OK ? track_obtain(&track, clip, cache, models, &tp, NULL, err) : code;
}

static enum kb_code make_packs(const struct bench *b, struct kb_error *err)
{
    CLEANUP(lips_free) struct lips *lips = NULL;
    struct bench_part part = {.packed = true};
    return bench_load(&lips, b, &part, NULL, NULL, err);
}

enum kb_code bench_make(const struct bench *b, enum material m, struct kb_error *err)
{
    CLEANUP(kb_freep) char *speech = bench_path(b, "speech.wav");
    CLEANUP(kb_freep) char *long_speech = bench_path(b, "long_speech.wav");
    CLEANUP(kb_freep) char *wav2lip = bench_path(b, "wav2lip.safetensors");
    switch (m) {
    case MATERIAL_SPEECH:
        return make_speech(speech, SPEECH_S, err);
    case MATERIAL_LONG_SPEECH:
        return make_speech(long_speech, LONG_SPEECH_S, err);
    case MATERIAL_LONG_FILMS:
        return make_long_films(b, err);
    case MATERIAL_CLIP:
        return b->user_clip ? KB_OK : make_clip(b, "clip.mp4", 1280, 720, SPEECH_S, err);
    case MATERIAL_FULL_HD:
        return make_clip(b, "full_hd.mp4", 1920, 1080, FULL_HD_S, err);
    case MATERIAL_WAV2LIP:
        return make_wav2lip(wav2lip, err);
    case MATERIAL_TRACK:
        return make_track(b, err);
    case MATERIAL_PACKS:
        return make_packs(b, err);
    }
    return KB_OK;
}

const char *bench_material_title(enum material m)
{
    switch (m) {
    case MATERIAL_SPEECH:
        return _("a speech of a minute");
    case MATERIAL_CLIP:
        return _("a film of a minute, 1280x720");
    case MATERIAL_FULL_HD:
        return _("a film of twenty seconds, 1920x1080");
    case MATERIAL_WAV2LIP:
        return _("a Wav2Lip checkpoint with random weights");
    case MATERIAL_TRACK:
        return _("the face track of the film");
    case MATERIAL_PACKS:
        return _("the network packed");
    case MATERIAL_LONG_SPEECH:
        return _("a speech of ten minutes");
    case MATERIAL_LONG_FILMS:
        return _("films of one, five and ten minutes, 1920x1080");
    }
    return "";
}
