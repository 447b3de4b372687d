// The measurements. Each runs in a fresh process (see bench.c), so it may load what it likes and
// need not tidy up behind it.
#include "cli/bench/bench.h"

#include "base/file.h"
#include "cli/cli.h"
#include "lipsync/crop.h"
#include "lipsync/motion.h"
#include "lipsync/paste.h"
#include "media/mel.h"
#include "media/writer.h"
#include "rig/follow.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PER_S(n, us) ((double)(n)*1e6 / (double)KB_MAX(us, 1))

// --- networks ---

enum kb_code bench_load(struct lips **ret, const struct bench *b, const struct bench_part *part,
                        const struct ranges *ranges, struct observer *observer,
                        struct kb_error *err)
{
    CLEANUP(kb_freep) char *wav2lip = bench_path(b, "wav2lip.safetensors");
    CLEANUP(kb_freep) char *networks = bench_path(b, "networks");
    struct lips_params lp = {.model = wav2lip,
                             .precision = part->precision,
                             .threads = kb_cpu_count(),
                             .ranges = ranges,
                             .observer = observer,
                             .cache_folder = part->packed ? networks : NULL};
    return lips_load(ret, &lp, err);
}

static enum kb_code run_load(const struct bench *b, const struct bench_part *part, double *ret,
                             struct kb_error *err)
{
    CLEANUP(lips_free) struct lips *lips = NULL;
    int64_t since = kb_now_us();
    enum kb_code code = bench_load(&lips, b, part, NULL, NULL, err);
    *ret = (double)(kb_now_us() - since) / 1e6;
    return code;
}

// What leads the rig: the listener, and how the face follows.
static enum kb_code run_load_rig(const struct bench *b, const struct bench_part *part, double *ret,
                                 struct kb_error *err)
{
    CLEANUP(motion_model_free) struct motion_model *motion = NULL;
    CLEANUP(follow_free) struct follow *follow = NULL;
    int64_t since = kb_now_us();
    enum kb_code code = motion_model_load(&motion, NULL, kb_cpu_count(), err);
    if (code == KB_OK)
        code = follow_load(&follow, err);
    *ret = (double)(kb_now_us() - since) / 1e6;
    return code;
}

// Numbers between 0 and 1, so that no branch or denormal favours a network.
static void fill(float *data, size_t n)
{
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        data[i] = (float)(state >> 8) / (1 << 24);
    }
}

static void fill_inputs(struct lips *lips)
{
    for (int i = 0; i < lips_batch(lips); i++) {
        fill(lips_face(lips, i), 2 * LIPS_FLOATS_OF(lips_side(lips)));
        fill(lips_mel(lips, i), LIPS_MEL_COLUMNS * MEL_BANDS);
    }
}

// The ranges that int8 needs, on the same numbers that it will be measured with.
static enum kb_code find_ranges(struct ranges **ret, const struct bench *b,
                                const struct bench_part *part, struct kb_error *err)
{
    CLEANUP(observer_free) struct observer *observer = observer_create();
    CLEANUP(lips_free) struct lips *lips = NULL;
    struct bench_part f32 = *part;
    f32.precision = PRECISION_F32;
    enum kb_code code = bench_load(&lips, b, &f32, NULL, observer, err);
    if (code != KB_OK)
        return code;
    fill_inputs(lips);
    code = lips_run(lips, err);
    if (code == KB_OK)
        *ret = observer_ranges(observer);
    return code;
}

#define NETWORK_US 600000 // thirty of them within 40 seconds

static enum kb_code run_network(const struct bench *b, const struct bench_part *part, double *ret,
                                struct kb_error *err)
{
    CLEANUP(lips_free) struct lips *lips = NULL;
    CLEANUP(ranges_free) struct ranges *ranges = NULL;
    enum kb_code code = KB_OK;
    if (part->precision == PRECISION_INT8)
        code = find_ranges(&ranges, b, part, err);
    if (code == KB_OK)
        code = bench_load(&lips, b, part, ranges, NULL, err);
    if (code != KB_OK)
        return code;
    fill_inputs(lips);
    code = lips_run(lips, err); // the first run touches all memory
    int64_t since = kb_now_us(), frames = 0;
    while (code == KB_OK && kb_now_us() - since < NETWORK_US) {
        code = cancel_check(cli_cancel(), err);
        if (code == KB_OK)
            code = lips_run(lips, err);
        frames += lips_batch(lips);
    }
    *ret = PER_S(frames, kb_now_us() - since);
    return code;
}

// --- stages ---

static enum kb_code open_clip(struct reader **ret, const struct bench *b, struct kb_error *err)
{
    CLEANUP(kb_freep) char *clip = bench_clip(b);
    struct reader_params rp = {.threads = kb_cpu_count(), .cancel = cli_cancel()};
    return reader_open(ret, clip, &rp, err);
}

