// koubo eval: how well lips follow, how sharp and how steady they are, as figures.
#include "cli/options.h"
#include "cli/screen.h"

#include "lab/eval.h"

#include <jansson.h>
#include <math.h>

enum { OPT_TRUTH = 600, OPT_SYNC, OPT_JSON };

struct eval_options {
    struct common_options common;
    const char *truth, *sync, *test;
    int threads;
    bool json;
};

static const struct argp_option eval_options[] = {
    {"truth", OPT_TRUTH, "FILE", 0, N_("the video in which the person really says it"), 10},
    {"sync", OPT_SYNC, "FILE", 0,
     N_("instead: tell how far the sound of this video is off from its lips; no true one is "
        "needed"),
     10},
    {"json", OPT_JSON, NULL, 0, N_("print one JSON object"), 10},
    {0},
};

static error_t eval_parse(int key, char *arg, struct argp_state *state)
{
    struct eval_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->threads;
        state->child_inputs[1] = &o->common;
        return 0;
    case OPT_TRUTH:
        o->truth = arg;
        return 0;
    case OPT_SYNC:
        o->sync = arg;
        return 0;
    case OPT_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->test)
            argp_error(state, _("'%s' is one argument too many; name one video"), arg);
        o->test = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->sync && (o->truth || o->test))
            argp_error(state, "%s",
                       _("--sync looks at one video alone; leave --truth and other videos out"));
        if (o->sync)
            return 0;
        if (!o->truth)
            argp_error(state, "%s", _("no true video: give it with --truth FILE"));
        if (!o->test)
            argp_error(state, "%s", _("no video: name the one to measure after the options"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child eval_children[] = {
    {&threads_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {0},
};

static const struct argp eval_argp = {
    eval_options,
    eval_parse,
    "--truth TRUE.mp4 OUT.mp4\n--sync FILE.mp4",
    N_("Measure how well the lips of a video follow those of the true video, how sharp they are "
       "and "
       "how steady the face: both are looked at with FaceMesh, frame by frame."),
    eval_children,
    NULL,
    "koubo",
};

// JSON has no infinity and no NaN.
static json_t *real_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static void set_real(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, real_or_null(value));
}

static void print_json(const struct eval_result *r)
{
    json_auto_t *object = json_object();
    set_real(object, "aperture_correlation", r->aperture_correlation);
    json_object_set_new(object, "lag_frames", json_integer(r->lag_frames));
    set_real(object, "aperture_correlation_lag_0", r->aperture_correlation_lag_0);
    set_real(object, "amplitude_ratio", r->amplitude_ratio);
    set_real(object, "width_correlation", r->width_correlation);
    json_object_set_new(object, "width_lag_frames", json_integer(r->width_lag_frames));
    set_real(object, "width_correlation_lag_0", r->width_correlation_lag_0);
    set_real(object, "closure_precision", r->closure_precision);
    set_real(object, "closure_recall", r->closure_recall);
    set_real(object, "closure_f1", r->closure_f1);
    set_real(object, "lip_landmark_distance", r->lip_landmark_distance);
    set_real(object, "lip_sharpness", r->lip_sharpness);
    set_real(object, "motion_smoothness", r->motion_smoothness);
    set_real(object, "psnr_outside_mask", r->psnr_outside_mask);
    set_real(object, "jitter_ratio", r->jitter_ratio);
    set_real(object, "still_jitter", r->still_jitter);
    json_object_set_new(object, "frames", json_integer(r->frames));
    json_dumpf(object, stdout, JSON_REAL_PRECISION(6));
    putchar('\n');
}

static void print_row(const char *title, const char *value, const char *meaning)
{
    screen_print_padded(stdout, title, 30);
    screen_print_padded(stdout, value, 12);
    printf("%s\n", meaning);
}

// Whether the mouth is where it should be when it should.
static void print_timing(const struct eval_result *r)
{
    char text[64];
    snprintf(text, sizeof(text), "%.3f", r->aperture_correlation);
    print_row(_("aperture correlation"), text, _("1 = the mouth opens exactly as in truth"));
    snprintf(text, sizeof(text), "%+d", r->lag_frames);
    print_row(_("lag in frames"), text, _("more than 0 = late"));
    snprintf(text, sizeof(text), "%.3f", r->aperture_correlation_lag_0);
    print_row(_("... without a lag"), text, _("the same correlation, every frame at its own time"));
    snprintf(text, sizeof(text), "%.2f", r->amplitude_ratio);
    print_row(_("amplitude ratio"), text, _("1 = the mouth opens as wide as in truth"));
    snprintf(text, sizeof(text), "%.3f", r->width_correlation);
    print_row(_("width correlation"), text, _("1 = the corners of the mouth move as in truth"));
    snprintf(text, sizeof(text), "%.3f", r->width_correlation_lag_0);
    print_row(_("... without a lag"), text, _("the same correlation, every frame at its own time"));
    snprintf(text, sizeof(text), "%.2f", r->closure_f1);
    print_row(_("closures found, F1"), text, _("1 = the mouth closes where it does in truth"));
    snprintf(text, sizeof(text), "%.2f", r->closure_precision);
    print_row(_("... precision"), text, _("of its closures, the part that truth has too"));
    snprintf(text, sizeof(text), "%.2f", r->closure_recall);
    print_row(_("... recall"), text, _("of the true closures, the part that it has too"));
}

static void print_text(const struct eval_result *r)
{
    char text[64];
    print_timing(r);
    snprintf(text, sizeof(text), "%.4f", r->lip_landmark_distance);
    print_row(_("lip landmark distance"), text, _("in widths of the face"));
    snprintf(text, sizeof(text), "%.2f", r->lip_sharpness);
    print_row(_("lip sharpness"), text, _("1 = the mouth is as sharp as in truth"));
    snprintf(text, sizeof(text), "%.2f", r->motion_smoothness);
    print_row(_("motion smoothness"), text, _("1 = as the true mouth moves; more = it jerks"));
    snprintf(text, sizeof(text), "%.1f dB", r->psnr_outside_mask);
    print_row(_("PSNR outside the mask"), text, _("over 40 dB nobody sees a difference"));
    snprintf(text, sizeof(text), "%.2f", r->jitter_ratio);
    print_row(_("jitter ratio"), text, _("1 = lips as steady as in truth"));
    snprintf(text, sizeof(text), "%.2f", r->still_jitter);
    print_row(_("still jitter"), text, _("1 = eyes, brows and nose as steady as in truth"));
    snprintf(text, sizeof(text), "%lld", (long long)r->frames);
    print_row(_("frames compared"), text, _("both videos show the face"));
}

// --- how far the sound is off

static json_t *fit_json(const struct sync_fit *fit)
{
    json_t *object = json_object();
    set_real(object, "offset_ms", fit->offset_ms);
    set_real(object, "sureness", fit->sureness);
    set_real(object, "agreement", fit->agreement);
    return object;
}

static void print_sync_json(const struct eval_sync *e)
{
    json_auto_t *object = fit_json(&e->sync.film);
    set_real(object, "offset_frames", e->sync.film.offset_ms / e->frame_ms);
    set_real(object, "judged_s", (double)e->sync.judged_us / 1e6);
    json_object_set_new(object, "face", json_integer(e->face + 1));
    json_t *windows = json_array();
    for (int i = 0; i < e->sync.n_windows; i++) {
        const struct sync_window *w = &e->sync.windows[i];
        json_t *window = fit_json(&w->fit);
        set_real(window, "begin_s", (double)w->begin_us / 1e6);
        set_real(window, "end_s", (double)w->end_us / 1e6);
        json_array_append_new(windows, window);
    }
    json_object_set_new(object, "windows", windows);
    json_dumpf(object, stdout, JSON_REAL_PRECISION(6));
    putchar('\n');
}

// A frame; people notice a sound that is 45 ms early or 125 ms late (ITU-R BT.1359).
#define IN_TIME_MS 40.0
#define UNSURE     0.5

static void print_sync_text(const struct eval_sync *e)
{
    const struct sync_fit *fit = &e->sync.film;
    double ms = fabs(fit->offset_ms), frames = ms / e->frame_ms;
    if (fit->sureness < UNSURE)
        printf(_("Whether this sound belongs to these lips cannot be told: it fits best %+.0f ms "
                 "(%+.1f frames) off, with a sureness of only %.2f."),
               fit->offset_ms, fit->offset_ms / e->frame_ms, fit->sureness);
    else if (ms < IN_TIME_MS)
        printf(_("The sound is in time with the lips (%+.0f ms, %+.1f frames), with a sureness of "
                 "%.2f."),
               fit->offset_ms, fit->offset_ms / e->frame_ms, fit->sureness);
    else if (fit->offset_ms > 0)
        printf(_("The sound is %.0f ms (%.1f frames) late for the lips, with a sureness of %.2f."),
               ms, frames, fit->sureness);
    else
        printf(_("The sound is %.0f ms (%.1f frames) early for the lips, with a sureness of %.2f."),
               ms, frames, fit->sureness);
    putchar('\n');
}

static enum kb_code run_sync(const struct eval_options *o, struct face_models *models,
                             const struct eval_params *params, struct progress_view **view,
                             struct kb_error *err)
{
    struct eval_sync result = {.face = 0};
    enum kb_code code = eval_sync_run(&result, o->sync, NULL, models, params, err);
    if (code != KB_OK)
        return code;
    progress_done(view);
    if (o->json)
        print_sync_json(&result);
    else
        print_sync_text(&result);
    sync_result_clear(&result.sync);
    return KB_OK;
}

static enum kb_code run_truth(const struct eval_options *o, struct face_models *models,
                              const struct eval_params *params, struct progress_view **view,
                              struct kb_error *err)
{
    struct eval_result result = {0};
    enum kb_code code = eval_run(&result, o->truth, o->test, models, params, err);
    if (code != KB_OK)
        return code;
    progress_done(view);
    if (o->json)
        print_json(&result);
    else
        print_text(&result);
    return KB_OK;
}

int cmd_eval(int argc, char **argv)
{
    struct eval_options o = {0};
    options_parse(&eval_argp, argc, argv, &o);
    struct kb_error err = {0};
    CLEANUP(face_models_free) struct face_models *models = NULL;
    enum kb_code code = face_models_load(&models, &err);
    if (code != KB_OK)
        return cli_report(code, &err);

    // One object on the standard output is what --json promises.
    enum progress_mode mode =
        o.json && o.common.progress == PROGRESS_JSON ? PROGRESS_NONE : o.common.progress;
    struct progress_view *view = progress_start(mode, NULL);
    struct eval_params params = {.threads = o.threads,
                                 .watch = {cli_cancel(), progress_update, view}};
    code = o.sync ? run_sync(&o, models, &params, &view, &err)
                  : run_truth(&o, models, &params, &view, &err);
    if (code != KB_OK) {
        progress_stop(&view);
        return cli_report(code, &err);
    }
    return EXIT_OK;
}
