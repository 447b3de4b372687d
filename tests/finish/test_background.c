// Another background: who is cut out, what comes behind, and that nothing of the old one is left.
#include "tests/drawn_face.h"
#include "tests/test.h"

#include "base/place.h"
#include "face/warp.h"
#include "finish/areas.h"
#include "finish/backdrop.h"
#include "finish/blur.h"
#include "finish/chroma.h"
#include "finish/finish.h"
#include "media/frame.h"
#include "media/mix.h"
#include "media/sound.h"
#include "media/writer.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <malloc.h>
#include <math.h>

#define W    320
#define H    240
#define SIDE 192 // of the drawn face

static const uint8_t wall[3] = {90, 110, 120}; // as it is drawn
static const uint8_t green[3] = {40, 150, 60};

static AVFrame *new_frame(void)
{
    AVFrame *f = av_frame_alloc();
    f->width = W;
    f->height = H;
    f->format = AV_PIX_FMT_YUV420P;
    f->colorspace = AVCOL_SPC_SMPTE170M;
    f->color_range = AVCOL_RANGE_MPEG;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    return f;
}

static void to_yuv(const AVFrame *f, const float rgb[3], float ret[3])
{
    struct yuv_matrix m = yuv_matrix_of(f);
    ret[0] = m.y_offset, ret[1] = ret[2] = 128;
    for (int i = 0; i < 3; i++) {
        ret[0] += m.to_y[i] * rgb[i];
        ret[1] += m.to_u[i] * rgb[i];
        ret[2] += m.to_v[i] * rgb[i];
    }
}

// The drawn face, as high as the picture, before `behind`, which gets darker to the right by
// `shade`. *truth (W * H) gets 1 where the face is; may be NULL.
static AVFrame *scene(const uint8_t behind[3], float shade, uint8_t *truth)
{
    static float face[SIDE * SIDE * 3];
    AVFrame *f = new_frame();
    draw_face(face, 1, 0, 1);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            int column = (x - (W - H) / 2) * SIDE / H, row = y * SIDE / H;
            column = KB_MIN(KB_MAX(column, 0), SIDE - 1);
            const float *p = face + 3 * (row * SIDE + column);
            bool is_face = false;
            for (int i = 0; i < 3; i++)
                is_face |= fabsf(p[i] * 255 - wall[i]) > 1;
            float rgb[3], yuv[3], light = 1 - shade * (float)x / W;
            for (int i = 0; i < 3; i++)
                rgb[i] = is_face ? p[i] : behind[i] * light / 255;
            to_yuv(f, rgb, yuv);
            f->data[0][y * f->linesize[0] + x] = (uint8_t)lrintf(yuv[0]);
            if (x % 2 == 0 && y % 2 == 0) {
                f->data[1][y / 2 * f->linesize[1] + x / 2] = (uint8_t)lrintf(yuv[1]);
                f->data[2][y / 2 * f->linesize[2] + x / 2] = (uint8_t)lrintf(yuv[2]);
            }
            if (truth)
                truth[y * W + x] = is_face;
        }
    return f;
}

static struct finish_picture shape(void)
{
    return (struct finish_picture){.width = W,
                                   .height = H,
                                   .frame_rate = {25, 1},
                                   .space = AVCOL_SPC_SMPTE170M,
                                   .range = AVCOL_RANGE_MPEG};
}

// The same picture n times over, by as many threads: what comes of the last.
static AVFrame *put_by(const struct background_params *want, const AVFrame *in, int n, int threads)
{
    struct kb_error err = {0};
    const struct finish_params p = {.background = *want};
    const struct finish_source source = {.threads = threads};
    struct finish_picture picture = shape();
    picture.width = in->width;
    picture.height = in->height;
    CLEANUP(finisher_close) struct finisher *f = NULL;
    assert_ok(err, finisher_open(&f, &p, &source, &picture, &err));
    assert_int_equal(picture.alpha, want->alpha != ALPHA_NONE);
    AVFrame *out = NULL;
    for (int i = 0; i < n; i++) {
        av_frame_free(&out);
        out = av_frame_clone(in);
        const struct finish_moment at = {.pts_us = i * 40000, .duration_us = 40000};
        assert_ok(err, finisher_put(f, &out, &at, &err));
    }
    return out;
}

