// A job end to end. See job.h for the threads; the stages themselves are in pipeline.c.
#include "lipsync/job.h"

#include "base/file.h"
#include "base/log.h"
#include "lipsync/pipeline.h"
#include "media/audio.h"
#include "media/reader.h"
#include "media/writer.h"

#include <stdlib.h>
#include <string.h>

#define SPARE_BYTES (16 << 20) // room that must be free beside the estimated output

const char *const job_presets[N_JOB_PRESETS] = {"auto",   "ultrafast", "superfast", "veryfast",
                                                "faster", "fast",      "medium",    "slow",
                                                "slower", "veryslow",  "placebo"};

bool loop_mode_parse(const char *text, enum loop_mode *ret)
{
    static const char *const names[] = {"pingpong", "restart", "freeze", "none"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum loop_mode)i;
            return true;
        }
    }
    return false;
}

struct job_params job_defaults(void)
{
    return (struct job_params){.crf = -1, .mask_feather = -1, .mask_dilate = -1};
}

static void report(progress_fn *progress, void *opaque, enum stage stage, int64_t done,
                   int64_t total)
{
    if (progress)
        progress(opaque, &(struct progress){stage, done, total});
}

// One budget for the process, divided as it was fastest (docs/performance.md): the stages wait for
// each other, so their threads may be half as many again as there are processors. While a track is
// made, decoding is half of the work and may use all.
static int thread_count(int threads)
{
    return threads > 0 ? threads : kb_cpu_count();
}

static int decoder_threads(int threads)
{
    return KB_MAX(thread_count(threads) / 2, 1);
}

static int encoder_threads(int threads)
{
    return thread_count(threads) * 3 / 2;
}

// --- before the work ---

// A generous guess of the output's size in bytes.
static int64_t estimate_bytes(const struct reader_info *v, int64_t length_us)
{
    // CRF 18 seldom needs more than 0.15 bits a pixel at 25 fps; a source bitrate may be higher.
    int64_t bits = (int64_t)v->width * v->height * 15 / 100 * 25;
    bits = KB_MAX(bits, v->bitrate) + 192000;
    return bits / 8 * (length_us / 1000000 + 1);
}

static enum kb_code check_inputs(const struct job_params *p, int64_t *ret_bytes,
                                 struct kb_error *err)
{
    CLEANUP(audio_close) struct audio_reader *audio = NULL;
    CLEANUP(reader_close) struct reader *video = NULL;
    struct audio_params ap = {.cancel = p->cancel};
    struct reader_params rp = {.height = p->height, .cancel = p->cancel};

    enum kb_code code = audio_open(&audio, p->audio, &ap, err);
    if (code == KB_OK)
        code = reader_open(&video, p->video, &rp, err);
    if (code != KB_OK)
        return code;
    const struct reader_info *info = reader_info(video);
    if (p->start_us > 0 && info->duration_us > 0 && p->start_us >= info->duration_us)
        return kb_fail(err, KB_BAD_INPUT,
                       _("--start %.3f s lies behind the end of '%s' (%.3f s); choose an earlier "
                         "start"),
                       (double)p->start_us / 1e6, p->video, (double)info->duration_us / 1e6);
    int64_t length = audio_duration_us(audio);
    if (p->keep_video)
        length = KB_MAX(length, info->duration_us);
    if (p->duration_us > 0)
        length = KB_MIN(length, p->duration_us);
    *ret_bytes = estimate_bytes(info, length);
    return KB_OK;
}

enum kb_code job_check(const struct job_params *p, struct kb_error *err)
{
    int64_t bytes = 0;
    if (file_same(p->video, p->output) || file_same(p->audio, p->output))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the output '%s' is one of the inputs; choose another name"), p->output);
    enum kb_code code = check_inputs(p, &bytes, err);
    return code == KB_OK ? file_check_writable(p->output, bytes + SPARE_BYTES, err) : code;
}

// --- the job ---

struct clock {
    int64_t since_us;
    double *stage_s;
};

static void lap(struct clock *c, enum stage stage)
{
    int64_t now = kb_now_us();
    c->stage_s[stage] += (double)(now - c->since_us) / 1e6;
    c->since_us = now;
}

// How long the output becomes when nothing of the video is kept beyond the speech.
static int64_t speech_length_us(const struct job_params *p, const struct mel *mel)
{
    int64_t length = mel_duration_us(mel);
    return p->duration_us > 0 ? KB_MIN(length, p->duration_us) : length;
}

// With --keep-video: up to the end of the video's last frame.
static int64_t kept_length_us(const struct job_params *p, const struct track *track,
                              int64_t speech_us)
{
    int n = track_info(track)->n_frames;
    int64_t end = n > 0 ? track_pts_us(track, n - 1) : 0;
    if (n > 1) // the last frame is shown as long as the one before
        end += end - track_pts_us(track, n - 2);
    int64_t length = KB_MAX(end - p->start_us, speech_us);
    return p->duration_us > 0 ? KB_MIN(length, p->duration_us) : length;
}

static enum kb_code open_writer(struct writer **ret, const struct job_params *p,
                                const struct reader_info *v, int64_t length_us,
                                struct kb_error *err)
{
    struct writer_params wp = {
        .width = v->width,
        .height = v->height,
        .frame_rate = v->frame_rate,
        .sample_aspect = v->sample_aspect,
        .range = v->range,
        .space = v->space,
        .primaries = v->primaries,
        .transfer = v->transfer,
        .crf = p->crf >= 0 ? p->crf : 18,
        .bitrate = p->bitrate_source ? v->bitrate : 0,
        .preset = p->preset,
        .threads = encoder_threads(p->threads),
        .audio_path = p->audio,
        .loudnorm = p->loudnorm,
        .max_duration_us = length_us,
        .comment = p->note,
        .cancel = p->cancel,
    };
    if (p->bitrate_source && v->bitrate <= 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("--bitrate source: '%s' does not say its bitrate; use --crf instead"),
                       p->video);
    return writer_open(ret, p->output, &wp, err);
}

