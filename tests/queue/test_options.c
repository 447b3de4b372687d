// The options of a batch as JSON.
#include "tests/test.h"

#include "base/file.h"
#include "queue/options.h"

#include <sys/stat.h>
#include <unistd.h>

static void test_defaults(void **state)
{
    static const char *const same[] = {NULL, "", "{}", "{\"crf\":null,\"model\":null}",
                                       "{\"model\":\"koubo-lips-research\"}"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        struct batch_options o = {0};
        struct kb_error err = {0};
        assert_ok(err, batch_options_parse(same[i], &o, &err));
        struct dub_params d = dub_defaults();
        assert_null(o.model);
        assert_int_equal(o.n_materials, 0);
        assert_int_equal(o.precision, PRECISION_AUTO);
        assert_memory_equal(&o.dub, &d, sizeof(d));
        batch_options_free(&o);
        batch_options_free(&o); // twice is fine
    }
}

static void test_all(void **state)
{
    (void)state;
    struct batch_options o = {0};
    struct kb_error err = {0};
    const char *json = "{\"precision\":\"f32\",\"face\":\"left\",\"loop\":\"restart\","
                       "\"keep_video\":true,\"start\":1.5,\"duration\":2,\"height\":720,"
                       "\"denoise\":true,\"loudnorm\":true,\"crf\":23,\"preset\":\"slow\","
                       "\"pads\":[0,10,-3,4],\"nosmooth\":true,\"mask_feather\":0.25,"
                       "\"mask_dilate\":0,\"sharpen\":5,\"mouth_amount\":3,\"still_motion\":0,"
                       "\"paint\":true,\"mouth_from\":\"a1\",\"hdr\":\"keep\"}";
    assert_ok(err, batch_options_parse(json, &o, &err));
    assert_int_equal(o.precision, PRECISION_F32);
    assert_int_equal(o.dub.face, FACE_LEFT);
    assert_int_equal(o.dub.loop, LOOP_RESTART);
    assert_true(o.dub.keep_video && o.dub.denoise && o.dub.loudnorm && o.dub.nosmooth);
    assert_int_equal(o.dub.start_us, 1500000);
    assert_int_equal(o.dub.duration_us, 2000000);
    assert_int_equal(o.dub.height, 720);
    assert_int_equal(o.dub.crf, 23);
    assert_string_equal(o.dub.preset, "slow");
    assert_true(o.dub.keep_deep);
    static const int pads[4] = {0, 10, -3, 4};
    assert_memory_equal(o.dub.pads, pads, sizeof(pads));
    assert_true(o.dub.pads_set);
    assert_true(o.dub.mask_feather == 0.25f && o.dub.mask_dilate == 0 && o.dub.sharpen == 5);
    assert_int_equal(o.n_materials, 1);
    assert_string_equal(o.materials[0].role->name, "mouth_from");
    assert_string_equal(o.materials[0].asset, "a1");
    assert_true(o.dub.mouth_amount == 3 && o.dub.still_motion == 0 && !o.dub.lead);
    batch_options_free(&o);

    assert_ok(err, batch_options_parse("{\"alpha\":\"mov\",\"background\":\"none\"}", &o, &err));
    assert_int_equal(o.dub.finish.background.alpha, ALPHA_MOV);
    batch_options_free(&o);
    assert_string_equal(batch_options_ending("{\"alpha\":\"mov\"}"), ".mov");
    assert_string_equal(batch_options_ending("{\"alpha\":\"webm\"}"), ".webm");
    assert_string_equal(batch_options_ending("{\"alpha\":null}"), ".mp4");
    assert_string_equal(batch_options_ending("{"), ".mp4");
    assert_string_equal(batch_options_ending(NULL), ".mp4");

    json = "{\"crop\":\"9:16\",\"crop_zoom\":1.5,\"logo\":\"l1\",\"logo_place\":\"bottom-left\","
           "\"logo_size\":0.25,\"logo_opacity\":0.5,\"intro\":\"i1\",\"outro\":\"i1\","
           "\"music\":\"m1\",\"music_volume\":0.25,\"music_duck\":false}";
    assert_ok(err, batch_options_parse(json, &o, &err));
    assert_int_equal(o.dub.finish.reframe.width, 9);
    assert_int_equal(o.dub.finish.reframe.height, 16);
    assert_true(o.dub.finish.reframe.zoom == 1.5f);
    assert_int_equal(o.dub.finish.logo.place, LOGO_BOTTOM_LEFT);
    assert_true(o.dub.finish.logo.size == 0.25f && o.dub.finish.logo.opacity == 0.5f);
    assert_true(o.dub.music.volume == 0.25f && o.dub.music.steady);
    assert_int_equal(o.n_materials, 4);
    static const char *const roles[] = {"logo", "intro", "outro", "music"};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(o.materials[i].role->name, roles[i]);
        material_put(o.materials[i].role, &o.dub, roles[i], NULL);
    }
    assert_string_equal(o.dub.finish.logo.path, "logo");
    assert_string_equal(o.dub.intro, "intro");
    assert_string_equal(o.dub.outro, "outro");
    assert_string_equal(o.dub.music.path, "music");
    batch_options_free(&o);

    assert_ok(err, batch_options_parse("{\"bitrate\":\"source\",\"face\":3}", &o, &err));
    assert_true(o.dub.bitrate_source);
    assert_int_equal(o.dub.face, FACE_NUMBER);
    assert_int_equal(o.dub.face_number, 3);
    batch_options_free(&o);
    assert_ok(err, batch_options_parse("{\"face\":\"12\"}", &o, &err));
    assert_int_equal(o.dub.face_number, 12);
    batch_options_free(&o);
    assert_ok(err, batch_options_parse("{\"style_from\":\"a2\"}", &o, &err));
    assert_string_equal(o.materials[0].role->name, "style_from");
    assert_string_equal(o.materials[0].asset, "a2");
    assert_false(o.dub.no_style);
    batch_options_free(&o);
    assert_ok(err, batch_options_parse("{\"style_from\":\"no\"}", &o, &err));
    assert_true(o.dub.no_style && o.n_materials == 0);
    batch_options_free(&o);
    assert_ok(err, batch_options_parse("{\"style_from\":\"self\"}", &o, &err));
    assert_true(!o.dub.no_style && o.n_materials == 0);
    batch_options_free(&o);
}