static AVFrame *put(const struct background_params *want, const AVFrame *in, int n)
{
    return put_by(want, in, n, 1);
}

static int y_at(const AVFrame *f, int x, int y)
{
    return f->data[0][y * f->linesize[0] + x];
}

static int uv_at(const AVFrame *f, int plane, int x, int y)
{
    return f->data[plane][y / 2 * f->linesize[plane] + x / 2];
}

// --- means

struct planes {
    int w, h, emitted;
    float *values, worst;
    int radius;
};

static void fill(void *context, int y, int x0, int x1, float *const *lanes)
{
    const struct planes *p = context;
    assert_in_range(x1, x0 + 1, p->w);
    for (int x = 0; x < x1 - x0; x++) {
        lanes[0][x] = p->values[y * p->w + x0 + x];
        lanes[1][x] = 1 - 2 * lanes[0][x];
    }
}

static void emit(void *context, int y, int x0, int x1, float *const *means)
{
    struct planes *p = context;
    assert_int_equal(y, p->emitted++);
    for (int x = x0; x < x1; x++) {
        double sum = 0;
        int n = 0;
        for (int j = KB_MAX(y - p->radius, 0); j <= KB_MIN(y + p->radius, p->h - 1); j++)
            for (int i = KB_MAX(x - p->radius, 0); i <= KB_MIN(x + p->radius, p->w - 1); i++, n++)
                sum += (double)p->values[j * p->w + i];
        float mean = (float)(sum / n);
        p->worst = fmaxf(p->worst, fabsf(means[0][x - x0] - mean));
        p->worst = fmaxf(p->worst, fabsf(means[1][x - x0] - (1 - 2 * mean)));
    }
}

static void test_means(void **state)
{
    static const int shapes[][3] = {{37, 29, 1}, {37, 29, 5}, {64, 9, 12}, {5, 40, 16}, {1, 1, 3}};
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
        struct planes p = {.w = shapes[s][0], .h = shapes[s][1], .radius = shapes[s][2]};
        p.values = malloc((size_t)(p.w * p.h) * sizeof(float));
        for (int i = 0; i < p.w * p.h; i++)
            p.values[i] = (float)((unsigned)i * 2654435761u >> 16) / 65536;
        CLEANUP(box_free) struct box *b = box_create(p.w, p.h, p.radius, 2 * (p.w + 2 * p.radius));
        const struct box_area areas[] = {{0, 0, p.w, p.h},
                                         {p.w / 3, p.h / 2, p.w, p.h / 2 + 1},
                                         {0, p.h / 3, (p.w + 1) / 2, p.h},
                                         {p.w / 2, 0, p.w / 2 + 1, (p.h + 2) / 3}};
        for (size_t i = 0; i < ARRAY_LEN(areas); i++) {
            p.emitted = areas[i].y0;
            box_run(b, &areas[i], p.radius, 2, fill, emit, &p);
            assert_int_equal(p.emitted, areas[i].y1);
            assert_true(p.worst < 1e-5f);
        }
        free(p.values);
    }
}

// --- who is cut out

// Overlap of what is not white with the face, and how much of it is neither.
static double overlap(const AVFrame *out, const AVFrame *in, const uint8_t *truth)
{
    int both = 0, either = 0;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            bool there = abs(y_at(out, x, y) - y_at(in, x, y)) < abs(y_at(out, x, y) - 235);
            both += there && truth[y * W + x];
            either += there || truth[y * W + x];
        }
    return (double)both / either;
}

static void test_person(void **state)
{
    static uint8_t truth[W * H];
    const struct background_params white = {
        .kind = BACKGROUND_COLOUR, .rgb = {255, 255, 255}, .key = KEY_PERSON};
    CLEANUP(av_frame_free) AVFrame *in = scene(wall, 0, truth);
    CLEANUP(av_frame_free) AVFrame *out = put(&white, in, 2);
    double iou = overlap(out, in, truth);
    print_message("# overlap with the drawn face: %.3f\n", iou);
    assert_true(iou > 0.95);
    // What is surely the face is as it was, what is surely not is white.
    assert_int_equal(y_at(out, W / 2, H / 2), y_at(in, W / 2, H / 2));
    assert_int_equal(uv_at(out, 2, W / 2, H / 2), uv_at(in, 2, W / 2, H / 2));
    assert_int_equal(y_at(out, 4, 4), 235);
    assert_int_equal(uv_at(out, 1, 4, 4), 128);
    assert_int_equal(y_at(out, W - 3, H / 2), 235);
}