static enum kb_code run_decode(const struct bench *b, const struct bench_part *part, double *ret,
                               struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *reader = NULL;
    enum kb_code code = open_clip(&reader, b, err);
    int64_t since = kb_now_us(), frames = 0;
    while (code == KB_OK && frames < 750) {
        CLEANUP(av_frame_free) AVFrame *frame = NULL;
        code = reader_next(reader, &frame, err);
        frames += code == KB_OK;
    }
    *ret = PER_S(frames, kb_now_us() - since);
    return code == KB_EOF ? KB_OK : code;
}

static enum kb_code run_mel(const struct bench *b, const struct bench_part *part, double *ret,
                            struct kb_error *err)
{
    CLEANUP(kb_freep) char *speech = bench_path(b, "speech.wav");
    CLEANUP(mel_free) struct mel *mel = NULL;
    const struct watch quiet = {.cancel = cli_cancel()};
    int64_t since = kb_now_us();
    enum kb_code code = mel_from_file(&mel, speech, false, &quiet, err);
    if (code == KB_OK)
        *ret = (double)mel_duration_us(mel) / (double)KB_MAX(kb_now_us() - since, 1);
    return code;
}

enum kb_code bench_track(struct track **ret, const char *film, int64_t limit_us, int64_t *ret_us,
                         struct kb_error *err)
{
    CLEANUP(face_models_free) struct face_models *models = NULL;
    enum kb_code code = face_models_load(&models, err);
    if (code != KB_OK)
        return code;
    struct track_params tp = {
        .limit_us = limit_us, .decoder_threads = kb_cpu_count(), .watch.cancel = cli_cancel()};
    int64_t since = kb_now_us();
    code = track_make(ret, film, models, &tp, err);
    *ret_us = kb_now_us() - since;
    return code;
}

static enum kb_code run_track(const struct bench *b, const struct bench_part *part, double *ret,
                              struct kb_error *err)
{
    CLEANUP(kb_freep) char *clip = bench_clip(b);
    CLEANUP(track_free) struct track *track = NULL;
    int64_t us;
    enum kb_code code = bench_track(&track, clip, 12000000, &us, err);
    if (code == KB_OK)
        *ret = PER_S(track_info(track)->n_frames, us);
    return code;
}

void bench_frames_free(struct bench_frames *f)
{
    while (f->n > 0)
        av_frame_free(&f->at[--f->n]);
}

enum kb_code bench_frames_read(struct bench_frames *f, struct reader *reader, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    while (code == KB_OK && f->n < (int)ARRAY_LEN(f->at)) {
        code = reader_next(reader, &f->at[f->n], err);
        f->n += code == KB_OK;
    }
    return code == KB_EOF && f->n > 0 ? KB_OK : code;
}

// Warp every frame's face out and paste its own mouth back, as the job does around the network.
static enum kb_code crop_and_paste(const struct bench_frames *frames, const struct cropper *c,
                                   int *ret_n, struct kb_error *err)
{
    struct paste_params pp = {.side = LIPS_SIDE, .feather = 0.10f, .dilate = 0.04f};
    CLEANUP(paster_free) struct paster *paster = paster_create(&pp);
    CLEANUP(kb_freep) float *target = kb_alloc(LIPS_FLOATS * sizeof(*target));
    CLEANUP(kb_freep) float *input = kb_alloc(2 * LIPS_FLOATS * sizeof(*input));
    for (int i = 0; i < frames->n; i++) {
        struct affine to_frame;
        float points[TRACK_N_POINTS][2];
        AVFrame *frame = frames->at[i];
        if (!crop_of(c, i, &to_frame) || !crop_points(c, i, &to_frame, points))
            continue;
        if (av_frame_make_writable(frame) < 0)
            return kb_no_memory(err);
        crop_take(frame, &to_frame, LIPS_SIDE, target);
        crop_interleave(target, LIPS_SIDE, input);
        paste(paster, frame, &to_frame, target, target, (const float(*)[2])points);
        ++*ret_n;
    }
    return KB_OK;
}

