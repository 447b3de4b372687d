// The track in memory: packing, smoothing, choice of a face, files whole and damaged.
#include "tests/test.h"

#include "base/file.h"
#include "face/track_internal.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_FRAMES 70

// A face of height 200 about (x, y) with its points on a spiral, so that all are different.
static void make_mesh(struct mesh *m, float x, float y, float height)
{
    for (int i = 0; i < MESH_POINTS; i++) {
        float a = (float)i * 0.31f, r = height / 2 * (float)(i + 1) / MESH_POINTS;
        m->points[i][0] = x + 0.7f * r * cosf(a);
        m->points[i][1] = y + r * sinf(a);
        m->points[i][2] = 0.8f * r * sinf(a * 0.7f);
    }
    m->score = 0.97f;
}

static void add_mouth(struct track_identity *id, int frame, int width, int height)
{
    size_t n = (size_t)width * (size_t)height * 3 / 2;
    uint8_t *pixels = kb_alloc(n);
    for (size_t i = 0; i < n; i++)
        pixels[i] = (uint8_t)(i * 11 + (size_t)frame);
    id->mouths[id->n_mouths++] = (struct kept_mouth){.frame = frame,
                                                     .width = width,
                                                     .height = height,
                                                     .x0 = 300,
                                                     .y0 = 40,
                                                     .scale = 0.5f,
                                                     .pixels = pixels};
}

// Two faces; the second, smaller and further left, is absent in frames 20 to 29.
static struct track *make_track(void)
{
    struct track *t = kb_alloc(sizeof(*t));
    t->info = (struct track_info){
        .width = 1920, .height = 1080, .n_frames = N_FRAMES, .n_faces = 2, .covered_us = INT64_MAX};
    memset(t->info.video_hash, 'a', 32);
    t->pts = kb_alloc(N_FRAMES * sizeof(*t->pts));
    t->faces = kb_alloc(TRACK_MAX_FACES * sizeof(*t->faces));
    for (int f = 0; f < 2; f++) {
        struct track_identity *id = &t->faces[f];
        id->at = kb_alloc(N_FRAMES * sizeof(*id->at));
        id->records = kb_alloc(N_FRAMES * sizeof(*id->records));
        for (int i = 0; i < N_FRAMES; i++) {
            struct mesh m;
            t->pts[i] = i * 40000;
            make_mesh(&m, (f ? 400.0f : 1400.0f) + 3 * (float)i, 500, f ? 150 : 300);
            bool absent = f == 1 && i >= 20 && i < 30;
            id->at[i] = absent ? -1 : id->n_records;
            if (!absent)
                record_pack(&id->records[id->n_records++], &m);
            if (!absent)
                id->records[id->n_records - 1].cover = (uint16_t)(i * 900);
        }
        id->skin[0] = 120;
        id->skin[1] = 110 + (float)f;
        id->hidden = 0.25f * (float)f;
        id->mouths = kb_alloc((TRACK_MAX_MOUTHS + 1) * sizeof(*id->mouths));
        add_mouth(id, 3 + f, 40, 26);
        add_mouth(id, 50, 42, 30);
    }
    return t;
}

static void test_ids(void **state)
{
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        assert_true(track_point_ids[i] < MESH_POINTS);
        assert_int_equal(track_point_of(track_point_ids[i]), i); // so all are different
    }
    assert_int_equal(track_point_of(152), 18); // the chin is half-way around the oval
    assert_int_equal(track_point_of(61), TRACK_OUTER_FIRST);
    assert_int_equal(track_point_of(78), TRACK_INNER_FIRST);
    assert_int_equal(track_point_of(33), TRACK_OTHER_FIRST);
    assert_int_equal(track_point_of(467), -1);
    static const int aligned[] = {33, 133, 362, 263, 168, 6, 197, 195, 5, 4};
    for (size_t i = 0; i < ARRAY_LEN(aligned); i++)
        assert_int_equal(track_point_of(aligned[i]), TRACK_OTHER_FIRST + (int)i);
}