static void test_screen(void **state)
{
    static uint8_t truth[W * H];
    const struct background_params white = {.kind = BACKGROUND_COLOUR, .rgb = {255, 255, 255}};
    // An uneven screen: a third less light at its right.
    CLEANUP(av_frame_free) AVFrame *in = scene(green, 0.35f, truth);
    assert_true(chroma_is_screen(in));
    CLEANUP(av_frame_free) AVFrame *out = put(&white, in, 2);
    double iou = overlap(out, in, truth);
    print_message("# overlap before a screen: %.3f\n", iou);
    assert_true(iou > 0.97);
    int greenish = 0;
    for (int y = 0; y < H; y += 2)
        for (int x = 0; x < W; x += 2) {
            int u = uv_at(out, 1, x, y) - 128, v = uv_at(out, 2, x, y) - 128;
            greenish += u < -6 && v < -6; // both: the direction of green
            bool far = !truth[y * W + x];
            for (int k = -12; k <= 12 && far; k += 6)
                for (int j = -12; j <= 12 && far; j += 6)
                    far = x + k < 0 || x + k >= W || y + j < 0 || y + j >= H ||
                          !truth[(y + j) * W + x + k];
            if (far && (y_at(out, x, y) != 235 || abs(u) > 1 || abs(v) > 1))
                fail_msg("%d, %d: %d %d %d", x, y, y_at(out, x, y), u, v);
        }
    print_message("# %d places are greenish\n", greenish);
    assert_int_equal(greenish, 0);
    assert_int_equal(y_at(out, W / 2, H / 2), y_at(in, W / 2, H / 2));
}

static void test_no_screen(void **state)
{
    static const uint8_t skin[3] = {205, 160, 135};
    CLEANUP(av_frame_free) AVFrame *grey = scene(wall, 0, NULL);
    CLEANUP(av_frame_free) AVFrame *brown = scene(skin, 0, NULL);
    assert_false(chroma_is_screen(grey));
    assert_false(chroma_is_screen(brown));
    // Half of the rim is no screen.
    CLEANUP(av_frame_free) AVFrame *half = scene(green, 0, NULL);
    for (int y = 0; y < H / 2; y++) {
        memset(half->data[1] + y * half->linesize[1], 128, W / 4);
        memset(half->data[2] + y * half->linesize[2], 128, W / 4);
    }
    assert_false(chroma_is_screen(half));
}

// --- what comes behind

static void test_blur(void **state)
{
    static uint8_t truth[W * H];
    const struct background_params blur = {.kind = BACKGROUND_BLUR, .key = KEY_PERSON};
    CLEANUP(av_frame_free) AVFrame *in = scene(wall, 0, truth);
    // Stripes behind: they must be gone, and the face must not have run into what is beside it.
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            if (!truth[y * W + x])
                in->data[0][y * in->linesize[0] + x] = x / 4 % 2 ? 94 : 106;
    CLEANUP(av_frame_free) AVFrame *out = put(&blur, in, 1);
    for (int y = 20; y < H - 20; y += 10) {
        assert_true(abs(y_at(out, 8, y) - 100) < 6);
        assert_true(abs(y_at(out, 8, y) - y_at(out, 10, y)) < 3);
    }
    int bled = 0, n = 0;
    for (int y = H / 3; y < 2 * H / 3; y++)
        for (int x = 0; x < W / 2; x++)
            if (truth[y * W + x] && !truth[y * W + KB_MAX(x - 1, 0)])
                for (int k = 12; k < 20; k++, n++)
                    bled += abs(y_at(out, x - k, y) - 100);
    print_message("# beside the face: %.1f from what is behind\n", (double)bled / n);
    assert_true(bled < 8 * n);
    assert_int_equal(y_at(out, W / 2, H / 2), y_at(in, W / 2, H / 2));
}

