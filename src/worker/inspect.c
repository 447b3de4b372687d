// Looking at what users gave, before any job needs it: is it a sound or a video, how long, is there
// a face, a picture of it for the list. And speaking texts. Runs in a caged worker process.
#include "worker/inspect.h"

#include "asset/claim.h"
#include "worker/line.h"
#include "worker/thumbnail.h"

#include "base/file.h"
#include "base/log.h"
#include "base/sentence.h"
#include "base/utf8.h"
#include "face/models.h"
#include "finish/chroma.h"
#include "media/audio.h"
#include "media/demux.h"
#include "media/formats.h"
#include "media/level.h"
#include "media/reader.h"
#include "media/cues.h"
#include "media/sound.h"
#include "media/subtitle_file.h"
#include "media/pieces.h"
#include "media/recital.h"
#include "media/voice.h"
#include "store/names.h"

#include <fcntl.h>
#include <libavutil/avstring.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TELL_US       200000
#define FACE_SAMPLES  8  // frames in which faces are looked for
#define SMALL_FACE_PX 60 // width of a face that gives a poor mouth
#define LOW_ROWS      360
#define LONG_VIDEO_MS (10 * 60 * 1000)
#define LONG_AUDIO_MS (30 * 60 * 1000)
#define SHORT_MS      500
#define MOST_US       INT64_C(100000000000000) // as a reader tells, whatever the file says
#define MOST_FPS      1000
#define SILENT_DB     (-85.0) // the last bit of 16
#define QUIET_DB      (-60.0)
#define PEAKS         400
#define END_S         1.0 // of a result, that may be missing
#define PEAK_BLOCK    512 // samples of 16 kHz sound behind one value before they are joined

// What is looked at, and when it was last told how far that is.
struct look {
    struct pulse *pulse;
    const char *name, *path; // of the content; path is "" of a text
    const char *picture;     // where one of it is to be written
    const struct cancel *cancel;
    int64_t told_us;
};

static void tell(struct look *l, double progress)
{
    if (kb_now_us() - l->told_us < TELL_US)
        return;
    pulse_say(l->pulse, json_pack("{s:s, s:f}", "is", "look", "progress", progress));
    l->told_us = kb_now_us();
}

// The message takes what there is; the receiver checks it (seat_asset.c).
static void tell_facts(struct look *l, const struct asset_facts *f)
{
    CLEANUP(kb_freep) char *codec = utf8_clean(f->codec);
    json_t *boxes = json_array(), *warnings = json_array(), *peaks = json_array();
    for (int i = 0; i < f->n_face_boxes; i++)
        json_array_append_new(boxes,
                              json_pack("[f, f, f, f]", (double)f->face_boxes[i][0],
                                        (double)f->face_boxes[i][1], (double)f->face_boxes[i][2],
                                        (double)f->face_boxes[i][3]));
    for (size_t i = 0; i < ARRAY_LEN(f->warnings) && f->warnings[i]; i++)
        json_array_append_new(warnings, json_string(f->warnings[i]));
    for (int i = 0; i < f->n_peaks; i++)
        json_array_append_new(peaks, json_integer(f->peaks[i]));
    pulse_say(l->pulse,
              json_pack("{s:s, s:s, s:I, s:i, s:i, s:f, s:s*, s:i, s:o, s:f, s:o, s:o, s:b}", "is",
                        "facts", "kind", f->kind, "duration", (json_int_t)f->duration_ms, "width",
                        f->width, "height", f->height, "fps", f->fps, "codec", codec, "faces",
                        f->n_faces, "boxes", boxes, "boxes_at", f->face_boxes_at, "warnings",
                        warnings, "peaks", peaks, "picture", (int)f->thumbnail));
}

struct warnings {
    const char *codes[8];
    int n;
};

static void warn(struct warnings *w, bool when, const char *code)
{
    if (when && w->n < 7)
        w->codes[w->n++] = code;
}

// --- sound

struct peaks {
    struct look *look;
    float *values; // largest magnitude of each block
    size_t n, capacity;
    size_t in_block; // samples in the last one
    int64_t samples;
    struct level level;
    bool gaps; // something is missing, or damaged
};

