// The published Wav2Lip network against PyTorch (tools/golden/wav2lip.py), and checkpoints of other
// networks.
#include "tests/nn/random.h"

#include <unistd.h>

#include "nn/import/import.h"

static struct tensor_set *weights;

static int make_weights(void **state)
{
    weights = wav2lip_random(1);
    return 0;
}

static int free_weights(void **state)
{
    tensor_set_free(&weights);
    return 0;
}

static void make_session(struct session **ret, int batch, enum precision precision)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = NULL;
    assert_ok(err, wav2lip_graph(&g, weights, &err));
    const struct session_params params = {.batch = batch, .precision = precision, .threads = 2};
    assert_ok(err, session_create(ret, g, &params, &err));
}

static void test_graph(void **state)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = NULL;
    assert_true(wav2lip_recognize(weights));
    assert_ok(err, wav2lip_graph(&g, weights, &err));
    int mel = graph_find_value(g, "mel"), face = graph_find_value(g, "face");
    int out = graph_find_value(g, "face_out");
    assert_true(mel == g->inputs[0] && face == g->inputs[1] && out == g->outputs[0]);
    const struct value *v = g->values;
    assert_true(v[mel].h == 80 && v[mel].w == 16 && v[mel].c == 1);
    assert_true(v[face].h == 96 && v[face].w == 96 && v[face].c == 6);
    assert_true(v[out].h == 96 && v[out].w == 96 && v[out].c == 3);
    assert_int_equal(graph_params(g), 36298035); // batch norm counted as its scale and shift
}

static void test_as_pytorch(void **state)
{
    CLEANUP(session_free) struct session *s = NULL;
    struct kb_error err = {0};
    make_session(&s, 2, PRECISION_F32);
    fill_inputs(s, 2);
    assert_ok(err, session_run(s, &err));
    struct distance d = compare_golden(s, "tests/golden/wav2lip_face_out.bin", 3, 2);
    print_message("# f32, batch 2: largest difference %g\n", d.largest);
    assert_true(d.largest < 1e-4);
}

// One image alone must come out as it does in a batch of two.
static void test_batch_of_one(void **state)
{
    CLEANUP(session_free) struct session *one = NULL;
    CLEANUP(session_free) struct session *two = NULL;
    struct kb_error err = {0};
    make_session(&one, 1, PRECISION_F32);
    make_session(&two, 2, PRECISION_F32);
    fill_inputs(two, 2);
    for (int i = 0; i < 2; i++) {
        struct value v = session_input_shape(one, i);
        memcpy(session_input(one, i), session_input(two, i),
               (size_t)v.h * (size_t)v.w * (size_t)v.c * sizeof(float));
    }
    assert_ok(err, session_run(one, &err));
    struct distance d = compare_golden(one, "tests/golden/wav2lip_face_out.bin", 3, 1);
    assert_true(d.largest < 1e-4);
}

// bf16 keeps 8 bits of each product's factors. 45 dB is far better than video coding (random
// weights amplify errors more than trained ones).
static void test_bf16(void **state)
{
    CLEANUP(session_free) struct session *s = NULL;
    struct kb_error err = {0};
    if (precision_resolve(PRECISION_AUTO, false) != PRECISION_BF16) {
        print_message("# skipped: no native bf16 on this processor\n");
        return;
    }
    make_session(&s, 2, PRECISION_BF16);
    fill_inputs(s, 2);
    assert_ok(err, session_run(s, &err));
    struct distance d = compare_golden(s, "tests/golden/wav2lip_face_out.bin", 3, 2);
    print_message("# bf16: %.1f dB\n", d.psnr_db);
    assert_true(d.psnr_db > 45);
}

// A copy of the weights, in which the tensor called name is left out, or has other dims.
static struct tensor_set *altered(const char *name, int n_dims, const int64_t *dims)
{
    struct kb_error err = {0};
    struct tensor_set *set = tensor_set_create();
    for (size_t i = 0; i < tensor_set_count(weights); i++) {
        const struct tensor *t = tensor_set_at(weights, i);
        bool is_it = strncmp(t->name, name, strlen(name)) == 0;
        if (is_it && n_dims < 0)
            continue;
        assert_ok(err, tensor_set_add(set, t->name, DTYPE_F32, is_it ? n_dims : t->n_dims,
                                      is_it ? dims : t->dims, NULL, NULL, &err));
    }
    return set;
}

static void test_others(void **state)
{
    static const struct {
        const char *name;
        int n_dims;
        int64_t dims[4];
        const char *parts[3];
    } cases[] = {
        {"output_block.1.bias",
         -1,
         {0},
         {"missing (1): 'output_block.1.bias'.", "wav2lip.pth", ""}},
        {"audio_encoder.12", -1, {0}, {"missing (6)", "'audio_encoder.12.conv_block.0.bias'", "…"}},
        {"face_encoder_blocks.0.0.conv_block.0.weight",
         4,
         {32, 6, 3, 3},
         {"face_encoder_blocks.0.0.conv_block.0.weight", "[32, 6, 3, 3]", "[16, 6, 7, 7]"}},
        {"face_decoder_blocks.1.0.conv_block.0.weight",
         4,
         {512, 1024, 3, 3},
         {"another variant", "[512, 1024, 3, 3]", "[1024, 512, 3, 3]"}},
        {"output_block.1.bias", 0, {0}, {"'output_block.1.bias' is []", "[3]", ""}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        struct graph *g = NULL;
        CLEANUP(tensor_set_free)
        struct tensor_set *set = altered(cases[i].name, cases[i].n_dims, cases[i].dims);
        for (size_t k = 0; k < ARRAY_LEN(cases[i].parts); k++)
            assert_fails(err, KB_BAD_INPUT, cases[i].parts[k], wav2lip_graph(&g, set, &err));
        assert_null(g);
    }
}

static void test_load(void **state)
{
    struct kb_error err = {0};
    char path[] = "/tmp/koubo-test-XXXXXX";
    close(mkstemp(path));
    assert_ok(err, safetensors_write(path, weights, &err));
    CLEANUP(graph_free) struct graph *g = NULL;
    enum kb_code code = graph_load(&g, path, &err);
    unlink(path);
    assert_ok(err, code);
    assert_int_equal(g->n_outputs, 1);

    struct graph *other = NULL;
    assert_fails(err, KB_BAD_INPUT, "does not know",
                 graph_load(&other, source_path("tests/golden/pth_views_zip.pth"), &err));
    assert_fails(err, KB_BAD_INPUT, "pth_views_zip.pth",
                 graph_load(&other, source_path("tests/golden/pth_views_zip.pth"), &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graph),        cmocka_unit_test(test_as_pytorch),
        cmocka_unit_test(test_batch_of_one), cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_others),       cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, make_weights, free_weights);
}