// Twice as large and more: the reduced picture is half of it, with a rest.
static AVFrame *enlarged(const AVFrame *in, int width, int height)
{
    AVFrame *f = av_frame_alloc();
    av_frame_copy_props(f, in);
    f->width = width;
    f->height = height;
    f->format = AV_PIX_FMT_YUV420P;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int p = 0; p < 3; p++)
        for (int y = 0; y < height >> (p > 0); y++)
            for (int x = 0; x < width >> (p > 0); x++)
                f->data[p][y * f->linesize[p] + x] =
                    in->data[p][y * in->height / height * in->linesize[p] + x * in->width / width];
    return f;
}

// However many threads share the work, each byte is the same.
static void test_threads(void **state)
{
    static const struct background_params wants[] = {
        {.kind = BACKGROUND_BLUR, .key = KEY_PERSON},
        {.kind = BACKGROUND_COLOUR, .rgb = {255, 255, 255}},
        {.alpha = ALPHA_WEBM}};
    CLEANUP(av_frame_free) AVFrame *small = scene(green, 0.35f, NULL);
    CLEANUP(av_frame_free) AVFrame *in = enlarged(small, 3 * W + 2, 2 * H + 6);
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        CLEANUP(av_frame_free) AVFrame *one = put_by(&wants[i], in, 2, 1);
        CLEANUP(av_frame_free) AVFrame *five = put_by(&wants[i], in, 2, 5);
        for (int p = 0; p < 4 && one->data[p]; p++)
            for (int y = 0; y < in->height >> (p == 1 || p == 2); y++)
                assert_memory_equal(one->data[p] + y * one->linesize[p],
                                    five->data[p] + y * five->linesize[p],
                                    (size_t)in->width >> (p == 1 || p == 2));
    }
}

static size_t allocated(void)
{
    struct mallinfo2 all = mallinfo2();
    return all.uordblks + all.hblkhd;
}

// What so many threads take for a large film.
static size_t taken_by(int threads)
{
    CLEANUP(crew_free) struct crew *crew = crew_create(threads);
    assert_int_equal(crew_threads(crew), threads);
    size_t before = allocated();
    CLEANUP(matter_free) struct matter *m = matter_create(1920, 1080, crew);
    CLEANUP(keyer_free) struct keyer *k = keyer_create(matter_matte(m), crew);
    CLEANUP(blurrer_free) struct blurrer *b = blurrer_create(matter_matte(m), crew);
    return allocated() - before;
}

// A worker's memory is bounded, and threads may be many.
static void test_memory(void **state)
{
    size_t one = taken_by(1), five = taken_by(5);
    print_message("# a thread more: %zu KB\n", (five - one) / 4 / 1024);
    assert_true(five - one < 4 * (2u << 20));
}

// A colour in the frames' own matrix and range.
static void test_colour(void **state)
{
    static const struct {
        enum AVColorSpace space;
        enum AVColorRange range;
        int y, u, v;
    } table[] = {{AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, 63, 102, 240},
                 {AVCOL_SPC_SMPTE170M, AVCOL_RANGE_MPEG, 81, 90, 240},
                 {AVCOL_SPC_SMPTE170M, AVCOL_RANGE_JPEG, 76, 85, 255}};
    const struct background_params red = {.kind = BACKGROUND_COLOUR, .rgb = {255, 0, 0}};
    const struct finish_source source = {.threads = 1};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct kb_error err = {0};
        struct finish_picture picture = shape();
        picture.space = table[i].space;
        picture.range = table[i].range;
        CLEANUP(backdrop_close) struct backdrop *b = NULL;
        const AVFrame *f;
        assert_ok(err, backdrop_open(&b, &red, &picture, &source, &err));
        assert_ok(err, backdrop_at(b, 0, &f, &err));
        assert_int_equal(y_at(f, W - 1, H - 1), table[i].y);
        assert_int_equal(uv_at(f, 1, 0, 0), table[i].u);
        assert_int_equal(uv_at(f, 2, W - 1, H - 1), table[i].v);
    }
}

// --- what is worth the work