static void test_packing(void **state)
{
    static const float heights[] = {20, 300, 1080};
    for (size_t h = 0; h < ARRAY_LEN(heights); h++) {
        struct mesh m;
        struct track_record r;
        struct track_face face = {0};
        make_mesh(&m, 700.3f, 500.7f, heights[h]);
        record_pack(&r, &m);
        record_unpack(&r, &face);
        assert_true(face.present);
        assert_float_equal(face.score, 0.97, 1e-4);
        for (int i = 0; i < TRACK_N_POINTS; i++)
            for (int k = 0; k < 2; k++)
                assert_float_equal(face.points[i][k], m.points[track_point_ids[i]][k], 0.01);
        for (int i = 0; i < TRACK_N_POINTS; i++)
            assert_float_equal(face.depth[i], m.points[track_point_ids[i]][2],
                               heights[h] / 16384 * 0.6f);
        float box[4];
        mesh_box(&m, box);
        assert_memory_equal(face.box, box, sizeof(box));
    }
}

// Depth that is no number is none, and what is deeper than two faces is cut.
static void test_packing_of_wild_depth(void **state)
{
    static const struct {
        float z, packed; // in heights of the face
    } cases[] = {{NAN, 0}, {INFINITY, 0}, {1e30f, 2}, {-1e30f, -2}, {1.5f, 1.5f}, {-1.9f, -1.9f}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mesh m;
        struct track_record r;
        struct track_face face = {0};
        make_mesh(&m, 700, 500, 300);
        float box[4];
        mesh_box(&m, box);
        float side = fmaxf(box[2] - box[0], box[3] - box[1]);
        m.points[152][2] = cases[i].z * side;
        record_pack(&r, &m);
        record_unpack(&r, &face);
        assert_float_equal(face.depth[18] / side, cases[i].packed, 1e-3);
        assert_true(isfinite(face.pitch));
    }
}

static void test_angles(void **state)
{
    struct mesh m = {0};
    float a[3];
    // A flat face 100 wide and 120 high, then turned about each axis in turn by 0.3.
    const float flat[4][2] = {{-50, -20}, {50, -20}, {0, -60}, {0, 60}};
    const int ids[4] = {33, 263, 10, 152};
    for (int axis = 0; axis < 3; axis++) {
        for (int i = 0; i < 4; i++) {
            float x = flat[i][0], y = flat[i][1], c = cosf(0.3f), s = sinf(0.3f);
            float *p = m.points[ids[i]];
            p[0] = axis == 0 ? c * x : axis == 2 ? c * x - s * y : x;
            p[1] = axis == 1 ? c * y : axis == 2 ? s * x + c * y : y;
            p[2] = axis == 0 ? s * x : axis == 1 ? s * y : 0;
        }
        mesh_angles(&m, a);
        for (int k = 0; k < 3; k++)
            assert_float_equal(a[k], k == axis ? 0.3 : 0, 1e-4);
    }
}