static enum kb_code run_crop_paste(const struct bench *b, const struct bench_part *part,
                                   double *ret, struct kb_error *err)
{
    CLEANUP(kb_freep) char *clip = bench_clip(b);
    CLEANUP(track_free) struct track *track = NULL;
    CLEANUP(reader_close) struct reader *reader = NULL;
    CLEANUP(bench_frames_free) struct bench_frames frames = {0};
    int64_t us;
    enum kb_code code = bench_track(&track, clip, 3000000, &us, err);
    if (code == KB_OK)
        code = open_clip(&reader, b, err);
    if (code == KB_OK)
        code = bench_frames_read(&frames, reader, err);
    if (code != KB_OK)
        return code;
    int face = track_choose(track, FACE_LARGEST, 0, err);
    if (face < 0)
        return KB_NOT_FOUND;
    frames.n = KB_MIN(frames.n, track_info(track)->n_frames);

    struct cropper c = {.track = track,
                        .face = face,
                        .scale_x = 1,
                        .scale_y = 1,
                        .frame_width = reader_info(reader)->width,
                        .frame_height = reader_info(reader)->height,
                        .pads = {0, 10, 0, 0},
                        .side = LIPS_SIDE};
    int n = 0;
    int64_t since = kb_now_us();
    for (int turn = 0; turn < 4 && code == KB_OK; turn++)
        code = crop_and_paste(&frames, &c, &n, err);
    *ret = PER_S(n, kb_now_us() - since);
    return code;
}

static enum kb_code run_encode(const struct bench *b, const struct bench_part *part, double *ret,
                               struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = bench_path(b, "encoded.mp4");
    CLEANUP(reader_close) struct reader *reader = NULL;
    CLEANUP(writer_close) struct writer *writer = NULL;
    CLEANUP(bench_frames_free) struct bench_frames frames = {0};
    enum kb_code code = open_clip(&reader, b, err);
    if (code == KB_OK)
        code = bench_frames_read(&frames, reader, err);
    if (code != KB_OK)
        return code;
    const struct reader_info *info = reader_info(reader);
    struct writer_params wp = {.width = info->width,
                               .height = info->height,
                               .frame_rate = info->frame_rate,
                               .range = info->range,
                               .crf = 18,
                               .threads = kb_cpu_count(),
                               .cancel = cli_cancel()};
    int64_t since = kb_now_us();
    code = writer_open(&writer, path, &wp, err);
    int n = 0;
    for (; n < 300 && code == KB_OK; n++) { // forwards and backwards: no cut in the picture
        int lap = n / frames.n, i = n % frames.n;
        AVFrame *frame = frames.at[lap % 2 ? frames.n - 1 - i : i];
        frame->pts = n * INT64_C(40000);
        FRAME_DURATION(frame) = 40000;
        code = writer_put(writer, frame, err);
    }
    if (code == KB_OK)
        code = writer_finish(writer, err);
    *ret = PER_S(n, kb_now_us() - since);
    return code;
}

// --- whole jobs: koubo generate, as a user starts it ---

struct whole_job {
    char *speech, *video, *cache, *model; // new strings; model NULL = the bundled one
};

static enum kb_code become_generate(const struct bench *b, const struct bench_part *part,
                                    struct whole_job job, struct kb_error *err)
{
    char *output = bench_path(b, "job.mp4"), *duration = kb_printf("%d", part->seconds);
    if (setenv("KOUBO_CACHE", job.cache, 1) != 0)
        return kb_no_memory(err);
    execl("/proc/self/exe", "koubo", "generate", "-q", "-y", "-a", job.speech, "-i", job.video,
          "-o", output, "--duration", duration, "--model", job.model ? job.model : MODEL_BUNDLED,
          (char *)NULL);
    return kb_fail(err, KB_INTERNAL, _("cannot start koubo again"));
}

static enum kb_code run_cached(const struct bench *b, const struct bench_part *part, double *ret,
                               struct kb_error *err)
{
    struct whole_job job = {.speech = bench_path(b, "speech.wav"),
                            .video = bench_clip(b),
                            .cache = bench_path(b, "cache"),
                            .model = part->wav2lip ? bench_path(b, "wav2lip.safetensors") : NULL};
    return become_generate(b, part, job, err);
}

static enum kb_code run_cold(const struct bench *b, const struct bench_part *part, double *ret,
                             struct kb_error *err)
{
    // A cache of its own for each run, the last under the name that run_cached() looks at.
    CLEANUP(kb_freep) char *cache = bench_path(b, "cache");
    CLEANUP(kb_freep) char *old = kb_printf("%s-%d", cache, (int)getpid());
    if (file_is_dir(cache) && rename(cache, old) != 0)
        return kb_fail(err, KB_INTERNAL, _("cannot rename '%s'"), cache);
    return run_cached(b, part, ret, err);
}

static enum kb_code run_full_hd(const struct bench *b, const struct bench_part *part, double *ret,
                                struct kb_error *err)
{
    struct whole_job job = {.speech = bench_path(b, "long_speech.wav"),
                            .video = kb_printf("%s/full_hd_%d.mp4", b->folder, part->seconds),
                            .cache = kb_printf("%s/cache-%d", b->folder, (int)getpid())};
    return become_generate(b, part, job, err);
}

// Twice as long as its video: also the way back, which holds decoded frames.
static enum kb_code run_pingpong(const struct bench *b, const struct bench_part *part, double *ret,
                                 struct kb_error *err)
{
    struct whole_job job = {.speech = bench_path(b, "speech.wav"),
                            .video = bench_path(b, "full_hd.mp4"),
                            .cache = kb_printf("%s/cache-%d", b->folder, (int)getpid())};
    return become_generate(b, part, job, err);
}