static void test_areas(void **state)
{
    enum { WIDTH = 2 * AREA_WIDTH + 5, HEIGHT = 40 };
    static const struct {
        int strip, y;
    } wanted[] = {{0, 3}, {0, 4}, {0, 9}, {0, 39}, {1, 0}, {2, 20}};
    static const struct box_area expected[] = {{0, 2, AREA_WIDTH, 11},
                                               {0, 38, AREA_WIDTH, 40},
                                               {AREA_WIDTH, 0, 2 * AREA_WIDTH, 2},
                                               {2 * AREA_WIDTH, 19, WIDTH, 22}};
    CLEANUP(areas_free) struct areas *a = areas_create(WIDTH, HEIGHT);
    for (int turn = 0; turn < 2; turn++) { // a second picture begins anew
        for (int y = 0; y < HEIGHT; y++) {
            uint8_t *marks = areas_row(a, y);
            for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
                if (wanted[i].y == y)
                    marks[wanted[i].strip] = 1;
        }
        areas_gather(a, 1, 3);
        assert_int_equal(a->n, ARRAY_LEN(expected));
        assert_memory_equal(a->list, expected, sizeof(expected));
    }
    for (int y = 0; y < HEIGHT; y++) // the most that there can be
        memset(areas_row(a, y), y % 2, 3);
    areas_gather(a, 0, 0);
    assert_int_equal(a->n, 3 * HEIGHT / 2);
    for (int y = 0; y < HEIGHT; y++)
        areas_row(a, y);
    areas_gather(a, 1, 3);
    assert_int_equal(a->n, 0);
}

static int64_t apart(const AVFrame *a, const AVFrame *b)
{
    int64_t sum = 0;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            sum += abs(y_at(a, x, y) - y_at(b, x, y));
    return sum;
}

// A film has its own rate, covers the frame, and begins again at its end.
static void test_film(void **state)
{
    struct kb_error err = {0};
    struct background_params film = {.kind = BACKGROUND_FILE, .path = clip_path("grid_brbk7n.mpg")};
    const struct finish_source source = {.threads = 1};
    struct finish_picture picture = shape();
    CLEANUP(backdrop_close) struct backdrop *b = NULL;
    const AVFrame *f;
    assert_ok(err, backdrop_open(&b, &film, &picture, &source, &err));
    assert_ok(err, backdrop_at(b, 0, &f, &err));
    assert_int_equal(f->width, W);
    assert_int_equal(f->height, H);
    CLEANUP(av_frame_free) AVFrame *first = av_frame_clone(f);
    assert_ok(err, backdrop_at(b, 30000, &f, &err));
    assert_int_equal(apart(first, f), 0); // not yet its second picture
    assert_ok(err, backdrop_at(b, 1500000, &f, &err));
    assert_true(apart(first, f) > W * H / 2);
    assert_ok(err, backdrop_at(b, 3000000, &f, &err)); // 75 pictures, then the first again
    assert_int_equal(apart(first, f), 0);
    assert_ok(err, backdrop_at(b, 10000, &f, &err)); // back
    assert_int_equal(apart(first, f), 0);

    film.path = "/nonexistent.png";
    CLEANUP(backdrop_close) struct backdrop *none = NULL;
    assert_fails(err, KB_NOT_FOUND, "background",
                 backdrop_open(&none, &film, &picture, &source, &err));
}

// --- transparency

static void put_picture(struct writer *w, const AVFrame *frame, int i)
{
    struct kb_error err = {0};
    CLEANUP(av_frame_free) AVFrame *f = av_frame_clone(frame);
    f->pts = i * 40000;
    FRAME_DURATION(f) = 40000;
    assert_ok(err, writer_put(w, f, &err));
}

