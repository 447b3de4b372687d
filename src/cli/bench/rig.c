// The measurements of what makes a mouth where no network paints it: the listener and the rig.
#include "cli/bench/bench.h"

#include "cli/cli.h"
#include "lipsync/plan.h"

#include <time.h>

// All that a frame's drawing needs.
struct ground {
    struct mel *mel;
    struct motion_model *model;
    struct motion *motion;
    struct follow *follow;
    struct track *track;
    struct reader *reader;
    struct cast *cast;
    struct rig *rig; // of the one who leads
    struct plan_part parts[TRACK_MAX_FACES];
    struct plan *plan;
};

static void ground_clear(struct ground *g)
{
    plan_free(&g->plan);
    rig_free(&g->rig);
    cast_free(&g->cast);
    reader_close(&g->reader);
    track_free(&g->track);
    follow_free(&g->follow);
    motion_free(&g->motion);
    motion_model_free(&g->model);
    mel_free(&g->mel);
}

static enum kb_code hear(struct ground *g, const struct bench *b, int64_t *ret_us,
                         struct kb_error *err)
{
    CLEANUP(kb_freep) char *speech = bench_path(b, "speech.wav");
    const struct watch quiet = {.cancel = cli_cancel()};
    enum kb_code code = mel_from_file(&g->mel, speech, false, &quiet, err);
    if (code == KB_OK)
        code = motion_model_load(&g->model, NULL, kb_cpu_count(), err);
    int64_t since = kb_now_us();
    if (code == KB_OK)
        code = motion_run(&g->motion, g->model, g->mel, &quiet, err);
    *ret_us = kb_now_us() - since;
    return code;
}

enum kb_code bench_listener(const struct bench *b, const struct bench_part *part, double *ret,
                            struct kb_error *err)
{
    CLEANUP(ground_clear) struct ground g = {0};
    int64_t us;
    enum kb_code code = hear(&g, b, &us, err);
    if (code == KB_OK)
        *ret = (double)mel_duration_us(g.mel) / (double)KB_MAX(us, 1);
    return code;
}

static enum kb_code rig_up(struct ground *g, const char *film, struct kb_error *err)
{
    int64_t us;
    struct reader_params rp = {.threads = kb_cpu_count(), .cancel = cli_cancel()};
    enum kb_code code = follow_load(&g->follow, err);
    if (code == KB_OK)
        code = bench_track(&g->track, film, 3000000, &us, err);
    if (code == KB_OK)
        code = reader_open(&g->reader, film, &rp, err);
    if (code != KB_OK)
        return code;
    code = cast_make(&g->cast, g->track, &(struct cast_params){.choice = FACE_LARGEST}, err);
    if (code == KB_OK && cast_count(g->cast) == 0)
        code = kb_fail(err, KB_BAD_INPUT, _("no face was found in '%s'"), film);
    if (code != KB_OK)
        return code;
    int lead = cast_lead(g->cast), face = cast_face(g->cast, lead);
    struct rig_params params = {.track = g->track, .face = face, .follow = g->follow};
    code = rig_create(&g->rig, &params, err);
    if (code != KB_OK)
        return code;
    const struct person *person = rig_person(g->rig);
    g->parts[lead] = (struct plan_part){.rig = g->rig,
                                        .motion = g->motion,
                                        .own_low = person->speaks ? person->aperture_low : 0,
                                        .own_high = person->speaks ? person->aperture_high : 0};
    struct plan_params pp = {
        .track = g->track,
        .cast = g->cast,
        .parts = g->parts,
        .source = {.reader = g->reader, .track = g->track, .length_us = mel_duration_us(g->mel)},
        .speech_us = mel_duration_us(g->mel),
        .amount = 1,
        .scale_x = 1,
        .scale_y = 1};
    return plan_create(&g->plan, &pp, err);
}

// Processor time: one thread draws, and what else the machine does is not its work.
static double thread_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

// The same frames again and again; what is drawn does not change what drawing costs.
static enum kb_code draw_all(const struct ground *g, const struct bench_frames *frames, int *ret_n,
                             struct kb_error *err)
{
    CLEANUP(canvas_free) struct canvas *canvas = canvas_create();
    for (int i = 0; i < frames->n; i++) {
        struct shown_frame shown = {
            .frame = frames->at[i], .track_frame = i, .pts_us = track_pts_us(g->track, i)};
        const struct rig *rig;
        struct rig_frame f;
        if (av_frame_make_writable(shown.frame) < 0)
            return kb_no_memory(err);
        if (plan_frame(g->plan, i, &shown, &f, &rig))
            *ret_n += rig_draw(rig, canvas, shown.frame, &f);
    }
    return KB_OK;
}

enum kb_code bench_rig(const struct bench *b, const struct bench_part *part, double *ret,
                       struct kb_error *err)
{
    CLEANUP(kb_freep) char *film = part->full_hd ? bench_path(b, "full_hd.mp4") : bench_clip(b);
    CLEANUP(ground_clear) struct ground g = {0};
    CLEANUP(bench_frames_free) struct bench_frames frames = {0};
    int64_t us;
    enum kb_code code = hear(&g, b, &us, err);
    if (code == KB_OK)
        code = rig_up(&g, film, err);
    if (code == KB_OK)
        code = bench_frames_read(&frames, g.reader, err);
    if (code != KB_OK)
        return code;
    frames.n = KB_MIN(frames.n, track_info(g.track)->n_frames);
    int n = 0;
    double since = thread_ms();
    for (int turn = 0; turn < 4 && code == KB_OK; turn++)
        code = draw_all(&g, &frames, &n, err);
    *ret = (thread_ms() - since) / KB_MAX(n, 1);
    return code == KB_OK && n == 0
               ? kb_fail(err, KB_BAD_INPUT, _("no frame of '%s' has a mouth to move"), film)
               : code;
}
