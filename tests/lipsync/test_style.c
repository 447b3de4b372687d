// The person's own way of speaking: a known change is found again, what is no way of speaking is
// refused, on numbers, on films made of numbers, and on a real face with its own and another's
// sound.
#include "tests/test.h"

#include "base/file.h"
#include "base/place.h"
#include "lipsync/style_internal.h"
#include "tests/rig/film.h"

#include <math.h>
#include <stdlib.h>

#define N_ROWS   1000 // 40 s at 25 a second
#define N_SHAPES 3

static struct motion_model *listener;
static struct face_models *faces;
static char folder[] = "/tmp/koubo-style-XXXXXX";

static int set_up(void **state)
{
    struct kb_error err = {0};
    assert_ok(err, motion_model_load(&listener, NULL, 1, &err));
    assert_ok(err, face_models_load(&faces, &err));
    assert_non_null(mkdtemp(folder));
    return 0;
}

static int tear_down(void **state)
{
    assert_true(place_remove(folder));
    motion_model_free(&listener);
    face_models_free(&faces);
    return 0;
}

// -1..1, of a number; the same every time.
static float noise(uint32_t x)
{
    x = (x ^ 61 ^ (x >> 16)) * 9;
    x = (x ^ (x >> 4)) * 0x27d4eb2d;
    return (float)((x ^ (x >> 15)) & 0xffff) / 32768 - 1;
}

// What a speech makes of the mouth: 0..1, some four openings a second, none like another.
static float talk(double time_s, uint32_t seed)
{
    double at = time_s * 8;
    int i = (int)floor(at);
    float t = (float)(at - i), a = noise(seed + (uint32_t)(i + 8)),
          b = noise(seed + (uint32_t)(i + 9));
    t = t * t * (3 - 2 * t);
    return 0.5f + 0.5f * (a + t * (b - a));
}

// --- numbers ---

// A shape opens the mouth by 1 (upper lip, lower lip), widens it, or pushes it to a side.
static void shape(int which, float ret[STYLE_NUMBERS])
{
    memset(ret, 0, STYLE_NUMBERS * sizeof(*ret));
    for (int ring = 0; ring < 2; ring++)
        for (int i = 0; i < TRACK_N_LIPS; i++) {
            float *p = ret + 2 * (ring * TRACK_N_LIPS + i);
            bool corner = i == 0 || i == 10, upper = i > 0 && i < 10;
            if (which == 0)
                p[1] = corner ? 0 : upper ? -0.5f : 0.5f;
            else if (which == 1)
                p[0] = 0.1f * cosf((float)M_PI * (float)(10 - i) / 10);
            else
                p[0] = 0.1f;
        }
}

// What is told at a time: the mouth opens to 0.06 and narrows, each as its own speech wants it.
static void tell(double time_s, float ret[STYLE_NUMBERS])
{
    memset(ret, 0, STYLE_NUMBERS * sizeof(*ret));
    const float much[N_SHAPES] = {0.06f, 0.1f, 0.02f};
    for (int s = 0; s < N_SHAPES; s++) {
        float to[STYLE_NUMBERS];
        shape(s, to);
        for (int j = 0; j < STYLE_NUMBERS; j++)
            ret[j] += much[s] * talk(time_s, (uint32_t)s * 1000) * to[j];
    }
}

// How one person does it: further, the lower lip more, wider with it, one side more; and in
// part 50 ms later. Linear.
static void personal(const float now[STYLE_NUMBERS], const float before[STYLE_NUMBERS],
                     float ret[STYLE_NUMBERS])
{
    float opening = 0.7f * motion_opening((const float(*)[2])now) +
                    0.5f * motion_opening((const float(*)[2])before);
    for (int i = 0; i < MOTION_POINTS; i++) {
        bool left = i % TRACK_N_LIPS > 10 || i % TRACK_N_LIPS == 0;
        ret[2 * i] = 0.8f * now[2 * i] + 0.05f * opening + 0.002f;
        ret[2 * i + 1] = 0.7f * now[2 * i + 1] + 0.5f * before[2 * i + 1] +
                         (left ? 0.2f : 0.05f) * opening + 0.003f;
    }
}