// The first picture of a file by a decoder that knows of its alpha.
static AVFrame *read_back(const char *path, const char *decoder)
{
    AVFormatContext *in = NULL;
    AVPacket *packet = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    const AVCodec *codec = avcodec_find_decoder_by_name(decoder);
    AVCodecContext *c = avcodec_alloc_context3(codec);
    assert_int_equal(avformat_open_input(&in, path, NULL, NULL), 0);
    assert_true(avformat_find_stream_info(in, NULL) >= 0);
    int video = av_find_best_stream(in, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    assert_true(av_find_best_stream(in, AVMEDIA_TYPE_AUDIO, -1, -1, NULL, 0) >= 0);
    avcodec_parameters_to_context(c, in->streams[video]->codecpar);
    assert_int_equal(avcodec_open2(c, codec, NULL), 0);
    int e = AVERROR(EAGAIN);
    while (e == AVERROR(EAGAIN) && av_read_frame(in, packet) >= 0) {
        if (packet->stream_index == video && avcodec_send_packet(c, packet) >= 0)
            e = avcodec_receive_frame(c, f);
        av_packet_unref(packet);
    }
    if (e == AVERROR(EAGAIN) && avcodec_send_packet(c, NULL) >= 0)
        e = avcodec_receive_frame(c, f);
    assert_int_equal(e, 0);
    avcodec_free_context(&c);
    avformat_close_input(&in);
    av_packet_free(&packet);
    return f;
}

// Alpha of a picture, 0..1.
static double alpha_at(const AVFrame *f, int x, int y)
{
    const uint8_t *row = f->data[3] + y * f->linesize[3];
    if (f->format == AV_PIX_FMT_YUVA420P)
        return row[x] / 255.0;
    uint16_t value;
    memcpy(&value, row + 2 * x, sizeof(value));
    return value / (f->format == AV_PIX_FMT_YUVA444P10LE ? 1023.0 : 4095.0);
}

// The mean square of a file's sound, by its second channel.
static double power_of(const char *path, double from_s)
{
    struct kb_error err = {0};
    CLEANUP(sound_close) struct sound *s = NULL;
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    const struct sound_params p = {.rate_hz = 48000, .channels = 2, .format = AV_SAMPLE_FMT_FLTP};
    double sum = 0;
    int n = 0, at = 0, first = (int)(from_s * 48000), last = first + 300 * 48;
    assert_ok(err, sound_open(&s, path, &p, &err));
    while (at < last && sound_next(s, f, &err) == KB_OK) {
        for (int i = 0; i < f->nb_samples; i++, at++) {
            double v = (double)((const float *)f->extended_data[1])[i];
            if (at >= first && at < last)
                sum += v * v, n++;
        }
        av_frame_unref(f);
    }
    return n > 0 ? sum / n : 0;
}

// The bytes of its only packet of subtitles.
static void assert_subtitle(const char *path, const char *want, size_t n)
{
    AVFormatContext *in = NULL;
    AVPacket *packet = av_packet_alloc();
    bool seen = false;
    assert_int_equal(avformat_open_input(&in, path, NULL, NULL), 0);
    assert_true(avformat_find_stream_info(in, NULL) >= 0);
    int stream = av_find_best_stream(in, AVMEDIA_TYPE_SUBTITLE, -1, -1, NULL, 0);
    assert_true(stream >= 0);
    for (; !seen && av_read_frame(in, packet) >= 0; av_packet_unref(packet)) {
        if (packet->stream_index != stream || packet->size < 3) // gaps of mov are empty
            continue;
        assert_int_equal(packet->size, n);
        assert_memory_equal(packet->data, want, n);
        seen = true;
    }
    assert_true(seen);
    avformat_close_input(&in);
    av_packet_free(&packet);
}

static void test_alpha(void **state)
{
    static const struct {
        enum background_alpha alpha;
        const char *name, *decoder, *cue;
        size_t n;
    } table[] = {
        {ALPHA_WEBM, "a.webm", "libvpx-vp9", "1 &lt; 2 &amp;\nnever --&gt;", 27},
        {ALPHA_MOV, "a.mov", "prores",
         "\0\022"
         "1 < 2 &\n\nnever -->",
         20},
    };
    static struct subtitle cue = {
        .start_us = 40000, .end_us = 200000, .text = "1 < 2 &\n\nnever -->"};
    static const struct subtitle_track track = {.at = &cue, .n = 1};
    CLEANUP(place_end) char *folder = NULL;
    struct kb_error err = {0};
    assert_ok(err, place_make(&folder, "koubo-test", &err));
    CLEANUP(av_frame_free) AVFrame *in = scene(green, 0, NULL);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct background_params clear = {.alpha = table[i].alpha};
        av_buffer_unref(&in->opaque_ref);
        in->opaque_ref = av_buffer_alloc(64); // as of a film whose ten bits are kept
        CLEANUP(av_frame_free) AVFrame *out = put(&clear, in, 1);
        assert_null(out->opaque_ref); // none that would belong to a yuva picture
        CLEANUP(kb_freep) char *path = kb_printf("%s/%s", folder, table[i].name);
        const struct mix_params mix = {.pieces = {{.path = clip_path("grid_brbk7n.mpg"),
                                                   .from_us = 700000,
                                                   .length_us = 400000}},
                                       .n_pieces = 1};
        CLEANUP(writer_close) struct writer *w = NULL;
        const struct writer_params wp = {.width = W,
                                         .height = H,
                                         .alpha = true,
                                         .frame_rate = {25, 1},
                                         .range = AVCOL_RANGE_MPEG,
                                         .space = AVCOL_SPC_SMPTE170M,
                                         .crf = 18,
                                         .mix = &mix,
                                         .subtitles = &track,
                                         .n_subtitles = 1,
                                         .max_duration_us = 400000};
        assert_int_equal(out->format, AV_PIX_FMT_YUVA420P);
        assert_ok(err, writer_open(&w, path, &wp, &err));
        for (int k = 0; k < 10; k++)
            put_picture(w, out, k);
        assert_ok(err, writer_finish(w, &err));
        double louder =
            10 * log10(power_of(path, 0.05) / power_of(clip_path("grid_brbk7n.mpg"), 0.75));
        if (!(fabs(louder) < 1))
            fail_msg("%s: %.1f dB", table[i].name, louder);
        assert_subtitle(path, table[i].cue, table[i].n);
        CLEANUP(av_frame_free) AVFrame *back = read_back(path, table[i].decoder);
        assert_int_equal(back->width, W);
        assert_true(alpha_at(back, W / 2, H / 2) > 0.98);
        assert_true(alpha_at(back, 5, 5) < 0.02);
        assert_true(alpha_at(back, W - 5, H / 2) < 0.02);
        unlink(path);
    }
    // A format that keeps no alpha says so.
    CLEANUP(kb_freep) char *path = kb_printf("%s/a.mp4", folder);
    CLEANUP(writer_close) struct writer *w = NULL;
    const struct writer_params wp = {
        .width = W, .height = H, .alpha = true, .frame_rate = {25, 1}, .crf = 18};
    assert_fails(err, KB_BAD_INPUT, ".webm or .mov", writer_open(&w, path, &wp, &err));
}