static void test_smooth(void **state)
{
    CLEANUP(track_free) struct track *t = make_track();
    float p[TRACK_N_POINTS][2];
    struct track_face face;
    // Uniform motion survives a symmetric window; at the ends of a stretch it does not reach over.
    track_face(t, 0, 30, &face);
    assert_true(track_points_smooth(t, 0, 30, 2, p));
    for (int i = 0; i < TRACK_N_POINTS; i++)
        assert_float_equal(p[i][0], face.points[i][0], 0.02);
    assert_true(track_points_smooth(t, 0, 30, 0, p));
    assert_memory_equal(p, face.points, sizeof(p));
    assert_false(track_points_smooth(t, 1, 25, 2, p));
    // Depth goes along, and the other two are the same as without it.
    float p3[TRACK_N_POINTS][3];
    assert_true(track_points_smooth(t, 0, 30, 2, p));
    assert_true(track_points3_smooth(t, 0, 30, 2, p3));
    assert_false(track_points3_smooth(t, 1, 25, 2, p3));
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        assert_memory_equal(p3[i], p[i], sizeof(p[i]));
        assert_float_equal(p3[i][2], face.depth[i], 0.02);
    }
    track_face(t, 1, 25, &face);
    assert_false(face.present);
    track_face(t, 1, 30, &face);
    assert_true(track_points_smooth(t, 1, 30, 1, p));
    assert_true(p[0][0] > face.points[0][0] && p[0][0] < face.points[0][0] + 3);
    // Noise becomes smaller: sigma 2 averages about 7 frames.
    for (int i = 0; i < N_FRAMES; i++)
        for (int k = 0; k < 4; k++)
            t->faces[0].records[i].box[k] += i % 2 ? 1 : -1;
    float q[TRACK_N_POINTS][2];
    assert_true(track_points_smooth(t, 0, 30, 2, p));
    assert_true(track_points_smooth(t, 0, 31, 2, q));
    assert_float_equal(q[5][1] - p[5][1], 0, 0.05);
}

static void test_box_smooth(void **state)
{
    CLEANUP(track_free) struct track *t = make_track();
    struct track_face first, last;
    float box[4];
    track_face(t, 0, 10, &first);
    assert_true(track_box_smooth(t, 0, 10, 1, box));
    assert_memory_equal(box, first.box, sizeof(box));
    // Frames 10 to 14: 3 pixels a frame, so the mean is that of frame 12.
    assert_true(track_box_smooth(t, 0, 10, 5, box));
    assert_float_equal(box[0], first.box[0] + 6, 0.01);
    // At the end of a stretch the window is moved back: frames 15 to 19 for frame 18.
    track_face(t, 1, 17, &last);
    assert_true(track_box_smooth(t, 1, 18, 5, box));
    assert_float_equal(box[2], last.box[2], 0.01);
    // A stretch shorter than the window gives its mean.
    assert_true(track_box_smooth(t, 1, 5, 100, box));
    assert_false(track_box_smooth(t, 1, 25, 5, box));
    assert_false(track_box_smooth(t, 1, -1, 5, box));
}

static void add_cut(struct track *t, int frame, int jump)
{
    int n = t->info.n_cuts++;
    t->cuts = realloc(t->cuts, (size_t)(n + 1) * sizeof(*t->cuts));
    assert_non_null(t->cuts);
    t->cuts[n] = (struct track_cut){frame, jump};
}