static void test_refused(void **state)
{
    static const struct {
        const char *json, *sentence;
    } cases[] = {
        {"{", "line 1"},
        {"[]", "object"},
        {"7", "JSON"},
        {"{} x", "JSON"},
        {"{\"a\":1}", "no option 'a'"},
        {"{\"crf\":1,\"crf\":2}", "JSON"},
        {"{\"crf\":52}", "from 0 to 51"},
        {"{\"crf\":-1}", "from 0 to 51"},
        {"{\"crf\":\"20\"}", "crf"},
        {"{\"crf\":20.0}", "crf"},
        {"{\"crf\":99999999999999}", "crf"},
        {"{\"crf\":20,\"bitrate\":\"source\"}", "exclude"},
        {"{\"bitrate\":\"5M\"}", "source"},
        {"{\"alpha\":\"mp4\"}", "none, webm, mov"},
        {"{\"alpha\":true}", "none, webm, mov"},
        {"{\"alpha\":\"webm\",\"background\":\"blur\"}", "'alpha' and 'background' exclude"},
        {"{\"preset\":\"warp\"}", "ultrafast, superfast"},
        {"{\"preset\":[]}", "preset"},
        {"{\"hdr\":\"on\"}", "sdr, keep"},
        {"{\"keep_video\":1}", "true or false"},
        {"{\"start\":-1}", "start"},
        {"{\"start\":1e99}", "start"},
        {"{\"start\":\"1\"}", "start"},
        {"{\"duration\":0}", "more than 0"},
        {"{\"height\":63}", "from 64 to 16384"},
        {"{\"height\":16385}", "from 64 to 16384"},
        {"{\"pads\":[1,2,3]}", "four"},
        {"{\"pads\":[1,2,3,4,5]}", "four"},
        {"{\"pads\":[1,2,3,10001]}", "four"},
        {"{\"pads\":[1,2,3,\"4\"]}", "four"},
        {"{\"pads\":{}}", "four"},
        {"{\"mask_feather\":1.01}", "from 0 to 1"},
        {"{\"mask_dilate\":-0.1}", "from 0 to 1"},
        {"{\"sharpen\":5.1}", "from 0 to 5"},
        {"{\"mouth_amount\":3.1}", "from 0 to 3"},
        {"{\"mouth_amount\":\"1\"}", "mouth_amount"},
        {"{\"still_motion\":1.1}", "from 0 to 1"},
        {"{\"still_motion\":-0.1}", "from 0 to 1"},
        {"{\"ai_label\":true}", "off, corner, start, both"},
        {"{\"ai_label\":\"middle\"}", "off, corner, start, both"},
        {"{\"ai_label_place\":\"left\"}", "top-left"},
        {"{\"ai_label_opacity\":0.59}", "from 0.6 to 1"},
        {"{\"ai_label_text\":\"hello\"}", "GB 45438"},
        {"{\"ai_label_text\":7}", "GB 45438"},
        {"{\"ai_producer\":\"\"}", "one line"},
        {"{\"ai_producer\":\"a\\nb\"}", "one line"},
        {"{\"mouth_from\":\"\"}", "uploaded video"},
        {"{\"mouth_from\":7}", "uploaded video"},
        {"{\"style_from\":\"\"}", "self, no, or the id"},
        {"{\"style_from\":false}", "self, no, or the id"},
        {"{\"paint\":0}", "true or false"},
        {"{\"crop\":\"9x16\"}", "9:16"},
        {"{\"crop\":\"1:5\"}", "1 to 4"},
        {"{\"crop_zoom\":0.5}", "from 1 to 3"},
        {"{\"logo\":1}", "uploaded picture"},
        {"{\"logo_place\":\"middle\"}", "top-right"},
        {"{\"logo_size\":0.6}", "0.5"},
        {"{\"logo_opacity\":0}", "0.05"},
        {"{\"intro\":\"\"}", "uploaded video or picture"},
        {"{\"outro\":false}", "uploaded video or picture"},
        {"{\"music\":{}}", "uploaded sound"},
        {"{\"music_volume\":2}", "from 0 to 1"},
        {"{\"music_duck\":\"no\"}", "true or false"},
        {"{\"paint\":false}", "'paint' is for Wav2Lip"},
        {"{\"model\":\"koubo-lips-research\",\"paint\":false}", "'paint' is for Wav2Lip"},
        {"{\"face\":\"nobody\"}", "largest"},
        {"{\"face\":0}", "largest"},
        {"{\"face\":1.5}", "largest"},
        {"{\"face\":[]}", "largest"},
        {"{\"loop\":\"x\"}", "pingpong"},
        {"{\"loop\":0}", "pingpong"},
        {"{\"precision\":\"int4\"}", "auto"},
        {"{\"model\":\"\"}", "not a path"},
        {"{\"model\":7}", "not a path"},
        {"{\"model\":\"../../etc/passwd\"}", "not a path"},
        {"{\"model\":\"/etc/passwd\"}", "not a path"},
        {"{\"model\":\".hidden\"}", "not a path"},
        {"{\"model\":\"nothing\"}", "no model 'nothing'"},
        {"{\"model\":\"README.md\"}", "no model 'README.md'"},
        {"{\"model\":\"nothing.pth\"}", "no model 'nothing.pth'"},
        {"{\"model\":\"a\\u0000b\"}", "JSON"},
        {"{\"\xff\":1}", "JSON"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct batch_options o = {.model = "untouched"};
        struct kb_error err = {0};
        assert_fails(err, KB_BAD_INPUT, cases[i].sentence,
                     batch_options_parse(cases[i].json, &o, &err));
        assert_string_equal(o.model, "untouched");
    }
    CLEANUP(kb_freep) char *huge = kb_alloc(200001);
    memset(huge, ' ', 200000);
    struct batch_options o = {0};
    struct kb_error err = {0};
    assert_fails(err, KB_BAD_INPUT, "too long", batch_options_parse(huge, &o, &err));
    memset(huge, '[', 60000); // deep
    huge[60000] = '\0';
    assert_fails(err, KB_BAD_INPUT, "JSON", batch_options_parse(huge, &o, &err));
}

// Names of files in the models folder.
static void test_models(void **state)
{
    (void)state;
    const char *temporary = getenv("TMPDIR"), *before = getenv("KOUBO_MODELS");
    CLEANUP(kb_freep) char *kept = kb_strdup(before);
    CLEANUP(kb_freep)
    char *folder = kb_printf("%s/koubo-options-XXXXXX", temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(folder));
    setenv("KOUBO_MODELS", folder, 1);
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *checkpoint = path_join(folder, "wav2lip_gan.pth");
    CLEANUP(kb_freep) char *own = path_join(folder, "my-lips.safetensors");
    assert_ok(err, file_write_atomic(checkpoint, "x", 1, &err));
    assert_ok(err, file_write_atomic(own, "x", 1, &err));
    const struct {
        const char *json, *path;
        bool lead;
    } cases[] = {
        {"{\"model\":\"wav2lip_gan.pth\"}", checkpoint, false},
        {"{\"paint\":false,\"model\":\"wav2lip_gan.pth\"}", checkpoint, true},
        {"{\"model\":\"my-lips\"}", own, false},
        {"{\"model\":\"my-lips.safetensors\"}", own, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct batch_options o = {0};
        assert_ok(err, batch_options_parse(cases[i].json, &o, &err));
        assert_string_equal(o.model, cases[i].path);
        assert_int_equal(o.dub.lead, cases[i].lead);
        batch_options_free(&o);
    }
    unlink(checkpoint);
    unlink(own);
    rmdir(folder);
    if (kept)
        setenv("KOUBO_MODELS", kept, 1);
    else
        unsetenv("KOUBO_MODELS");
}

static void test_label(void **state)
{
    struct batch_options o = {0};
    struct kb_error err = {0};
    assert_ok(err, batch_options_parse("{\"ai_label\":\"both\",\"ai_label_place\":\"bottom-right\","
                                       "\"ai_label_opacity\":0.75,\"ai_producer\":\"X1\","
                                       "\"ai_label_text\":\"本视频由AI合成\"}",
                                       &o, &err));
    const struct label_params *p = &o.dub.finish.label;
    assert_true(p->show == LABEL_BOTH && p->place == LABEL_BOTTOM_RIGHT && p->opacity == 0.75f);
    assert_string_equal(p->text, "本视频由AI合成");
    assert_string_equal(p->producer, "X1");
    batch_options_free(&o);
    assert_ok(err, batch_options_parse("{}", &o, &err));
    assert_int_equal(o.dub.finish.label.show, LABEL_OFF);
    batch_options_free(&o);
}

// What a server adds: only what is not said.
static void test_subtitles(void **state)
{
    static const char *const bad[] = {
        "{\"subtitles\":[{\"begin\":2,\"end\":1,\"text\":\"a\"}]}",
        "{\"subtitles\":[{\"begin\":2,\"end\":3,\"text\":\"a\"},{\"begin\":1,\"end\":2,\"text\":"
        "\"b\"}]}",
        "{\"subtitles\":3}",
        "{\"subtitles_as\":\"burn,\"}",
        "{\"subtitle_size\":1}",
        "{\"subtitle_colour\":\"red\"}",
        "{\"subtitle_place\":\"left\"}",
        "{\"subtitle_font\":\"\"}",
    };
    struct batch_options o;
    struct kb_error err = {0};
    assert_ok(err, batch_options_parse("{\"subtitles\":[{\"begin\":0.5,\"end\":2,\"text\":\"a\"}],"
                                       "\"subtitles_as\":\"burn,stream\",\"subtitle_size\":7,"
                                       "\"subtitle_colour\":\"#ffcc00\",\"subtitle_box\":true}",
                                       &o, &err));
    const struct captions_params *c = &o.dub.finish.captions;
    assert_int_equal(c->as, CAPTIONS_BURN | CAPTIONS_STREAM);
    assert_int_equal(c->cues->n, 1);
    assert_int_equal(c->cues->at[0].start_us, 500000);
    assert_int_equal(c->colour, 0xffcc00);
    assert_true(c->box && c->coloured && c->size > 6.9f);
    batch_options_free(&o);
    assert_ok(err, batch_options_parse("{\"subtitles\":\"text\",\"subtitles_text\":\"hello\"}", &o,
                                       &err));
    assert_true(o.subtitles_spoken && c->as == CAPTIONS_BURN);
    assert_string_equal(c->text, "hello");
    batch_options_free(&o);
    assert_ok(
        err, batch_options_parse("{\"subtitles\":\"off\",\"subtitles_text\":\"hello\"}", &o, &err));
    assert_false(captions_wanted(c));
    batch_options_free(&o);
    assert_ok(err, batch_options_parse("{\"subtitles\":\"0123abcd\"}", &o, &err));
    assert_string_equal(o.materials[0].role->name, "subtitles");
    batch_options_free(&o);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(err, KB_BAD_INPUT, "subtitle", batch_options_parse(bad[i], &o, &err));
}

static void test_complete(void **state)
{
    static const struct {
        const char *options, *defaults, *lang, *wanted;
    } cases[] = {
        {NULL, "{}", "zh", "{}"},
        {"{\"crf\":20}", "{\"ai_label\":\"corner\",\"ai_producer\":\"X\"}", "zh",
         "{\"crf\":20,\"ai_label\":\"corner\",\"ai_producer\":\"X\"}"},
        {"{\"ai_label\":\"off\"}", "{\"ai_label\":\"corner\"}", "en", "{\"ai_label\":\"off\"}"},
        {"{\"ai_label\":null}", "{\"ai_label\":\"corner\"}", "zh", "{\"ai_label\":\"corner\"}"},
        {"{\"ai_label\":\"start\"}", "{}", "en",
         "{\"ai_label\":\"start\",\"ai_label_text\":\"AI-generated\"}"},
        {"{}", "{\"ai_label\":\"both\",\"ai_label_text\":\"AI合成\"}", "en",
         "{\"ai_label\":\"both\",\"ai_label_text\":\"AI合成\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep)
        char *all = batch_options_complete(cases[i].options, cases[i].defaults, cases[i].lang);
        assert_string_equal(all, cases[i].wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_all),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_models),
        cmocka_unit_test(test_label),     cmocka_unit_test(test_complete),
        cmocka_unit_test(test_subtitles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