static void test_words(void **state)
{
    struct background_params p = {0};
    assert_true(background_parse("#00b140", &p));
    assert_int_equal(p.kind, BACKGROUND_COLOUR);
    assert_memory_equal(p.rgb, "\x00\xb1\x40", 3);
    assert_true(background_parse("FFffFE", &p));
    assert_memory_equal(p.rgb, "\xff\xff\xfe", 3);
    assert_true(background_parse("blur", &p) && p.kind == BACKGROUND_BLUR);
    assert_true(background_parse("none", &p) && p.kind == BACKGROUND_AS_IT_IS);
    static const char *const others[] = {"", "#", "#00b14", "#00b1400", "#00b14g", "green.png"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(background_parse(others[i], &p));
    assert_true(background_key_parse("blue", &p.key) && p.key == KEY_BLUE);
    assert_false(background_key_parse("red", &p.key));
    assert_true(background_alpha_parse("none", &p.alpha) && p.alpha == ALPHA_NONE);
    assert_true(background_alpha_parse("mov", &p.alpha) && p.alpha == ALPHA_MOV);
    assert_false(background_alpha_parse("mp4", &p.alpha));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),     cmocka_unit_test(test_means),
        cmocka_unit_test(test_person),    cmocka_unit_test(test_screen),
        cmocka_unit_test(test_no_screen), cmocka_unit_test(test_blur),
        cmocka_unit_test(test_colour),    cmocka_unit_test(test_film),
        cmocka_unit_test(test_alpha),     cmocka_unit_test(test_areas),
        cmocka_unit_test(test_threads),   cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