// Nothing is smoothed over a cut, and each frame knows its shot.
static void test_cuts(void **state)
{
    CLEANUP(track_free) struct track *t = make_track();
    assert_int_equal(track_shot(t, N_FRAMES - 1), 0);
    add_cut(t, 15, 0);
    add_cut(t, 16, 1);
    add_cut(t, 40, 1);
    add_cut(t, 50, 0);
    static const struct {
        int frame, shot;
    } cases[] = {{0, 0}, {14, 0}, {15, 1}, {16, 2}, {39, 2}, {40, 3}, {50, 4}, {N_FRAMES - 1, 4}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(track_shot(t, cases[i].frame), cases[i].shot);
    // From frame 40 on the face stands elsewhere.
    struct track_face before, after, alone;
    float p[TRACK_N_POINTS][2], box[4], mean[4];
    for (int i = 40; i < N_FRAMES; i++)
        for (int k = 0; k < 4; k++)
            t->faces[0].records[i].box[k] += 100;
    track_face(t, 0, 39, &before);
    track_face(t, 0, 40, &after);
    assert_true(track_points_smooth(t, 0, 39, 2, p));
    assert_float_equal(p[3][0], before.points[3][0], 9);
    assert_true(track_points_smooth(t, 0, 40, 2, p));
    assert_float_equal(p[3][0], after.points[3][0], 9);
    assert_true(track_box_smooth(t, 0, 38, 5, box));
    assert_true(track_box_smooth(t, 0, 35, 5, mean));
    assert_memory_equal(box, mean, sizeof(box));
    track_face(t, 0, 15, &alone);
    assert_true(track_points_smooth(t, 0, 15, 2, p));
    assert_memory_equal(p, alone.points, sizeof(p));
    assert_true(track_box_smooth(t, 0, 15, 5, box));
    assert_memory_equal(box, alone.box, sizeof(box));
}

static void test_choice(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int face; // of make_track(), -1: there is none
    } cases[] = {
        {"largest", true, 0}, {"left", true, 1}, {"right", true, 0}, {"center", true, 1},
        {"1", true, 0},       {"2", true, 1},    {"3", true, -1},    {"0", false, 0},
        {"", false, 0},       {"2x", false, 0},  {"Left", false, 0}, {"-1", false, 0},
    };
    CLEANUP(track_free) struct track *t = make_track();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        enum face_choice choice = FACE_LARGEST;
        int number = 0;
        assert_int_equal(face_choice_parse(cases[i].text, &choice, &number), cases[i].ok);
        if (!cases[i].ok)
            continue;
        assert_int_equal(track_choose(t, choice, number, &err), cases[i].face);
        assert_true((cases[i].face < 0) == (err.code == KB_NOT_FOUND));
    }
    struct kb_error err = {0};
    struct track empty = {.info = {.width = 1, .height = 1}};
    assert_int_equal(track_choose(&empty, FACE_LARGEST, 0, &err), -1);
    assert_non_null(strstr(err.text, "no face"));
}

// --- files ---

static char folder[] = "/tmp/koubo-track-XXXXXX";
static int make_folder(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    return rmdir(folder);
}

static void check_mouths(const struct track *t, const struct track *back, int face)
{
    assert_int_equal(track_n_mouths(t, face), 2);
    assert_int_equal(track_n_mouths(back, face), 2);
    for (int i = 0; i < 2; i++) {
        struct track_mouth a, b;
        struct track_face at;
        track_mouth(t, face, i, &a);
        track_mouth(back, face, i, &b);
        assert_int_equal(a.frame, b.frame);
        assert_true(a.width == b.width && a.height == b.height);
        assert_true(a.x0 == b.x0 && a.y0 == b.y0 && a.scale == b.scale);
        size_t n = (size_t)a.width * (size_t)a.height;
        assert_memory_equal(a.planes[0], b.planes[0], n);
        assert_memory_equal(a.planes[1], b.planes[1], n / 4);
        assert_memory_equal(a.planes[2], b.planes[2], n / 4);
        assert_ptr_equal(b.planes[2], b.planes[0] + n + n / 4);
        track_face(back, face, b.frame, &at);
        for (int k = 0; k < TRACK_N_POINTS; k++) {
            assert_memory_equal(b.points[k], at.points[k], sizeof(at.points[k]));
            assert_true(b.points[k][2] == at.depth[k]);
        }
    }
}

