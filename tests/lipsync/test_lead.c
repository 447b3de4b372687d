// A network that paints leads the rig: what it painted is read for the lips' shape, and the film's
// own pixels move.
#include "tests/test.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "face/track.h"
#include "lipsync/dub.h"
#include "lipsync/lead.h"
#include "media/reader.h"
#include "nn/import/import.h"

#define CLIP       "grid_lbax4n.mpg"
#define FRAMES     60
#define JOB_FRAMES 15 // of the whole jobs

// The film: its frames, its track, the person in it.
static struct face_models *faces;
static struct track *track;
static struct person person;
static AVFrame *frames[FRAMES];
static char folder[] = "/tmp/koubo-lead-XXXXXX";

static int load(void **state)
{
    struct kb_error err = {0};
    CLEANUP(reader_close) struct reader *reader = NULL;
    struct track_params tp = {.decoder_threads = 2};
    if (!mkdtemp(folder))
        return -1;
    assert_ok(err, face_models_load(&faces, &err));
    assert_ok(err, track_make(&track, clip_path(CLIP), faces, &tp, &err));
    assert_ok(err, person_fit(&person, track, 0, NULL, &err));
    assert_ok(err, reader_open(&reader, clip_path(CLIP), NULL, &err));
    for (int i = 0; i < FRAMES; i++)
        assert_ok(err, reader_next(reader, &frames[i], &err));
    return 0;
}

static int unload(void **state)
{
    face_models_free(&faces);
    track_free(&track);
    for (int i = 0; i < FRAMES; i++)
        av_frame_free(&frames[i]);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        CLEANUP(kb_freep) char *path = path_join(folder, e->d_name);
        unlink(path);
    }
    closedir(d);
    return rmdir(folder);
}

// --- one picture ---

// How far a person's closed mouth has opened with these displacements.
static float opening(const float delta[MOTION_POINTS][2])
{
    float sum = 0;
    for (int i = 1; i < 10; i++)
        sum += delta[TRACK_N_LIPS + 20 - i][1] - delta[TRACK_N_LIPS + i][1];
    return sum / 9;
}

// The same from the track, of the frame as it was filmed.
static float opening_filmed(int frame)
{
    struct posed posed;
    assert_true(person_at(&person, track, 0, frame, &posed));
    return lips_aperture((const float(*)[3])posed.canonical) -
           lips_aperture((const float(*)[3])person.neutral);
}

static bool read_picture(const AVFrame *picture, int frame, float scale, float *ret)
{
    struct kb_error err = {0};
    struct track_face seen;
    float delta[MOTION_POINTS][2];
    bool found = false;
    track_face(track, 0, frame, &seen);
    assert_ok(err, lead_read(faces, &person, picture, &seen, scale, scale, delta, &found, &err));
    *ret = found ? opening((const float(*)[2])delta) : 0;
    return found;
}

static void find_extremes(int *ret_closed, int *ret_open)
{
    *ret_closed = *ret_open = 0;
    for (int i = 1; i < FRAMES; i++) {
        if (opening_filmed(i) < opening_filmed(*ret_closed))
            *ret_closed = i;
        if (opening_filmed(i) > opening_filmed(*ret_open))
            *ret_open = i;
    }
}

static void test_reads_what_the_track_saw(void **state)
{
    double square = 0;
    for (int i = 0; i < FRAMES; i++) {
        float got;
        assert_true(read_picture(frames[i], i, 1, &got));
        double d = (double)(got - opening_filmed(i));
        square += d * d / FRAMES;
    }
    int closed, open;
    find_extremes(&closed, &open);
    double range = (double)(opening_filmed(open) - opening_filmed(closed));
    if (!(sqrt(square) < 0.15 * range))
        fail_msg("off by %.4f of a range of %.4f", sqrt(square), range);
}

// A picture of frame `onto` in which a perfect network of 96 pixels painted the mouth of `from`.
static AVFrame *paint_mouth(int from, int onto)
{
    const struct cropper c = {.track = track,
                              .scale_x = 1,
                              .scale_y = 1,
                              .frame_width = frames[0]->width,
                              .frame_height = frames[0]->height,
                              .pads = {0, 10, 0, 0},
                              .side = LIPS_SIDE};
    const struct paste_params pp = {.side = LIPS_SIDE, .feather = 0.10f, .dilate = 0.04f};
    CLEANUP(paster_free) struct paster *paster = paster_create(&pp);
    CLEANUP(kb_freep) float *target = kb_alloc(LIPS_FLOATS * sizeof(float));
    CLEANUP(kb_freep) float *output = kb_alloc(LIPS_FLOATS * sizeof(float));
    float points[TRACK_N_POINTS][2];
    struct affine there, here;
    assert_true(crop_of(&c, from, &there) && crop_of(&c, onto, &here));
    assert_true(crop_points(&c, onto, &here, points));
    crop_take(frames[from], &there, LIPS_SIDE, output);
    crop_take(frames[onto], &here, LIPS_SIDE, target);
    AVFrame *picture = av_frame_clone(frames[onto]);
    assert_int_equal(av_frame_make_writable(picture), 0);
    paste(paster, picture, &here, target, output, (const float(*)[2])points);
    return picture;
}