static bool peaks_add(struct peaks *p, const float *samples, int n)
{
    for (int i = 0; i < n; i++) {
        if (p->n == 0 || p->in_block == PEAK_BLOCK) {
            if (p->n == p->capacity) {
                size_t capacity = KB_MAX(p->capacity * 2, (size_t)4096);
                float *values = realloc(p->values, capacity * sizeof(*values));
                if (!values)
                    return false;
                p->values = values;
                p->capacity = capacity;
            }
            p->values[p->n++] = 0;
            p->in_block = 0;
        }
        float size = fabsf(samples[i]);
        p->values[p->n - 1] = KB_MAX(p->values[p->n - 1], size);
        p->in_block++;
    }
    p->samples += n;
    level_feed(&p->level, samples, n);
    return true;
}

static int peaks_join(const struct peaks *p, uint8_t ret[PEAKS])
{
    int n = (int)KB_MIN(p->n, (size_t)PEAKS);
    for (int i = 0; i < n; i++) {
        float top = 0;
        for (size_t k = p->n * (size_t)i / (size_t)n; k < p->n * ((size_t)i + 1) / (size_t)n; k++)
            top = KB_MAX(top, p->values[k]);
        ret[i] = (uint8_t)lrintf(KB_MIN(top, 1.0f) * 255);
    }
    return n;
}

static enum kb_code listen(struct peaks *p, struct kb_error *err)
{
    CLEANUP(audio_close) struct audio_reader *audio = NULL;
    float samples[4096];
    int n;
    const struct audio_params params = {.cancel = p->look->cancel};
    enum kb_code code = audio_open(&audio, p->look->path, &params, err);
    while (code == KB_OK) {
        code = audio_read(audio, samples, (int)ARRAY_LEN(samples), &n, err);
        if (audio_duration_us(audio) > 0)
            tell(p->look, (double)p->samples / 16000 * 1e6 / (double)audio_duration_us(audio));
        if (code == KB_OK && !peaks_add(p, samples, n))
            code = kb_no_memory(err);
    }
    p->gaps = code == KB_EOF && audio_facts(audio)->n_holes > 0;
    return code == KB_EOF ? KB_OK : code;
}

static enum kb_code look_at_sound(struct look *l, struct kb_error *err)
{
    struct peaks p = {.look = l};
    uint8_t joined[PEAKS];
    struct warnings w = {0};
    enum kb_code code = listen(&p, err);
    if (code == KB_OK) {
        struct asset_facts facts = {.kind = "audio",
                                    .duration_ms = p.samples * 1000 / 16000,
                                    .n_faces = -1,
                                    .peaks = joined,
                                    .n_peaks = peaks_join(&p, joined)};
        warn(&w, facts.duration_ms > LONG_AUDIO_MS, "very_long");
        warn(&w, facts.duration_ms < SHORT_MS, "short");
        double level = level_db(&p.level);
        warn(&w, !(level > SILENT_DB), "silent");
        warn(&w, level > SILENT_DB && level < QUIET_DB, "quiet");
        warn(&w, p.gaps, "gaps");
        memcpy(facts.warnings, w.codes, sizeof(facts.warnings));
        tell_facts(l, &facts);
    }
    free(p.values);
    return code;
}

// --- pictures

struct faces {
    struct look *look;
    int most;      // in one frame
    float largest; // width in pixels
    int n_boxes;   // in the frame that is shown
    float boxes[ASSET_FACE_BOXES][4];
    double boxes_at; // when that frame is shown, seconds
};

// Where they are, as fractions of the picture, what lies outside of it left out.
static void keep_boxes(struct faces *ret, const AVFrame *frame, const struct detection *found,
                       int n)
{
    const float size[2] = {(float)frame->width, (float)frame->height};
    ret->n_boxes = 0;
    ret->boxes_at = (double)frame->pts / 1e6;
    for (int i = 0; i < KB_MIN(n, ASSET_FACE_BOXES); i++) {
        const float from[2] = {found[i].x, found[i].y};
        const float sides[2] = {found[i].width, found[i].height};
        float *box = ret->boxes[ret->n_boxes];
        for (int k = 0; k < 2; k++) {
            float first = fminf(fmaxf(from[k] / size[k], 0), 1);
            float last = fminf(fmaxf((from[k] + sides[k]) / size[k], 0), 1);
            box[k] = first;
            box[2 + k] = last - first;
        }
        ret->n_boxes += box[2] > 0 && box[3] > 0;
    }
}