static void test_file(void **state)
{
    struct kb_error err = {0};
    CLEANUP(track_free) struct track *t = make_track(), *back = NULL;
    CLEANUP(kb_freep) char *path = path_join(folder, "a.kbt");
    add_cut(t, 30, 0);
    add_cut(t, N_FRAMES - 1, 1);
    assert_ok(err, track_save(t, path, &err));
    assert_ok(err, track_load(&back, path, &err));
    assert_memory_equal(&t->info, &back->info, sizeof(t->info));
    assert_memory_equal(t->cuts, back->cuts, 2 * sizeof(*t->cuts));
    for (int i = 0; i < N_FRAMES; i++) {
        assert_int_equal(track_pts_us(t, i), track_pts_us(back, i));
        for (int f = 0; f < 2; f++) {
            struct track_face a = {0}, b = {0};
            track_face(t, f, i, &a);
            track_face(back, f, i, &b);
            assert_memory_equal(&a, &b, sizeof(a));
            assert_true(!b.present || fabsf(b.cover - (float)(i * 900) / 65535) < 1e-6f);
        }
    }
    for (int f = 0; f < 2; f++) {
        float a[3], b[3];
        track_skin(t, f, a);
        track_skin(back, f, b);
        assert_memory_equal(a, b, sizeof(a));
        assert_true(b[1] == 110 + (float)f);
        assert_true(track_hidden(back, f) == 0.25f * (float)f);
        check_mouths(t, back, f);
    }
    // Saving what was loaded gives the same bytes.
    CLEANUP(kb_freep) char *again = path_join(folder, "b.kbt");
    CLEANUP(file_unmap) struct file_map x = {0}, y = {0};
    assert_ok(err, track_save(back, again, &err));
    assert_ok(err, file_map(&x, path, &err));
    assert_ok(err, file_map(&y, again, &err));
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    unlink(path);
    unlink(again);
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
}

// Every cut and every changed byte is noticed.
static void test_damaged_file(void **state)
{
    struct kb_error err = {0};
    CLEANUP(track_free) struct track *t = make_track(), *back = NULL;
    CLEANUP(kb_freep) char *path = path_join(folder, "a.kbt");
    CLEANUP(file_unmap) struct file_map m = {0};
    assert_ok(err, track_save(t, path, &err));
    assert_ok(err, file_map(&m, path, &err));
    CLEANUP(kb_freep) uint8_t *copy = malloc(m.size + 8);
    memset(copy + m.size, 0, 8);
    memcpy(copy, m.data, m.size);
    size_t size = m.size;
    unlink(path); // the mapping stays; later writes make a new file
    for (size_t i = 0; i < 300; i++) {
        size_t at = i < 120 ? i : size * i / 300;
        copy[at] ^= (uint8_t)(1 << (i % 8));
        write_file(path, copy, size);
        assert_fails(err, KB_BAD_INPUT, "track file", track_load(&back, path, &err));
        copy[at] ^= (uint8_t)(1 << (i % 8));
        write_file(path, copy, at + 1);
        assert_fails(err, KB_BAD_INPUT, "track file", track_load(&back, path, &err));
    }
    write_file(path, copy, size + 8);
    assert_fails(err, KB_BAD_INPUT, "track file", track_load(&back, path, &err));
    unlink(path);
    assert_fails(err, KB_NOT_FOUND, "a.kbt", track_load(&back, path, &err));
}

// A file whose checksum is right but whose numbers lie.
static void test_lying_file(void **state)
{
    CLEANUP(kb_freep) char *path = path_join(folder, "a.kbt");
    for (int lie = 0; lie < 15; lie++) {
        struct kb_error err = {0};
        CLEANUP(track_free) struct track *t = make_track(), *back = NULL;
        struct track_identity *f = &t->faces[1];
        switch (lie) {
        case 0:
            t->pts[5] = t->pts[4];
            break;
        case 1:
            f->at[3] = 50;
            break;
        case 2:
            f->at[19] = -2;
            break;
        case 3:
            f->records[4].box[0] = NAN;
            break;
        case 4:
            f->records[4].box[2] = f->records[4].box[0] - 1;
            break;
        case 5:
            f->skin[2] = INFINITY;
            break;
        case 6:
            t->info.video_hash[4] = '/';
            break;
        case 7:
            t->info.covered_us = -1;
            break;
        case 8:
            f->hidden = NAN;
            break;
        case 9:
            f->hidden = 1.5f;
            break;
        case 10:
            add_cut(t, 0, 0);
            break;
        case 11:
            add_cut(t, N_FRAMES, 0);
            break;
        case 12:
            add_cut(t, 9, 0);
            add_cut(t, 9, 1);
            break;
        case 13:
            add_cut(t, 9, 2);
            break;
        case 14:
            for (int i = 1; i <= N_FRAMES; i++)
                add_cut(t, i, 0);
            break;
        }
        assert_ok(err, track_save(t, path, &err));
        assert_fails(err, KB_BAD_INPUT, "track file", track_load(&back, path, &err));
    }
    unlink(path);
}