static void test_reads_a_painted_mouth(void **state)
{
    int closed, open;
    find_extremes(&closed, &open);
    for (int i = 0; i < 2; i++) {
        int from = i ? closed : open, onto = i ? open : closed;
        CLEANUP(av_frame_free) AVFrame *picture = paint_mouth(from, onto);
        float got, wanted = opening_filmed(from), before = opening_filmed(onto);
        assert_true(read_picture(picture, onto, 1, &got));
        float way = (got - before) / (wanted - before);
        if (!(way > 0.6f && way < 1.3f))
            fail_msg("mouth of frame %d (%.4f) painted onto frame %d (%.4f) is read as %.4f", from,
                     (double)wanted, onto, (double)before, (double)got);
    }
}

static void test_no_face_no_lips(void **state)
{
    CLEANUP(av_frame_free) AVFrame *grey = av_frame_clone(frames[0]);
    assert_int_equal(av_frame_make_writable(grey), 0);
    for (int k = 0; k < 3; k++)
        for (int y = 0; y < grey->height >> (k > 0); y++)
            memset(grey->data[k] + y * grey->linesize[k], 128, (size_t)(grey->width >> (k > 0)));
    float got;
    assert_false(read_picture(grey, 0, 1, &got));
}

// --- a whole job ---

struct onlooker {
    struct cancel cancel;
    int64_t done[N_STAGES], total, cancel_at;
    enum stage last;
    bool backwards;
};

static void look_on(void *opaque, const struct progress *p)
{
    struct onlooker *w = opaque;
    w->backwards |= p->stage < w->last || p->done < w->done[p->stage];
    w->last = p->stage;
    w->done[p->stage] = p->done;
    if (p->stage == STAGE_GENERATING) {
        w->total = p->total;
        if (w->cancel_at > 0 && p->done >= w->cancel_at)
            cancel_request(&w->cancel);
    }
}

static struct dub_params job_to(const char *output, struct onlooker *w)
{
    struct dub_params p = dub_defaults();
    p.audio = clip_path("grid_brbk7n.mpg");
    p.video = clip_path("square_512.mp4");
    p.output = output;
    p.threads = 2;
    p.crf = 1;
    p.preset = "ultrafast";
    p.track_folder = folder;
    p.duration_us = (int64_t)JOB_FRAMES * 40000;
    p.lead = true;
    p.watch = (struct watch){&w->cancel, look_on, w};
    return p;
}

static void load_random_wav2lip(struct engine *ret)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *path = path_join(folder, "wav2lip.safetensors");
    CLEANUP(tensor_set_free) struct tensor_set *set = wav2lip_random(3);
    assert_ok(err, safetensors_write(path, set, &err));
    struct engine_params ep = {.model = path, .batch = 4, .threads = 2};
    assert_ok(err, engine_load(ret, &ep, &err));
}

// What two frames differ by, and how rough each is, over a box.
struct comparison {
    double difference, rough[2], n;
};

static void compare(struct comparison *c, const AVFrame *a, const AVFrame *b, const float box[4])
{
    for (int y = (int)box[1]; y < (int)box[3]; y++)
        for (int x = (int)box[0]; x < (int)box[2]; x++) {
            const uint8_t *p[2] = {a->data[0] + y * a->linesize[0] + x,
                                   b->data[0] + y * b->linesize[0] + x};
            ptrdiff_t down[2] = {a->linesize[0], b->linesize[0]};
            for (int k = 0; k < 2; k++)
                c->rough[k] +=
                    abs(4 * p[k][0] - p[k][1] - p[k][-1] - p[k][down[k]] - p[k][-down[k]]);
            c->difference += abs(p[0][0] - p[1][0]);
            c->n++;
        }
}