// Look into frames spread over the video; *ret_best is the one with the largest face, else the
// first one that could be read.
static enum kb_code look_for_faces(struct reader *r, struct face_models *models, struct faces *ret,
                                   AVFrame **ret_best, struct kb_error *err)
{
    const struct reader_info *info = reader_info(r);
    int n = info->is_still || info->duration_us <= 0 ? 1 : FACE_SAMPLES;
    for (int i = 0; i < n; i++) {
        CLEANUP(av_frame_free) AVFrame *frame = NULL;
        struct detection found[ASSET_FACE_BOXES];
        int n_found = 0;
        enum kb_code code =
            i > 0 ? reader_seek(r, info->duration_us / n * i + info->duration_us / n / 2, err)
                  : KB_OK;
        if (code == KB_OK)
            code = reader_next(r, &frame, err);
        if (code == KB_EOF)
            continue; // the header promised more than there is
        if (code == KB_OK)
            code = face_detect(models, frame, found, (int)ARRAY_LEN(found), &n_found, err);
        if (code != KB_OK)
            return code;
        ret->most = KB_MAX(ret->most, n_found);
        float width = 0;
        for (int k = 0; k < n_found; k++)
            width = KB_MAX(width, found[k].width);
        if (!*ret_best || width > ret->largest) {
            keep_boxes(ret, frame, found, n_found);
            av_frame_free(ret_best);
            *ret_best = TAKE(frame);
        }
        ret->largest = KB_MAX(ret->largest, width);
        tell(ret->look, (double)(i + 1) / n);
    }
    return KB_OK;
}

static enum kb_code look_at_video(struct look *l, struct face_models *models, struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *reader = NULL;
    CLEANUP(av_frame_free) AVFrame *best = NULL;
    struct faces faces = {.look = l};
    struct warnings w = {0};
    const struct reader_params params = {.cancel = l->cancel};
    enum kb_code code = reader_open(&reader, l->path, &params, err);
    if (code == KB_OK)
        code = look_for_faces(reader, models, &faces, &best, err);
    if (code != KB_OK)
        return code;
    const struct reader_info *info = reader_info(reader);
    struct asset_facts facts = {
        .kind = "video",
        .duration_ms = info->is_still ? 0 : info->duration_us / 1000,
        .width = info->width,
        .height = info->height,
        .fps = info->is_still || info->frame_rate.den <= 0 ? 0 : av_q2d(info->frame_rate),
        .codec = info->codec,
        .n_faces = faces.most,
        .n_face_boxes = faces.n_boxes,
        .face_boxes_at = faces.boxes_at,
    };
    memcpy(facts.face_boxes, faces.boxes, sizeof(facts.face_boxes));
    warn(&w, faces.most == 0, "no_face");
    warn(&w, faces.most > 1, "several_faces");
    warn(&w, faces.most > 0 && faces.largest < SMALL_FACE_PX, "small_face");
    warn(&w, best && chroma_is_screen(best), "green_screen"); // or a blue one
    warn(&w, facts.duration_ms > LONG_VIDEO_MS, "very_long");
    warn(&w, !info->is_still && facts.duration_ms < SHORT_MS, "short");
    warn(&w, KB_MIN(info->width, info->height) < LOW_ROWS, "low_resolution");
    memcpy(facts.warnings, w.codes, sizeof(facts.warnings));

    struct kb_error ignored; // a list without this picture is still a list
    facts.thumbnail = best && thumbnail_write(best, l->picture, &ignored) == KB_OK;
    tell_facts(l, &facts);
    return KB_OK;
}

// A film or picture, rather than a sound with perhaps a cover.
static bool has_picture(const char *path, const struct cancel *cancel)
{
    struct demux source = {0};
    if (demux_open(&source, path, AVMEDIA_TYPE_VIDEO, cancel, NULL) != KB_OK)
        return false;
    bool cover = source.stream->disposition & AV_DISPOSITION_ATTACHED_PIC;
    demux_close(&source);
    return !cover;
}

// --- subtitles