static struct style_rows make_rows(int n)
{
    struct style_rows rows = {.n = n,
                              .time_s = kb_alloc((size_t)n * sizeof(double)),
                              .seen = kb_alloc((size_t)n * sizeof(*rows.seen)),
                              .told = kb_alloc((size_t)n * sizeof(*rows.told))};
    for (int i = 0; i < n; i++) {
        rows.time_s[i] = i * 0.04;
        for (int t = 0; t < STYLE_TAPS; t++)
            tell(rows.time_s[i] + (double)style_taps[t] / MOTION_RATE_HZ, rows.told[i][t]);
    }
    return rows;
}

static void shake(struct style_rows *rows, float by)
{
    for (int i = 0; i < rows->n; i++)
        for (int j = 0; j < STYLE_NUMBERS; j++)
            rows->seen[i][j] += by * noise((uint32_t)(i * STYLE_NUMBERS + j + 77));
}

static void test_a_known_change_is_found(void **state)
{
    struct kb_error err = {0};
    CLEANUP(style_rows_clear) struct style_rows rows = make_rows(N_ROWS);
    for (int i = 0; i < rows.n; i++)
        personal(rows.told[i][0], rows.told[i][1], rows.seen[i]);
    shake(&rows, 0.002f);
    CLEANUP(kb_freep) struct style_regression *r = kb_alloc(sizeof(*r));
    int64_t began = kb_now_us();
    assert_ok(err, style_regress(r, &rows, 1.2f, NULL, &err));
    print_message("# 40 s: error %.4f to %.4f, correlation %.3f to %.3f, %.0f ms\n",
                  (double)r->before.error, (double)r->after.error, (double)r->before.correlation,
                  (double)r->after.correlation, (double)(kb_now_us() - began) / 1e3);
    assert_true(r->better);
    assert_true(r->after.error < 0.3f * r->before.error);
    assert_true(r->after.correlation > 0.99f && r->after.correlation > r->before.correlation);
    assert_true(r->map.n_taps >= 3);

    // And it does to another speech what the person would do.
    struct style s = {.verdict = STYLE_LEARNT, .map = r->map};
    struct motion told = {.n = 400,
                          .delta = kb_alloc(400 * sizeof(*told.delta)),
                          .voice = kb_alloc(400 * sizeof(float))};
    CLEANUP(motion_free) struct motion *own = NULL;
    for (int i = 0; i < told.n; i++) {
        tell(100 + (double)i / MOTION_RATE_HZ, (float *)told.delta[i]);
        told.voice[i] = i >= 20;
    }
    assert_ok(err, style_apply(&own, &s, &told, &err));
    assert_int_equal(own->n, told.n);
    double off = 0, was = 0;
    for (int i = 20; i < 380; i++) {
        float wanted[STYLE_NUMBERS];
        personal((float *)told.delta[i], (float *)told.delta[i - 2], wanted);
        for (int j = 0; j < STYLE_NUMBERS; j++) {
            off += pow((double)(((float *)own->delta[i])[j] - wanted[j]), 2);
            was += pow((double)(1.2f * ((float *)told.delta[i])[j] - wanted[j]), 2);
        }
        assert_true(own->voice[i] == told.voice[i]);
    }
    print_message("# another speech: %.3f of the error\n", sqrt(off / was));
    assert_true(sqrt(off / was) < 0.4);
    free(told.delta);
    free(told.voice);
}

// A person who does just what is told, but for the tremble of landmarks, has no way of their own;
// nor has one whose lips do something else.
static void test_noise_is_refused(void **state)
{
    struct kb_error err = {0};
    CLEANUP(style_rows_clear) struct style_rows rows = make_rows(N_ROWS);
    CLEANUP(kb_freep) struct style_regression *r = kb_alloc(sizeof(*r));
    for (int i = 0; i < rows.n; i++)
        for (int j = 0; j < STYLE_NUMBERS; j++)
            rows.seen[i][j] = rows.told[i][0][j];
    shake(&rows, 0.01f);
    assert_ok(err, style_regress(r, &rows, 1, NULL, &err));
    assert_false(r->better);
    assert_int_equal(r->map.n_taps, 0);

    // Nothing to see in it at all: no numbers that are none.
    memset(rows.told, 0, (size_t)rows.n * sizeof(*rows.told));
    memset(rows.seen, 0, (size_t)rows.n * sizeof(*rows.seen));
    assert_ok(err, style_regress(r, &rows, 1, NULL, &err));
    assert_false(r->better);
    rows.n = 1;
    assert_ok(err, style_regress(r, &rows, 1, NULL, &err));
    assert_false(r->better);

    struct cancel cancel = {.requested = true};
    rows.n = N_ROWS;
    assert_int_equal(style_regress(r, &rows, 1, &cancel, &err), KB_CANCELLED);
}