// The film, and what was made of it: the top of the picture, the chin below the lips, and the lips.
static void compare_films(const char *made, struct comparison *far, struct comparison *chin,
                          struct comparison *lips)
{
    struct kb_error err = {0};
    const char *film = clip_path("square_512.mp4");
    struct track_params tp = {.limit_us = (JOB_FRAMES - 2) * 40000};
    CLEANUP(track_free) struct track *t = NULL;
    CLEANUP(reader_close) struct reader *in = NULL, *out = NULL;
    assert_ok(err, track_obtain(&t, film, folder, faces, &tp, NULL, &err));
    assert_ok(err, reader_open(&in, film, NULL, &err));
    assert_ok(err, reader_open(&out, made, NULL, &err));
    for (int i = 0; i < JOB_FRAMES; i++) {
        CLEANUP(av_frame_free) AVFrame *a = NULL, *b = NULL;
        struct track_face f;
        assert_ok(err, reader_next(in, &a, &err));
        assert_ok(err, reader_next(out, &b, &err));
        track_face(t, 0, i, &f);
        const float *corner = f.points[TRACK_OUTER_FIRST];
        const float *other = f.points[TRACK_OUTER_FIRST + 10];
        const float *below = f.points[TRACK_OUTER_FIRST + 15], *tip = f.points[track_point_of(152)];
        float x0 = fminf(corner[0], other[0]), x1 = fmaxf(corner[0], other[0]);
        float reach = (x1 - x0) / 2, middle = (corner[1] + other[1]) / 2;
        const float boxes[3][4] = {
            {4, 4, (float)a->width - 4, (f.box[1] + f.box[3]) / 2 - 20},
            {x0, (below[1] + tip[1]) / 2, x1, tip[1]},
            {x0, middle - reach, x1, middle + reach},
        };
        compare(far, a, b, boxes[0]);
        compare(chin, a, b, boxes[1]);
        compare(lips, a, b, boxes[2]);
    }
}

static void test_the_films_own_pixels_move(void **state)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *led = path_join(folder, "led.mp4");
    CLEANUP(kb_freep) char *painted = path_join(folder, "painted.mp4");
    CLEANUP(engine_free) struct engine engine = {0};
    load_random_wav2lip(&engine);
    struct comparison far[2] = {{0}}, chin[2] = {{0}}, lips[2] = {{0}};
    for (int i = 0; i < 2; i++) {
        struct onlooker w = {0};
        struct dub_params p = job_to(i ? painted : led, &w);
        struct dub_result r;
        p.lead = i == 0;
        assert_ok(err, dub_run(&engine, &p, &r, &err));
        assert_int_equal(r.frames, JOB_FRAMES);
        assert_int_equal(r.frames_animated, JOB_FRAMES);
        // Twice through the film where it is led, and never back.
        assert_false(w.backwards);
        assert_int_equal(w.done[STAGE_GENERATING], i == 0 ? 2 * JOB_FRAMES : JOB_FRAMES);
        assert_int_equal(w.total, i == 0 ? 2 * JOB_FRAMES : JOB_FRAMES);
        compare_films(p.output, &far[i], &chin[i], &lips[i]);
    }
    // Off the face nothing but what the encoder loses.
    assert_true(far[0].difference / far[0].n < 1);
    assert_true(lips[0].difference / lips[0].n > 2 * far[0].difference / far[0].n);
    // Skin is as rough as it was; weights drawn by lot paint something else over it.
    double kept = chin[0].rough[1] / chin[0].rough[0], lost = chin[1].rough[1] / chin[1].rough[0];
    if (!(kept > 0.8 && kept < 1.2))
        fail_msg("the chin has %.2f of its roughness where the rig moved it", kept);
    if (!(fabs(log(lost)) > 2 * fabs(log(kept))))
        fail_msg("the chin has %.2f of its roughness painted, %.2f moved", lost, kept);
}

static void test_cancel_in_either_pass(void **state)
{
    enum { N_FRAMES = 40 }; // more than are on their way between the threads
    CLEANUP(kb_freep) char *out = path_join(folder, "out.mp4");
    CLEANUP(engine_free) struct engine engine = {0};
    load_random_wav2lip(&engine);
    for (int i = 0; i < 2; i++) {
        struct kb_error err = {0};
        struct onlooker w = {.cancel_at = i ? N_FRAMES + 3 : 3};
        struct dub_params p = job_to(out, &w);
        p.duration_us = (int64_t)N_FRAMES * 40000;
        struct dub_result r;
        assert_int_equal(dub_run(&engine, &p, &r, &err), KB_CANCELLED);
        assert_true(w.done[STAGE_GENERATING] < (i ? 2 * N_FRAMES : N_FRAMES));
        assert_false(file_exists(out));
    }
}

static void test_only_for_what_paints(void **state)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *out = path_join(folder, "out.mp4");
    CLEANUP(engine_free) struct engine engine = {0};
    struct engine_params ep = {.threads = 2};
    struct onlooker w = {0};
    struct dub_params p = job_to(out, &w);
    struct dub_result r;
    assert_ok(err, engine_load(&engine, &ep, &err));
    assert_fails(err, KB_BAD_INPUT, "--paint no is for Wav2Lip", dub_run(&engine, &p, &r, &err));
    assert_int_equal(w.last, STAGE_LOADING); // before any work
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_the_track_saw),
        cmocka_unit_test(test_reads_a_painted_mouth),
        cmocka_unit_test(test_no_face_no_lips),
        cmocka_unit_test(test_the_films_own_pixels_move),
        cmocka_unit_test(test_cancel_in_either_pass),
        cmocka_unit_test(test_only_for_what_paints),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