#define FULL_HD(key_, memory_, seconds_, repeat_)                                                  \
    {                                                                                              \
        key_, "s", run_full_hd, BENCH_WALL,                                                        \
            .memory_key = (memory_), .seconds = (seconds_), .repeat = (repeat_),                   \
            .needs = MATERIAL_FULL_HD | MATERIAL_LONG_FILMS | MATERIAL_LONG_SPEECH                 \
    }

// clang-format off
const struct bench_part bench_parts[] = {
    {"network.wav2lip.f32.fps", "fps", run_network, .precision = PRECISION_F32,
     .needs = MATERIAL_WAV2LIP},
    {"network.wav2lip.bf16.fps", "fps", run_network, .precision = PRECISION_BF16,
     .needs = MATERIAL_WAV2LIP},
    {"network.wav2lip.int8.fps", "fps", run_network, .precision = PRECISION_INT8,
     .needs = MATERIAL_WAV2LIP},
    {"rig.listener.x", "x", bench_listener, .needs = MATERIAL_SPEECH},
    {"rig.720p_ms", "ms", bench_rig, .needs = MATERIAL_SPEECH | MATERIAL_CLIP},
    {"rig.1080p_ms", "ms", bench_rig, .full_hd = true, .needs = MATERIAL_SPEECH | MATERIAL_FULL_HD},
    {"load.koubo-lips_s", "s", run_load_rig, .packed = false},
    {"load.wav2lip_s", "s", run_load, .needs = MATERIAL_WAV2LIP},
    {"load.wav2lip_packed_s", "s", run_load, .packed = true,
     .needs = MATERIAL_WAV2LIP | MATERIAL_PACKS},
    {"stage.mel.x", "x", run_mel, .needs = MATERIAL_SPEECH},
    {"stage.decode.fps", "fps", run_decode, .needs = MATERIAL_CLIP},
    {"stage.track.fps", "fps", run_track, .needs = MATERIAL_CLIP},
    {"stage.crop_paste.fps", "fps", run_crop_paste, .needs = MATERIAL_CLIP},
    {"stage.encode.fps", "fps", run_encode, .needs = MATERIAL_CLIP},
    {"finish.background.fps", "fps", bench_finish, .step = BENCH_COLOUR, .wall = true, .needs = MATERIAL_CLIP},
    {"finish.background_ms", "ms", bench_finish, .step = BENCH_COLOUR, .needs = MATERIAL_CLIP},
    {"finish.blur.fps", "fps", bench_finish, .step = BENCH_BLUR, .wall = true, .needs = MATERIAL_CLIP},
    {"finish.blur_ms", "ms", bench_finish, .step = BENCH_BLUR, .needs = MATERIAL_CLIP},
    {"finish.crop_ms", "ms", bench_finish, .step = BENCH_CROP, .needs = MATERIAL_CLIP},
    {"finish.logo_ms", "ms", bench_finish, .step = BENCH_LOGO, .needs = MATERIAL_CLIP},
    {"finish.captions_ms", "ms", bench_finish, .step = BENCH_CAPTIONS, .needs = MATERIAL_CLIP},
    {"finish.label_ms", "ms", bench_finish, .step = BENCH_LABEL, .needs = MATERIAL_CLIP},
    {"job.720p_60s.cold_s", "s", run_cold, BENCH_WALL, .seconds = 60,
     .memory_key = "memory.720p_mb", .needs = MATERIAL_CLIP | MATERIAL_SPEECH, .leaves = MATERIAL_TRACK},
    {"job.720p_60s.cached_s", "s", run_cached, BENCH_WALL, .seconds = 60,
     .needs = MATERIAL_CLIP | MATERIAL_SPEECH | MATERIAL_TRACK},
    {"job.720p_60s.wav2lip_s", "s", run_cold, BENCH_WALL, .seconds = 60, .wav2lip = true,
     .needs = MATERIAL_CLIP | MATERIAL_SPEECH | MATERIAL_WAV2LIP},
    {"job.1080p_pingpong_s", "s", run_pingpong, BENCH_WALL, .memory_key = "memory.peak_mb",
     .seconds = 40, .needs = MATERIAL_FULL_HD | MATERIAL_SPEECH},
    FULL_HD("job.1080p_1min_s", "memory.1min_mb", 60, 0),
    FULL_HD("job.1080p_5min_s", "memory.5min_mb", 300, 1),
    FULL_HD("job.1080p_10min_s", "memory.10min_mb", 600, 1),
};
// clang-format on
const size_t bench_n_parts = ARRAY_LEN(bench_parts);