static bool is_subtitles(const char *path)
{
    uint8_t head[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? pread(fd, head, sizeof(head), 0) : -1;
    if (fd >= 0)
        close(fd);
    return n > 0 && subtitle_file_begins(head, (size_t)n);
}

static void tell_cues(struct look *l, const struct subtitle_track *t)
{
    for (size_t at = 0; at < t->n;)
        pulse_say(l->pulse, json_pack("{s:s, s:o*}", "is", "cues", "cues",
                                      cues_pack(t, &at, LINE_CUES_BYTES)));
}

static enum kb_code look_at_subtitles(struct look *l, struct kb_error *err)
{
    CLEANUP(subtitle_file_clear) struct subtitle_file file = {0};
    struct warnings w = {0};
    enum kb_code code = subtitle_file_read(&file, l->path, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *codec = kb_printf("%s %s", file.format, file.encoding);
    const struct subtitle *last = &file.track.at[file.track.n - 1];
    struct asset_facts facts = {.kind = "text",
                                .duration_ms = KB_MIN(last->end_us, MOST_US) / 1000,
                                .codec = codec,
                                .n_faces = -1};
    warn(&w, file.n_skipped > 0, "bad_cues");
    memcpy(facts.warnings, w.codes, sizeof(facts.warnings));
    tell_cues(l, &file.track);
    tell_facts(l, &facts);
    return KB_OK;
}

// --- what another machine made of a job

// The last key frame before the middle (where one cannot go there, the next), decoded alone.
// KB_EOF: there is none.
static enum kb_code decode_middle(struct demux *film, AVFrame *ret, struct kb_error *err)
{
    CLEANUP(av_packet_free) AVPacket *packet = av_packet_alloc();
    enum kb_code code = packet ? demux_open_decoder(film, 1, err) : kb_no_memory(err);
    if (code != KB_OK)
        return code;
    int64_t middle_us = demux_origin(film) + demux_duration_us(film) / 2;
    demux_seek(film, av_rescale_q(middle_us, AV_TIME_BASE_Q, film->stream->time_base));
    do {
        av_packet_unref(packet);
        code = demux_read(film, packet, err);
    } while (code == KB_OK && !(packet->flags & AV_PKT_FLAG_KEY));
    if (code != KB_OK)
        return code;
    int e = avcodec_send_packet(film->decoder, packet);
    if (e >= 0)
        e = avcodec_send_packet(film->decoder, NULL); // it need not wait for the next ones
    if (e >= 0)
        e = avcodec_receive_frame(film->decoder, ret);
    if (e >= 0 || e == AVERROR_EOF)
        return e >= 0 ? KB_OK : KB_EOF;
    return kb_fail(err, KB_BAD_INPUT, _("cannot decode '%s' (%s): %s"), film->path,
                   film->codec->name, ffmpeg_error(e));
}

// The header promises a length; packets are there up to the end, not decoded. All of a result has a
// last key frame a few seconds before it at most.
static enum kb_code look_at_end(struct demux *film, struct kb_error *err)
{
    CLEANUP(av_packet_free) AVPacket *packet = av_packet_alloc();
    const AVRational base = film->stream->time_base;
    int64_t end_us = demux_origin(film) + demux_duration_us(film);
    double seen_s = -INFINITY;
    enum kb_code code = packet ? KB_OK : kb_no_memory(err);
    if (code == KB_OK && !demux_seek(film, av_rescale_q(end_us, AV_TIME_BASE_Q, base)))
        code = KB_EOF;
    while (code == KB_OK) {
        code = demux_read(film, packet, err);
        bool whole = code == KB_OK && !(packet->flags & AV_PKT_FLAG_CORRUPT);
        if (whole && packet->pts != AV_NOPTS_VALUE)
            seen_s = fmax(seen_s, ((double)packet->pts + (double)packet->duration) * av_q2d(base));
        if (code == KB_OK && !whole)
            code = KB_EOF;
        av_packet_unref(packet);
    }
    if (code != KB_EOF)
        return code;
    return seen_s + END_S >= (double)end_us / 1e6
               ? KB_OK
               : kb_fail(err, KB_BAD_INPUT, _("the video '%s' breaks off before its end"),
                         film->path);
}

// What a result's name ends in, and what is in such a file.
static const struct made {
    const char *ending, *container, *called;
    enum AVCodecID codec; // NONE: any
} all_made[] = {{".mp4", "mp4", "MP4", AV_CODEC_ID_NONE},
                {".webm", "webm", "WebM", AV_CODEC_ID_VP9},
                {".mov", "mov", "MOV", AV_CODEC_ID_PRORES}};

static const struct made *made_as(const char *name)
{
    const char *ending = film_ending(name);
    for (size_t i = 1; i < ARRAY_LEN(all_made); i++)
        if (strcmp(ending, all_made[i].ending) == 0)
            return &all_made[i];
    return &all_made[0];
}

// The film of a result, and a sound that can be heard, as all that koubo makes has.
static bool is_made_like_ours(const struct demux *film, const struct made *made)
{
    int sound = av_find_best_stream(film->demux, AVMEDIA_TYPE_AUDIO, -1, -1, NULL, 0);
    const AVCodecParameters *par = sound >= 0 ? film->demux->streams[sound]->codecpar : NULL;
    return !film->gallery && !demux_is_still(film) &&
           av_match_name(made->container, film->demux->iformat->name) &&
           (made->codec == AV_CODEC_ID_NONE || made->codec == film->stream->codecpar->codec_id) &&
           demux_duration_us(film) > 0 && par && format_decoder(par->codec_id) &&
           par->sample_rate > 0;
}

// What it says of its subtitles; of a machine that lies, at worst others than it made.
static void look_for_cues(struct look *l, const struct demux *film)
{
    CLEANUP(subtitle_track_clear) struct subtitle_track found = {0};
    const AVDictionaryEntry *tag = av_dict_get(film->demux->metadata, CUES_TAG, NULL, 0);
    bool burned;
    if (tag && cues_read_tag(&found, &burned, tag->value))
        tell_cues(l, &found);
}

// Much less than of an upload: no faces, no wave form, one picture. Many may come in a second, and
// what they show was looked at where it was made. Of a machine that lies it is enough that nobody
// is shown what is no video.
static enum kb_code look_at_result(struct look *l, struct kb_error *err)
{
    CLEANUP(demux_close) struct demux film = {0};
    CLEANUP(av_frame_free) AVFrame *frame = av_frame_alloc();
    enum kb_code code = frame ? KB_OK : kb_no_memory(err);
    if (code == KB_OK)
        code = demux_open_quick(&film, l->path, AVMEDIA_TYPE_VIDEO, l->cancel, err);
    const struct made *made = made_as(l->name);
    if (code == KB_OK && !is_made_like_ours(&film, made))
        code = kb_fail(err, KB_BAD_INPUT, _("'%s' is not a video with sound in %s"), l->path,
                       made->called);
    if (code == KB_OK)
        code = decode_middle(&film, frame, err);
    if (code == KB_EOF)
        code = kb_fail(err, KB_BAD_INPUT, _("the video '%s' has no picture"), l->path);
    if (code == KB_OK)
        code = look_at_end(&film, err);
    if (code != KB_OK)
        return code;
    AVRational rate = film.stream->avg_frame_rate;
    struct kb_error ignored;
    struct asset_facts facts = {
        .kind = "video",
        .duration_ms = KB_MIN(demux_duration_us(&film), MOST_US) / 1000,
        .width = frame->width,
        .height = frame->height,
        .fps = rate.num > 0 && rate.den > 0 ? fmin(av_q2d(rate), MOST_FPS) : 0,
        .codec = avcodec_get_name(film.codec->id),
        .n_faces = -1,
        .thumbnail = thumbnail_write(frame, l->picture, &ignored) == KB_OK,
    };
    look_for_cues(l, &film);
    tell_facts(l, &facts);
    return KB_OK;
}

// --- one asset

// Errors of this one asset are told, and are none of the caller's.
static void tell_failure(struct look *l, enum kb_code code, struct kb_error *why)
{
    if (code == KB_UNAVAILABLE || code == KB_NO_SPACE) {
        log_warn("'%s': %s", l->name, why->text); // the disk, not the file: its lease runs out
        pulse_say(l->pulse, json_pack("{s:s}", "is", "later"));
        return;
    }
    if (code == KB_CANCELLED && cancel_requested(l->cancel->parent)) {
        pulse_say(l->pulse, json_pack("{s:s}", "is", "back"));
        return;
    }
    if (code == KB_CANCELLED)
        kb_fail(why, KB_BAD_INPUT, _("'%s' took too long to read; is it damaged?"), l->name);
    sentence_replace(why, l->path, l->name);
    log_info("%s", why->text);
    pulse_say(l->pulse, line_error("failed", why));
}

// --- texts

// What the message says of a text that is to become a speech.
struct wish {
    const char *text, *voice;
    json_t *pieces; // of a voice service: bytes of each sentence; NULL: espeak-ng speaks
    double speed;
    int pause_ms; // -1: as usual
};

// The name of the speech with another ending.
static char *beside(const char *path, const char *tail)
{
    return kb_printf("%.*s%s", (int)(strlen(path) - strlen(".wav")), path, tail);
}

static enum kb_code join(struct look *l, const char *path, const struct wish *w, struct words *ret,
                         struct kb_error *err)
{
    CLEANUP(kb_freep) char *pieces = beside(path, ".pieces");
    CLEANUP(kb_freep) char *scratch = beside(path, ".piece");
    size_t n = json_array_size(w->pieces);
    CLEANUP(kb_freep) int64_t *sizes = kb_calloc_checked(n + 1, sizeof(*sizes));
    if (!sizes)
        return kb_no_memory(err);
    for (size_t i = 0; i < n; i++)
        sizes[i] = json_integer_value(json_array_get(w->pieces, i));
    const struct pieces p = {
        .path = pieces,
        .sizes = sizes,
        .n = (int)n,
        .scratch = scratch,
        .tempo = w->speed,
        .pause_ms = w->pause_ms >= 0 ? w->pause_ms : RECITAL_PAUSE_MS,
        .cancel = l->cancel,
    };
    return pieces_join(path, w->text, &p, ret, err);
}

static enum kb_code speak(struct look *l, const char *path, const struct wish *w,
                          struct kb_error *err)
{
    CLEANUP(words_free) struct words words = {0};
    const struct voice_params p = {.voice = w->voice,
                                   .speed = w->speed,
                                   .has_pause = w->pause_ms >= 0,
                                   .pause_ms = w->pause_ms,
                                   .cancel = l->cancel};
    enum kb_code code =
        w->pieces ? join(l, path, w, &words, err) : voice_speak(path, w->text, &p, &words, err);
    if (code != KB_OK)
        return code;
    json_t *m = json_pack("{s:s, s:o*}", "is", "spoken", "words", words_pack(&words));
    if (line_is_closed_to(m, &(json_error_t){0}))
        json_object_del(m, "words"); // too many: it is a speech without them, too
    pulse_say(l->pulse, m);
    return KB_OK;
}

enum kb_code inspect_asset(struct pulse *pulse, const json_t *message, const char *data,
                           const char *folder, struct face_models *faces, struct kb_error *err)
{
    const char *file, *name, *content = NULL;
    struct wish wish = {.pause_ms = -1};
    int result = 0;
    if (json_unpack((json_t *)message, "{s:s, s:s, s?:s, s?:s, s?:s, s?:o, s?:F, s?:i, s?:b}",
                    "file", &file, "name", &name, "content", &content, "text", &wish.text, "voice",
                    &wish.voice, "pieces", &wish.pieces, "speed", &wish.speed, "pause",
                    &wish.pause_ms, "result", &result) != 0 ||
        !content == !wish.text)
        return kb_fail(err, KB_INTERNAL, "an asset that makes no sense");
    CLEANUP(kb_freep) char *path = kb_printf("%s/files/%s", data, content);
    CLEANUP(kb_freep) char *picture = kb_printf("%s/%s.jpg", folder, file);
    CLEANUP(kb_freep) char *sound = kb_printf("%s/%s.wav", folder, file);
    struct look l = {.pulse = pulse,
                     .name = name,
                     .path = content ? path : "",
                     .picture = picture,
                     .cancel = pulse_work(pulse)};
    struct kb_error why = {0};
    enum kb_code code;
    if (wish.text)
        code = speak(&l, sound, &wish, &why);
    else if (result)
        code = look_at_result(&l, &why);
    else if (is_subtitles(path))
        code = look_at_subtitles(&l, &why);
    else if (has_picture(path, l.cancel))
        code = look_at_video(&l, faces, &why);
    else
        code = look_at_sound(&l, &why);
    if (code != KB_OK)
        tell_failure(&l, code, &why);
    return KB_OK;
}
