// The AI label from the command line: seen in the picture, read in the file, put into others'
// films.
#include "tests/cli/program.h"

#include "media/reader.h"

#include <jansson.h>

// The luma of the first picture; free() it.
static uint8_t *first_picture(const char *path, int *ret_width, int *ret_height)
{
    struct kb_error err = {0};
    CLEANUP(reader_close) struct reader *r = NULL;
    CLEANUP(av_frame_free) AVFrame *f = NULL;
    assert_ok(err, reader_open(&r, path, &(struct reader_params){0}, &err));
    assert_ok(err, reader_next(r, &f, &err));
    *ret_width = f->width;
    *ret_height = f->height;
    uint8_t *ret = kb_alloc((size_t)f->width * (size_t)f->height);
    for (int y = 0; y < f->height; y++)
        memcpy(ret + (size_t)y * (size_t)f->width, f->data[0] + (ptrdiff_t)y * f->linesize[0],
               (size_t)f->width);
    return ret;
}

// How much two pictures differ in a part of them, in the mean.
static double difference(const uint8_t *a, const uint8_t *b, int width, int left, int top,
                         int right, int bottom)
{
    double sum = 0;
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++)
            sum += abs(a[y * width + x] - b[y * width + x]);
    return sum / ((right - left) * (double)(bottom - top));
}

static json_t *said_of(const char *path, int status)
{
    struct outcome r = {0};
    RUN(&r, "label", "--json", path);
    assert_status(&r, status);
    json_t *json = json_loads(r.out, 0, NULL);
    assert_true(json_is_object(json));
    free(r.out);
    free(r.err);
    return json;
}

static void make(const char *lang, const char *show, const char *output, const char *warning)
{
    struct outcome r = {0};
    const char *arguments[24] = {"generate",
                                 "--lang",
                                 lang,
                                 "-a",
                                 make_tone("tone.wav", 1),
                                 "-i",
                                 person(),
                                 "-o",
                                 output,
                                 "-y",
                                 "-q",
                                 "--duration",
                                 "0.2",
                                 "--ai-producer",
                                 "X1"};
    if (show) {
        arguments[15] = "--ai-label";
        arguments[16] = show;
    }
    program_run(&r, arguments);
    assert_status(&r, 0);
    if (warning)
        assert_says(r.err, warning);
    else
        assert_string_equal(r.err, "");
    free(r.out);
    free(r.err);
}

// In Chinese the corner has it unless told otherwise, and then it is said who is liable; in English
// nothing has. The file says in any case that AI made it.
static void drawn_by_language(void **state)
{
    make("en", NULL, in_folder("en.mp4"), NULL);
    make("zh", NULL, in_folder("zh.mp4"), NULL);
    make("zh", "off", in_folder("off.mp4"), "第九条");
    int w, h;
    CLEANUP(kb_freep) uint8_t *en = first_picture(in_folder("en.mp4"), &w, &h);
    CLEANUP(kb_freep) uint8_t *zh = first_picture(in_folder("zh.mp4"), &w, &h);
    CLEANUP(kb_freep) uint8_t *off = first_picture(in_folder("off.mp4"), &w, &h);
    assert_true(difference(en, zh, w, w * 3 / 100, h * 3 / 100, w / 5, h / 10) > 20);
    assert_true(difference(en, zh, w, w / 2, h / 2, w, h) < 1);
    assert_true(difference(en, off, w, 0, 0, w, h) < 0.01);

    json_auto_t *drawn = said_of(in_folder("zh.mp4"), 0), *plain = said_of(in_folder("en.mp4"), 0);
    json_t *label = json_object_get(plain, "label");
    assert_string_equal(json_string_value(json_object_get(label, "Label")), "1");
    assert_string_equal(json_string_value(json_object_get(label, "ContentProducer")), "X1");
    assert_true(json_is_null(json_object_get(plain, "visible")));
    assert_string_equal(json_string_value(json_object_get(drawn, "visible")), "corner AI生成");
    const char *a = json_string_value(json_object_get(label, "ProduceID"));
    const char *b =
        json_string_value(json_object_get(json_object_get(drawn, "label"), "ProduceID"));
    assert_string_not_equal(a, b); // each result has its own
}

static void into_a_finished_film(void **state)
{
    struct outcome r = {0};
    const char *film = make_faceless_video("film.mp4", 5);
    json_auto_t *before = said_of(film, 6);
    assert_true(json_is_null(json_object_get(before, "label")));
    RUN(&r, "label", "--add", film, "-o", in_folder("added.mp4"), "--ai-producer", "X2",
        "--produce-id", "N7");
    assert_status(&r, 0);
    json_auto_t *after = said_of(in_folder("added.mp4"), 0);
    json_t *label = json_object_get(after, "label");
    assert_string_equal(json_string_value(json_object_get(label, "ContentProducer")), "X2");
    assert_string_equal(json_string_value(json_object_get(label, "ProduceID")), "N7");
    RUN(&r, "label", in_folder("added.mp4"), film);
    assert_status(&r, 6); // one of them has none
    assert_says(r.out, "N7");
    assert_says(r.out, "none");
    RUN(&r, "label", "--add", in_folder("added.mp4"), "-o", in_folder("again.mp4"));
    assert_status(&r, 3);
    assert_says(r.err, "by X2");
    RUN(&r, "label", "--add", film, "-o", film, "-y");
    assert_status(&r, 3);
    RUN(&r, "label", make_text_file("text.mp4", "no film"));
    assert_status(&r, 3);
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

static void refused(void **state)
{
    static const struct {
        const char *option, *value, *says;
    } cases[] = {
        {"--ai-label", "on", "off, corner, start, both"},
        {"--ai-label-text", "hello", "GB 45438"},
        {"--ai-label-place", "middle", "top-left"},
        {"--ai-label-opacity", "0.5", "0.6"},
        {"--ai-producer", "", "one line"},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        RUN(&r, "generate", "-a", "a.wav", "-i", "b.mp4", "-o", "c.mp4", cases[i].option,
            cases[i].value);
        assert_status(&r, 2);
        assert_says(r.err, cases[i].says);
    }
    RUN(&r, "label");
    assert_status(&r, 2);
    RUN(&r, "label", "--add", "a.mp4");
    assert_status(&r, 2);
    RUN(&r, "label", "a.mp4", "--ai-producer", "x");
    assert_status(&r, 2);
    free(r.out);
    free(r.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drawn_by_language),
        cmocka_unit_test(into_a_finished_film),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("cli/label", tests, folder_setup, folder_teardown);
}
