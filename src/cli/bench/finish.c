// The measurements of what is drawn after the mouth: background, shape, logo, subtitles, label.
#include "cli/bench/bench.h"

#include "cli/cli.h"
#include "finish/finish.h"
#include "media/extras.h"

#include <time.h>

#define FRAME_US 40000
#define TURNS    3

#define N_CUES (BENCH_FRAMES * TURNS * FRAME_US / 2000000 + 1)

static char words[] = "今天我们来讲一讲怎样做一条口播视频，先写稿再配音。";

// All that a step is given.
struct table {
    struct track *track;
    struct cast *cast;
    struct reader *reader;
    struct subtitle cues[N_CUES];
    struct subtitle_track track_of_cues;
    struct captions_params want; // borrowed by captions
    struct captions *captions;
    struct finisher *finisher;
};

static void table_clear(struct table *t)
{
    finisher_close(&t->finisher);
    captions_free(&t->captions);
    reader_close(&t->reader);
    cast_free(&t->cast);
    track_free(&t->track);
}

// A subtitle for every two seconds, as people have them.
static enum kb_code load_captions(struct table *t, struct captions_params *ret,
                                  struct kb_error *err)
{
    for (int i = 0; i < N_CUES; i++) {
        int64_t start_us = (int64_t)i * 2000000;
        t->cues[i] = (struct subtitle){start_us, start_us + 1960000, words};
    }
    t->track_of_cues = (struct subtitle_track){.n = N_CUES, .at = t->cues};
    t->want = (struct captions_params){.as = CAPTIONS_BURN, .cues = &t->track_of_cues};
    enum kb_code code = captions_load(&t->captions, &t->want, NULL, err);
    *ret = t->want;
    ret->loaded = t->captions;
    return code;
}

static enum kb_code open_finisher(struct table *t, const struct bench_part *part, const char *film,
                                  struct kb_error *err)
{
    const struct reader_info *info = reader_info(t->reader);
    struct finish_params p = {0};
    struct finish_picture picture = {.width = info->width,
                                     .height = info->height,
                                     .frame_rate = info->frame_rate,
                                     .sample_aspect = info->sample_aspect,
                                     .range = info->range,
                                     .space = info->space};
    const int64_t length_us = BENCH_FRAMES * TURNS * FRAME_US;
    const struct finish_source source = {.track = t->track,
                                         .cast = t->cast,
                                         .length_us = length_us,
                                         .output_us = length_us,
                                         .threads = kb_cpu_count(),
                                         .cancel = cli_cancel()};
    enum kb_code code = KB_OK;
    switch (part->step) {
    case BENCH_COLOUR:
        p.background = (struct background_params){
            .kind = BACKGROUND_COLOUR, .rgb = {255, 255, 255}, .key = KEY_PERSON};
        break;
    case BENCH_BLUR:
        p.background = (struct background_params){.kind = BACKGROUND_BLUR, .key = KEY_PERSON};
        break;
    case BENCH_CROP:
        p.reframe = (struct reframe_params){.width = 9, .height = 16};
        break;
    case BENCH_LOGO:
        p.logo.path = film; // its first picture
        break;
    case BENCH_CAPTIONS:
        code = load_captions(t, &p.captions, err);
        break;
    case BENCH_LABEL:
        p.label.show = LABEL_CORNER;
        break;
    }
    return code == KB_OK ? finisher_open(&t->finisher, &p, &source, &picture, err) : code;
}

static double process_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

// What it took so far.
struct spent {
    int n;
    int64_t us;
    double ms; // of processors
};

// The frames to and fro, so that nothing jumps. A copy of each is made before the clock runs: in a
// job they come from who drew the mouth and can be drawn into.
static enum kb_code put_all(const struct table *t, const struct bench_frames *frames, int turn,
                            struct spent *spent, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < frames->n; i++) {
        int at = turn % 2 ? frames->n - 1 - i : i;
        CLEANUP(av_frame_free) AVFrame *frame = av_frame_clone(frames->at[at]);
        const struct finish_moment moment = {.part = PART_DUB,
                                             .pts_us = (int64_t)spent->n * FRAME_US,
                                             .output_us = (int64_t)spent->n * FRAME_US,
                                             .duration_us = FRAME_US,
                                             .track_frame = at};
        if (!frame || av_frame_make_writable(frame) < 0)
            return kb_no_memory(err);
        double since_ms = process_ms();
        int64_t since_us = kb_now_us();
        code = finisher_put(t->finisher, &frame, &moment, err);
        spent->us += kb_now_us() - since_us;
        spent->ms += process_ms() - since_ms;
        spent->n++;
        code = code == KB_OK ? cancel_check(cli_cancel(), err) : code;
    }
    return code;
}

enum kb_code bench_finish(const struct bench *b, const struct bench_part *part, double *ret,
                          struct kb_error *err)
{
    CLEANUP(kb_freep) char *film = bench_clip(b);
    CLEANUP(table_clear) struct table t = {0};
    CLEANUP(bench_frames_free) struct bench_frames frames = {0};
    const struct cast_params choice = {.choice = FACE_LARGEST};
    const struct reader_params rp = {.threads = kb_cpu_count(), .cancel = cli_cancel()};
    int64_t us;
    enum kb_code code = bench_track(&t.track, film, BENCH_FRAMES * FRAME_US, &us, err);
    if (code == KB_OK)
        code = cast_make(&t.cast, t.track, &choice, err);
    if (code == KB_OK)
        code = reader_open(&t.reader, film, &rp, err);
    if (code == KB_OK)
        code = bench_frames_read(&frames, t.reader, err);
    if (code == KB_OK)
        code = open_finisher(&t, part, film, err);
    if (code != KB_OK)
        return code;
    frames.n = KB_MIN(frames.n, track_info(t.track)->n_frames);
    struct spent before = {0};
    code = put_all(&t, &frames, 0, &before, err); // networks compile, memory is touched
    struct spent spent = before;
    for (int turn = 1; turn < TURNS && code == KB_OK; turn++)
        code = put_all(&t, &frames, turn, &spent, err);
    int n = KB_MAX(spent.n - before.n, 1);
    *ret = part->wall ? (double)n * 1e6 / (double)KB_MAX(spent.us - before.us, 1)
                      : (spent.ms - before.ms) / n;
    return code;
}