static void test_gain(void **state)
{
    assert_float_equal(style_gain(0, 0.05f, 0.01f, 0.06f), 1, 1e-5);
    assert_float_equal(style_gain(0, 0.05f, 0, 0.06f), 1.2, 1e-5);
    assert_float_equal(style_gain(0, 0.05f, 0, 0.2f), 1.6, 1e-5);
    assert_float_equal(style_gain(0, 0.05f, 0, 0.01f), 0.6, 1e-5);
    assert_float_equal(style_gain(0, 0.05f, 0, 0), 1, 1e-5);
    assert_float_equal(style_gain(0, 0, 0, 0.06f), 1, 1e-5);
    assert_float_equal(style_stretch(0.01f, 0.03f, 0, 0.03f), 1.5, 1e-5);
    assert_float_equal(style_stretch(0.01f, 0.01f, 0, 0.03f), 1, 1e-5);
}

// --- films made of numbers ---

#define N_FRAMES 500 // 20 s

// A listener that opens the mouth half as far as it opens in the film, and with the upper lip; its
// sound begins `late` samples after the lips. seed: of the speech that is heard.
static struct motion *hear_talk(uint32_t seed, int late, bool voice)
{
    struct motion *m = kb_alloc(sizeof(*m));
    float to[STYLE_NUMBERS];
    shape(0, to);
    m->n = N_FRAMES * MOTION_RATE_HZ / 25 + 40;
    m->delta = kb_alloc((size_t)m->n * sizeof(*m->delta));
    m->voice = kb_alloc((size_t)m->n * sizeof(*m->voice));
    for (int i = 0; i < m->n; i++) {
        float opening = 0.02f * talk((double)(i - late) / MOTION_RATE_HZ, seed);
        m->voice[i] = voice;
        for (int j = 0; j < STYLE_NUMBERS; j++)
            ((float *)m->delta[i])[j] = opening * to[j];
    }
    return m;
}

static struct track *film_talk(int n, float much)
{
    struct shot *shots = kb_alloc((size_t)n * sizeof(*shots));
    for (int i = 0; i < n; i++)
        shots[i] = (struct shot){.scale = 400,
                                 .yaw = 0.1f * sinf((float)i * 0.05f),
                                 .x = 400,
                                 .y = 150,
                                 .open = 0.004f + much * talk(i * 0.04, 5)};
    struct track *t = film_make(shots, n);
    free(shots);
    return t;
}

