// The small picture of a film.
#include "tests/test.h"

#include "base/file.h"
#include "base/place.h"
#include "media/reader.h"
#include "media/writer.h"
#include "worker/thumbnail.h"

#define W 320
#define H 240

// Nothing, of a hidden black, and a grey person in the middle.
static AVFrame *make_picture(void)
{
    AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUVA420P;
    f->width = W;
    f->height = H;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int p = 0; p < 4; p++) {
        int half = p == 1 || p == 2;
        for (int y = 0; y < H >> half; y++)
            memset(f->data[p] + y * f->linesize[p],
                   half     ? 128
                   : p == 0 ? 16
                            : 0,
                   (size_t)(W >> half));
    }
    for (int y = H / 4; y < 3 * H / 4; y++)
        for (int p = 0; p < 4; p += 3)
            memset(f->data[p] + y * f->linesize[p] + W / 4, p == 0 ? 100 : 255, W / 2);
    return f;
}

static void write_film(const char *path)
{
    struct kb_error err = {0};
    CLEANUP(av_frame_free) AVFrame *f = make_picture();
    struct writer *w = NULL;
    const struct writer_params p = {.width = W,
                                    .height = H,
                                    .alpha = true,
                                    .frame_rate = {25, 1},
                                    .range = AVCOL_RANGE_MPEG,
                                    .space = AVCOL_SPC_BT709,
                                    .primaries = AVCOL_PRI_BT709,
                                    .transfer = AVCOL_TRC_BT709,
                                    .crf = 18};
    assert_ok(err, writer_open(&w, path, &p, &err));
    for (int i = 0; i < 3; i++) {
        f->pts = i * 40000;
        FRAME_DURATION(f) = 40000;
        assert_ok(err, writer_put(w, f, &err));
    }
    assert_ok(err, writer_finish(w, &err));
    writer_close(&w);
}

static int luma(const AVFrame *f, int x, int y)
{
    return f->data[0][y * f->linesize[0] + x];
}

// Where nothing is, squares of eleven pixels are grey and white, whatever the file has there.
static void what_is_transparent_is_chequered(void **state)
{
    static const char *const endings[] = {"webm", "mov"};
    struct kb_error err = {0};
    CLEANUP(place_end) char *folder = NULL;
    assert_ok(err, place_make(&folder, "koubo-test", &err));
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        CLEANUP(kb_freep) char *film = kb_printf("%s/a.%s", folder, endings[i]);
        CLEANUP(kb_freep) char *jpeg = kb_printf("%s/a.jpg", folder);
        CLEANUP(reader_close) struct reader *r = NULL;
        CLEANUP(av_frame_free) AVFrame *f = NULL;
        write_film(film);
        assert_ok(err, thumbnail_of_video(film, 40000, jpeg, NULL, &err));
        assert_ok(err, reader_open(&r, jpeg, &(struct reader_params){0}, &err));
        assert_ok(err, reader_next(r, &f, &err));
        assert_int_equal(f->width, W);
        for (int y = 0; y < 5; y++)
            for (int x = 0; x < 5; x++) {
                int wanted = (x + y) % 2 ? 255 : 215;
                assert_in_range(luma(f, 11 * x + 5, 11 * y + 5), wanted - 14, wanted + 14);
            }
        assert_in_range(luma(f, W / 2, H / 2), 92, 104); // 100 of 16 to 235 is 98 of 255
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_transparent_is_chequered),
    };
    return cmocka_run_group_tests_name("worker/thumbnail", tests, NULL, NULL);
}