static void replace_mouth(struct track_identity *f, int width, int height)
{
    free(f->mouths[--f->n_mouths].pixels);
    add_mouth(f, 50, width, height);
}

static void lie_about_mouths(struct track_identity *f, int lie)
{
    struct kept_mouth *m = &f->mouths[1];
    switch (lie) {
    case 0:
        replace_mouth(f, 41, 30);
        break;
    case 1:
        replace_mouth(f, 42, 31);
        break;
    case 2:
        replace_mouth(f, 514, 30);
        break;
    case 3:
        replace_mouth(f, 42, 514);
        break;
    case 4:
        replace_mouth(f, 42, 0);
        break;
    case 5:
        replace_mouth(f, 0, 30);
        break;
    case 6:
        m->frame = 25; // the face is not there
        break;
    case 7:
        m->frame = N_FRAMES;
        break;
    case 8:
        m->frame = -1;
        break;
    case 9:
        m->frame = f->mouths[0].frame;
        break;
    case 10:
        m->scale = 0;
        break;
    case 11:
        m->scale = NAN;
        break;
    case 12:
        m->scale = 1.5f;
        break;
    case 13:
        m->x0 = -2;
        break;
    case 14:
        m->x0 = 1920 - 80;
        break;
    case 15:
        m->y0 = NAN;
        break;
    case 16:
        m->y0 = INFINITY;
        break;
    case 17:
        m->scale = 1e-6f;
        break;
    case 18:
        f->n_mouths = -1;
        break;
    }
}

static void test_lying_mouths(void **state)
{
    CLEANUP(kb_freep) char *path = path_join(folder, "a.kbt");
    for (int lie = 0; lie < 20; lie++) {
        struct kb_error err = {0};
        CLEANUP(track_free) struct track *t = make_track(), *back = NULL;
        struct track_identity *f = &t->faces[1];
        lie_about_mouths(f, lie);
        assert_ok(err, track_save(t, path, &err));
        if (lie == 19) // nothing was changed
            assert_ok(err, track_load(&back, path, &err));
        else
            assert_fails(err, KB_BAD_INPUT, "track file", track_load(&back, path, &err));
        if (f->n_mouths < 0)
            f->n_mouths = 2;
    }
    unlink(path);
}

static void test_too_many_mouths(void **state)
{
    CLEANUP(kb_freep) char *path = path_join(folder, "a.kbt");
    for (int n = TRACK_MAX_MOUTHS; n <= TRACK_MAX_MOUTHS + 1; n++) {
        struct kb_error err = {0};
        CLEANUP(track_free) struct track *t = make_track(), *back = NULL;
        struct track_identity *f = &t->faces[0]; // there in every frame
        while (f->n_mouths > 0)
            free(f->mouths[--f->n_mouths].pixels);
        for (int k = 0; k < n; k++)
            add_mouth(f, k, 16, 16);
        assert_ok(err, track_save(t, path, &err));
        if (n == TRACK_MAX_MOUTHS)
            assert_ok(err, track_load(&back, path, &err));
        else
            assert_fails(err, KB_BAD_INPUT, "track file", track_load(&back, path, &err));
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_packing),
        cmocka_unit_test(test_angles),
        cmocka_unit_test(test_smooth),
        cmocka_unit_test(test_box_smooth),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_damaged_file),
        cmocka_unit_test(test_lying_file),
        cmocka_unit_test(test_lying_mouths),
        cmocka_unit_test(test_too_many_mouths),
        cmocka_unit_test(test_packing_of_wild_depth),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