static void test_films(void **state)
{
    static const struct {
        const char *what;
        uint32_t seed;
        int n, late;
        bool moves, voice;
        enum style_verdict verdict;
        const char *says;
    } cases[] = {
        {"in time", 5, N_FRAMES, 0, true, true, STYLE_LEARNT, "learnt from"},
        {"sound late", 5, N_FRAMES, 6, true, true, STYLE_LEARNT, "learnt from"},
        {"sound early", 5, N_FRAMES, -4, true, true, STYLE_LEARNT, "learnt from"},
        {"dubbed", 99, N_FRAMES, 0, true, true, STYLE_DUBBED, "does not fit"},
        {"dubbed again", 1234, N_FRAMES, 0, true, true, STYLE_DUBBED, "does not fit"},
        {"too late", 5, N_FRAMES, 40, true, true, STYLE_DUBBED, "does not fit"},
        {"short", 5, 200, 0, true, true, STYLE_SHORT, "8.0 s, and 10 s are needed"},
        {"still", 5, N_FRAMES, 0, false, true, STYLE_QUIET, "does not move"},
        {"no voice", 5, N_FRAMES, 0, true, false, STYLE_NO_SOUND, "no voice"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(track_free) struct track *t = film_talk(cases[i].n, cases[i].moves ? 0.06f : 0);
        CLEANUP(motion_free)
        struct motion *told = hear_talk(cases[i].seed, cases[i].late, cases[i].voice);
        CLEANUP(kb_freep) struct style *s = kb_alloc(sizeof(*s));
        struct style_params p = {.track = t, .told = told};
        assert_ok(err, style_fit(s, &p, &err));
        CLEANUP(kb_freep) char *says = style_describe(s);
        print_message("# %s: %s\n", cases[i].what, says);
        assert_int_equal(s->verdict, cases[i].verdict);
        assert_non_null(strstr(says, cases[i].says));
        assert_int_equal(s->speaks, cases[i].moves);
        if (s->verdict != STYLE_LEARNT) {
            assert_int_equal(s->map.gain == 0, 1);
            continue;
        }
        assert_float_equal(s->lag_s, (double)cases[i].late / MOTION_RATE_HZ, 0.026);
        assert_true(s->after.error < 0.6f * s->before.error);

        // The speech's opening becomes the person's own, and more of it the lower lip's.
        CLEANUP(motion_free) struct motion *own = NULL;
        assert_ok(err, style_apply(&own, s, told, &err));
        float low, high, told_low, told_high, upper = 0, lower = 0;
        motion_range(told, &told_low, &told_high);
        motion_range(own, &low, &high);
        assert_float_equal(high - low, s->range_high - s->range_low, 0.006);
        assert_true(high - low > 1.5f * (told_high - told_low));
        for (int k = 0; k < own->n; k++) {
            upper -= own->delta[k][TRACK_N_LIPS + 5][1];
            lower += own->delta[k][TRACK_N_LIPS + 15][1];
        }
        assert_float_equal(upper / (upper + lower), 0.3, 0.06);
    }
}

static void test_no_face(void **state)
{
    struct kb_error err = {0};
    struct shot shots[20] = {0};
    CLEANUP(track_free) struct track *t = film_make(shots, 20);
    CLEANUP(motion_free) struct motion *told = hear_talk(5, 0, true);
    struct style s;
    struct style_params p = {.track = t, .told = told};
    assert_fails(err, KB_BAD_INPUT, "cannot be moved", style_fit(&s, &p, &err));
}

// --- the file ---

static void put_bytes(const char *path, size_t at, uint8_t byte)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
    assert_int_equal(fputc(byte, f), byte);
    fclose(f);
}

static void test_file(void **state)
{
    struct kb_error err = {0};
    CLEANUP(track_free) struct track *t = film_talk(40, 0.06f);
    CLEANUP(kb_freep) char *path = path_join(folder, "a.kbs");
    CLEANUP(kb_freep) struct style *s = kb_alloc(TRACK_MAX_FACES * sizeof(*s));
    CLEANUP(kb_freep) struct style *back = kb_alloc(TRACK_MAX_FACES * sizeof(*back));
    const char *hash = motion_model_hash(listener);
    assert_int_equal(strlen(hash), 32);
    s->verdict = STYLE_LEARNT;
    s->speech_s = 33;
    s->map.gain = 1.25f;
    s->map.weights[4][4][79] = -2;
    assert_fails(err, KB_NOT_FOUND, "a.kbs", style_load(back, t, hash, path, &err));
    assert_ok(err, style_save(s, t, hash, path, &err));
    assert_ok(err, style_load(back, t, hash, path, &err));
    assert_memory_equal(s, back, sizeof(*s));

    // Another listener, another film.
    assert_fails(err, KB_BAD_INPUT, "another",
                 style_load(back, t, "0123456789abcdef0123456789abcdef", path, &err));
    CLEANUP(track_free) struct track *other = film_talk(41, 0.06f);
    assert_fails(err, KB_BAD_INPUT, "another", style_load(back, other, hash, path, &err));

    // Numbers that no fit gives, though the sum is right.
    s->map.bias[3] = NAN;
    assert_ok(err, style_save(s, t, hash, path, &err));
    assert_fails(err, KB_BAD_INPUT, "not a whole file", style_load(back, t, hash, path, &err));
    s->map.bias[3] = 0;
    s->map.n_taps = STYLE_TAPS + 1;
    assert_ok(err, style_save(s, t, hash, path, &err));
    assert_fails(err, KB_BAD_INPUT, "not a whole file", style_load(back, t, hash, path, &err));
    s->map.n_taps = 0;

    // Any byte changed, any end missing.
    for (size_t at = 0; at < 104 + sizeof(*s); at += 97) {
        assert_ok(err, style_save(s, t, hash, path, &err));
        put_bytes(path, at, 0xa5);
        assert_fails(err, KB_BAD_INPUT, "not a whole file", style_load(back, t, hash, path, &err));
        assert_ok(err, style_save(s, t, hash, path, &err));
        assert_int_equal(truncate(path, (off_t)at + 1), 0);
        assert_fails(err, KB_BAD_INPUT, "not a whole file", style_load(back, t, hash, path, &err));
    }
}