static struct cropper make_cropper(const struct engine *e, const struct job_params *p,
                                   const struct track *track, int face, const struct reader_info *v)
{
    const struct track_info *t = track_info(track);
    struct cropper c = {
        .spec = lips_spec(e->lips),
        .track = track,
        .face = face,
        .scale_x = (float)v->width / (float)t->width,
        .scale_y = (float)v->height / (float)t->height,
        .frame_width = v->width,
        .frame_height = v->height,
        .nosmooth = p->nosmooth,
    };
    static const int published[4] = {0, 10, 0, 0};
    for (int i = 0; i < 4; i++) // pads are pixels of the source, like the track
        c.pads[i] =
            (float)(p->pads_set ? p->pads[i] : published[i]) * (i < 2 ? c.scale_y : c.scale_x);
    return c;
}

static enum kb_code no_face(const char *video, struct kb_error *err)
{
    return kb_fail(
        err, KB_BAD_INPUT,
        _("no face was found in '%s'; use a video in which a face is seen from the front, "
          "well lit and at least about 60 pixels wide"),
        video);
}

static enum kb_code run_stages(struct engine *e, const struct job_params *p, const struct mel *mel,
                               const struct track *track, struct reader *reader, int64_t length_us,
                               struct job_result *ret, struct clock *clock, struct kb_error *err)
{
    const struct reader_info *info = reader_info(reader);
    if (track_info(track)->n_faces == 0)
        return no_face(p->video, err);
    int face = track_choose(track, p->face, p->face_number, err);
    if (face < 0)
        return err ? err->code : KB_NOT_FOUND;

    CLEANUP(writer_close) struct writer *writer = NULL;
    enum kb_code code = open_writer(&writer, p, info, length_us, err);
    if (code != KB_OK)
        return code;
    struct pipeline_params pp = {
        .lanes = e->lanes,
        .n_lanes = e->n_lanes,
        .mel = mel,
        .cropper = make_cropper(e, p, track, face, info),
        .source = {.reader = reader,
                   .track = track,
                   .loop = p->loop,
                   .start_us = p->start_us,
                   .length_us = length_us},
        .paste = {.spec = lips_spec(e->lips),
                  .feather = p->mask_feather >= 0 ? p->mask_feather : 0.10f,
                  .dilate = p->mask_dilate >= 0 ? p->mask_dilate : 0.04f,
                  .sharpen = p->sharpen},
        .writer = writer,
        .cancel = p->cancel,
        .progress = p->progress,
        .opaque = p->opaque,
    };
    code = pipeline_run(&pp, &ret->frames, &ret->frames_animated, &ret->seconds, err);
    lap(clock, STAGE_GENERATING);
    if (code != KB_OK)
        return code;
    report(p->progress, p->opaque, STAGE_FINISHING, 0, 1);
    code = writer_finish(writer, err);
    if (code == KB_OK)
        report(p->progress, p->opaque, STAGE_FINISHING, 1, 1);
    lap(clock, STAGE_FINISHING);
    return code;
}

enum kb_code job_run(struct engine *e, const struct job_params *p, struct job_result *ret,
                     struct kb_error *err)
{
    CLEANUP(mel_free) struct mel *own_mel = NULL;
    CLEANUP(reader_close) struct reader *reader = NULL;
    CLEANUP(track_free) struct track *track = NULL;
    struct job_result result = {0};
    struct clock clock = {kb_now_us(), result.stage_s};
    struct audio_params ap = {.loudnorm = p->loudnorm, .cancel = p->cancel};
    struct reader_params rp = {.height = p->height,
                               .denoise = p->denoise,
                               .threads = decoder_threads(p->threads),
                               .cancel = p->cancel};

    enum kb_code code = job_check(p, err);
    if (code == KB_OK && !p->mel)
        code = mel_from_file(&own_mel, p->audio, &ap, p->progress, p->opaque, err);
    const struct mel *mel = p->mel ? p->mel : own_mel;
    lap(&clock, STAGE_AUDIO);
    if (code == KB_OK)
        code = reader_open(&reader, p->video, &rp, err);
    if (code != KB_OK)
        return code;

    int64_t length_us = speech_length_us(p, mel);
    struct track_params tp = {.limit_us = p->keep_video ? 0 : p->start_us + length_us,
                              .decoder_threads = thread_count(p->threads),
                              .cache_limit = p->track_cache_limit,
                              .cancel = p->cancel,
                              .progress = p->progress,
                              .opaque = p->opaque};
    code =
        track_obtain(&track, p->video, p->track_folder, e->faces, &tp, &result.track_cached, err);
    lap(&clock, STAGE_PREPROCESSING);
    if (code == KB_OK && p->keep_video)
        length_us = kept_length_us(p, track, length_us);
    if (code == KB_OK)
        code = engine_prepare_int8(e, p->video, track, mel, p->cancel, p->progress, p->opaque, err);
    if (code == KB_OK)
        code = run_stages(e, p, mel, track, reader, length_us, &result, &clock, err);
    if (code != KB_OK)
        return code;
    result.width = reader_info(reader)->width;
    result.height = reader_info(reader)->height;
    *ret = result;
    return KB_OK;
}
