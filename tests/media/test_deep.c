// Ten bits from the film into the output: what nobody draws on is kept to the last bit.
#include "films.h"

#include "media/deep.h"
#include "media/writer.h"

#define W 64
#define H 48
#define N 5

// A film whose low bits matter, and its pictures as FFmpeg's program decodes them.
static const char *make_ten(char **ret_raw)
{
    size_t size;
    const char *path = make_file(
        "ten.mkv", "-f lavfi -i gradients=s=64x48:r=25:d=0.2:seed=3 -vf format=gbrp10le,scale=out_"
                   "color_matrix=bt2020,format=yuv420p10le -c:v ffv1 -color_trc arib-std-b67 "
                   "-color_primaries bt2020 -colorspace bt2020nc -color_range tv");
    char options[700];
    snprintf(options, sizeof(options), "-i %s -f rawvideo -pix_fmt yuv420p10le", path);
    *ret_raw = load_bytes(make_file("ten.raw", options), &size);
    assert_int_equal(size, N * W * H * 3);
    return path;
}

static int ten_of(const AVFrame *f, int p, int x, int y)
{
    return ((const uint16_t *)(f->data[p] + (ptrdiff_t)y * f->linesize[p]))[x];
}

static void test_round(void **state)
{
    CLEANUP(kb_freep) char *raw = NULL;
    const uint16_t *wanted;
    struct kb_error err = {0};
    CLEANUP(reader_close)
    struct reader *r = open_ok(make_ten(&raw), &(struct reader_params){.deep = true});
    const struct reader_info *info = reader_info(r);
    assert_true(info->deep);
    assert_int_equal(info->transfer, AVCOL_TRC_ARIB_STD_B67);
    struct writer_params wp = {.width = W,
                               .height = H,
                               .deep = true,
                               .frame_rate = {25, 1},
                               .crf = 10,
                               .threads = 1,
                               .range = info->range,
                               .space = info->space,
                               .primaries = info->primaries,
                               .transfer = info->transfer};
    const char *out = make_path("out.mp4");
    CLEANUP(writer_close) struct writer *w = NULL;
    assert_ok(err, writer_open(&w, out, &wp, &err));
    int low = 0; // samples with something in their two lowest bits
    for (int i = 0; i < N; i++) {
        CLEANUP(av_frame_free) AVFrame *read = NULL, *joined = av_frame_alloc();
        assert_ok(err, reader_next(r, &read, &err));
        assert_int_equal(read->format, AV_PIX_FMT_YUV420P);
        CLEANUP(av_frame_free) AVFrame *f = av_frame_clone(read); // as pieces of a picture are
        assert_int_equal(av_frame_make_writable(f), 0);
        for (int y = 8; y < 16; y++)
            for (int x = 8; x < 16; x++)
                f->data[0][y * f->linesize[0] + x] += 10;
        assert_int_equal(deep_join(f, joined), 0);
        wanted = (const uint16_t *)raw + (ptrdiff_t)i * W * H * 3 / 2;
        for (int p = 0; p < 3; p++)
            for (int y = 0; y < H >> (p > 0); y++)
                for (int x = 0; x < W >> (p > 0); x++) {
                    bool drawn = p == 0 && x >= 8 && x < 16 && y >= 8 && y < 16;
                    assert_int_equal(ten_of(joined, p, x, y), *wanted + (drawn ? 40 : 0));
                    low += *wanted++ % 4 != 0;
                }
        assert_ok(err, writer_put(w, f, &err));
    }
    assert_true(low > N * W * H / 2);
    assert_ok(err, writer_finish(w, &err));
    CLEANUP(kb_freep)
    char *text = probe(out, "v", "stream=profile,codec_tag_string,pix_fmt,color_transfer");
    assert_string_equal(text, "Main 10\nhvc1\nyuv420p10le\narib-std-b67\n");
}

// Of a film of eight bits there is nothing more to keep, and a writer of ten does not take it.
static void test_eight(void **state)
{
    struct kb_error err = {0};
    CLEANUP(reader_close)
    struct reader *r = open_ok(film(0), &(struct reader_params){.deep = true});
    assert_false(reader_info(r)->deep);
    CLEANUP(av_frame_free) AVFrame *f = NULL, *joined = av_frame_alloc();
    assert_ok(err, reader_next(r, &f, &err));
    assert_int_equal(deep_join(f, joined), AVERROR_INVALIDDATA);
    CLEANUP(writer_close) struct writer *w = NULL;
    struct writer_params wp = {
        .width = 320, .height = 240, .deep = true, .frame_rate = {25, 1}, .threads = 1};
    assert_ok(err, writer_open(&w, make_path("eight.mp4"), &wp, &err));
    assert_int_equal(writer_put(w, f, &err), KB_INTERNAL);
}

// Scaled, and with bars where the film changes its size.
static void test_shapes(void **state)
{
    static const char *const sizes[] = {"64x48", "64x96"};
    char *all = NULL;
    size_t size = 0;
    for (int i = 0; i < 2; i++) {
        char options[300];
        size_t more;
        snprintf(options, sizeof(options),
                 "-f lavfi -i color=white:s=%s:r=25:d=0.2 -pix_fmt yuv420p10le -c:v libx264 "
                 "-muxdelay 0",
                 sizes[i]);
        CLEANUP(kb_freep) char *data = load_bytes(make_file("piece.ts", options), &more);
        all = realloc(all, size + more);
        assert_non_null(all);
        memcpy(all + size, data, more);
        size += more;
    }
    const char *path = make_bytes("sizes.ts", all, size);
    free(all);
    CLEANUP(reader_close)
    struct reader *r = open_ok(path, &(struct reader_params){.deep = true, .height = 24});
    for (int i = 0; i < 2 * N; i++) {
        struct kb_error err = {0};
        CLEANUP(av_frame_free) AVFrame *f = NULL, *joined = av_frame_alloc();
        assert_ok(err, reader_next(r, &f, &err));
        assert_int_equal(deep_join(f, joined), 0);
        assert_true(joined->width == 32 && joined->height == 24);
        assert_in_range(ten_of(joined, 0, 16, 12), 936, 944);
        assert_in_range(ten_of(joined, 0, 2, 12), i < N ? 936 : 64, i < N ? 944 : 64);
        assert_in_range(ten_of(joined, 1, 1, 6), 510, 514);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_eight),
        cmocka_unit_test(test_shapes),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