// --- a real face ---

static struct track *track_of(const char *clip)
{
    struct kb_error err = {0};
    struct track *t = NULL;
    struct track_params tp = {.decoder_threads = 1};
    assert_ok(err, track_obtain(&t, clip_path(clip), folder, faces, &tp, NULL, &err));
    return t;
}

static void test_real_film(void **state)
{
    struct kb_error err = {0};
    CLEANUP(track_free) struct track *t = track_of("talks_15s.mp4");
    CLEANUP(kb_freep) struct style *s = kb_alloc(TRACK_MAX_FACES * sizeof(*s));
    CLEANUP(kb_freep) struct style *kept = kb_alloc(sizeof(*kept));
    struct style_film f = {.video = clip_path("talks_15s.mp4"), .track = t, .listener = listener};
    int64_t began = kb_now_us();
    assert_ok(err, style_obtain(s, &f, &(int){0}, 1, &err));
    CLEANUP(kb_freep) char *says = style_describe(s);
    print_message("# own sound: %s, lag %+.0f ms; heard and fitted in %.0f ms\n", says,
                  (double)s->lag_s * 1e3, (double)(kb_now_us() - began) / 1e3);
    assert_int_equal(s->verdict, STYLE_LEARNT);
    assert_float_equal(s->lag_s, 0, 0.051);
    assert_true(s->after.error < 0.97f * s->before.error);

    // Learnt ahead it is the same, and it is not fitted again: what lies there is believed.
    f.folder = folder;
    assert_ok(err, style_learn(kept, &f, &err));
    assert_memory_equal(s, kept, sizeof(*s));
    CLEANUP(kb_freep) char *name = kb_printf("%s/%s.kbs", folder, track_info(t)->video_hash);
    kept->speech_s = 1234;
    assert_ok(err, style_save(kept, t, motion_model_hash(listener), name, &err));
    assert_ok(err, style_obtain(s, &f, &(int){0}, 1, &err));
    assert_true(s->speech_s == 1234);
    put_bytes(name, 200, 0x5a); // damaged: as if it were not there
    assert_ok(err, style_obtain(s, &f, &(int){0}, 1, &err));
    assert_true(s->speech_s < 100);
}

static void test_real_sound_of_another(void **state)
{
    struct kb_error err = {0};
    CLEANUP(track_free) struct track *t = track_of("dubbed_15s.mp4");
    CLEANUP(kb_freep) struct style *s = kb_alloc(sizeof(*s));
    struct style_film f = {.video = clip_path("dubbed_15s.mp4"), .track = t, .listener = listener};
    assert_ok(err, style_obtain(s, &f, &(int){0}, 1, &err));
    CLEANUP(kb_freep) char *says = style_describe(s);
    print_message("# another's sound: %s\n", says);
    assert_int_equal(s->verdict, STYLE_DUBBED);
    assert_true(s->speaks &&
                s->range_high > s->range_low); // how far it opens is known all the same

    // The same film, and a file whose sound is gone.
    f.video = clip_path("silent.mp4");
    assert_ok(err, style_obtain(s, &f, &(int){0}, 1, &err));
    assert_int_equal(s->verdict, STYLE_NO_SOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_known_change_is_found),
        cmocka_unit_test(test_noise_is_refused),
        cmocka_unit_test(test_gain),
        cmocka_unit_test(test_films),
        cmocka_unit_test(test_no_face),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_real_film),
        cmocka_unit_test(test_real_sound_of_another),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
