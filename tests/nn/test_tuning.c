// What was measured on this machine: it is kept, it is obeyed, and what cannot be believed is not.
#include "tests/nn/graphs.h"

#include <math.h>
#include <unistd.h>

#include "base/file.h"
#include "nn/tuning.h"

static char path[] = "/tmp/koubo-tuning-XXXXXX";

static struct tuning *measured(void)
{
    struct kb_error err = {0};
    struct tuning *t = NULL;
    CLEANUP(graph_free) struct graph *g = build_wide();
    assert_ok(err, graph_finish(g, &err));
    assert_ok(err, tuning_measure(&t, g, 3, 1, NULL, &err));
    return t;
}

static size_t memory_with(const struct tuning *tuning)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = build_wide();
    CLEANUP(session_free) struct session *s = NULL;
    const struct session_params params = {.batch = 3, .precision = PRECISION_F32, .tuning = tuning};
    assert_ok(err, graph_finish(g, &err));
    assert_ok(err, session_create(&s, g, &params, &err));
    assert_ok(err, session_run(s, &err));
    return session_memory_bytes(s);
}

// Two layers of 32 > 32, a transposed one, and what follows it.
static void test_every_layer_is_measured(void **state)
{
    CLEANUP(tuning_free) struct tuning *t = measured();
    const struct layer plain = {32, 32, 21, 17, 3, false, 32},
                       twice = {32, 16, 21, 17, 3, true, 32};
    for (int i = 0; i < t->n; i++)
        for (int way = 0; way < TUNING_WAYS; way++)
            assert_true(t->layers[i].ms[way] > 0);
    assert_true(tuning_find(t, &plain) >= 0 && tuning_find(t, &twice) >= 0);
    int n = 0, n_entries = 0, n_bf16 = 0; // these only where it is native
    for (int i = 0; i < t->n; i++) {
        bool is_f32 = t->layers[i].layer.bits == 32;
        n += is_f32 ? t->layers[i].n : 0;
        n_entries += is_f32;
        n_bf16 += t->layers[i].layer.bits == 16;
    }
    assert_int_equal(n, 5);
    assert_int_equal(n_entries, 4);
    assert_int_equal(n_bf16 > 0, precision_resolve(PRECISION_AUTO, false) == PRECISION_BF16);
    assert_int_equal(t->layers[0].n, 2);
    const struct layer other = {32, 32, 21, 17, 4, false, 32};
    assert_int_equal(tuning_find(t, &other), -1);
    assert_int_equal(tuning_find(NULL, &plain), -1);
}

// Times are those of all such layers, and each of them has weights: 28 MB more by tiles of 4.
static void test_weights_count_for_every_layer(void **state)
{
    struct tuned l = {.layer = {512, 512, 6, 6, 8, false, 32}, .ms = {20, 20, 20, 16}};
    for (l.n = 1; l.n <= 2; l.n++) {
        tuning_choose(&l);
        assert_int_equal(l.tile, l.n == 1 ? 4 : 0);
    }
}

static void test_it_is_obeyed(void **state)
{
    CLEANUP(tuning_free) struct tuning *t = measured();
    size_t memory[2];
    uint64_t hash[2];
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < t->n; i++)
            t->layers[i].tile = 4 * k;
        memory[k] = memory_with(t);
        hash[k] = tuning_hash(t);
    }
    assert_true(memory[1] > memory[0] + 100000); // Winograd's weights take more
    assert_true(hash[0] != hash[1]);
    for (int i = 0; i < t->n; i++)
        t->layers[i].tile = t->layers[i].layer.is_twice ? 2 : 0; // which there is not
    assert_int_equal(memory_with(t), memory[0]);
}

static void write_text(const char *text)
{
    struct kb_error err = {0};
    assert_ok(err, file_write_atomic(path, text, strlen(text), &err));
}

static void test_it_is_kept(void **state)
{
    struct kb_error err = {0};
    CLEANUP(tuning_free) struct tuning *t = measured(), *read = NULL;
    t->layers[1].tile = 3;
    assert_ok(err, tuning_save(t, path, &err));
    read = tuning_load(path);
    assert_non_null(read);
    assert_int_equal(read->n, t->n);
    assert_true(tuning_hash(read) == tuning_hash(t));
    assert_int_equal(tuning_find(read, &t->layers[1].layer), 3);
    for (enum precision p = PRECISION_F32; p <= PRECISION_INT8; p++) {
        assert_true((t->whole[p].ms > 0) == precision_can_run(p));
        assert_true(fabs(read->whole[p].ms - t->whole[p].ms) <= 1e-3 * t->whole[p].ms);
        assert_true(fabs(read->whole[p].mb - t->whole[p].mb) <= 1e-3 * t->whole[p].mb);
    }

    snprintf(t->backend, sizeof(t->backend), "another library");
    assert_ok(err, tuning_save(t, path, &err));
    assert_null(tuning_load(path));
}

// The fastest; within a tenth what takes less memory; int8 only where the ranges are known; a rule
// where nothing was measured. A precision that was asked for is not changed.
static void test_auto_is_what_was_measured(void **state)
{
    static const struct {
        double f32_ms, int8_ms, f32_mb, int8_mb;
        bool has_ranges;
        enum precision want;
    } cases[] = {
        {100, 60, 336, 146, true, PRECISION_INT8}, {100, 60, 336, 146, false, PRECISION_F32},
        {60, 100, 336, 146, true, PRECISION_F32},  {95, 100, 336, 146, true, PRECISION_INT8},
        {100, 95, 146, 336, true, PRECISION_F32},  {100, 0, 336, 0, true, PRECISION_F32},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct tuning t = {.whole[PRECISION_F32] = {cases[i].f32_ms, cases[i].f32_mb},
                                 .whole[PRECISION_INT8] = {cases[i].int8_ms, cases[i].int8_mb}};
        assert_int_equal(tuning_precision(&t, PRECISION_AUTO, cases[i].has_ranges), cases[i].want);
        assert_int_equal(tuning_precision(&t, PRECISION_BF16, cases[i].has_ranges), PRECISION_BF16);
    }
    const struct tuning none = {.n = 0};
    for (int has_ranges = 0; has_ranges < 2; has_ranges++) {
        enum precision rule = precision_resolve(PRECISION_AUTO, has_ranges);
        assert_int_equal(tuning_precision(NULL, PRECISION_AUTO, has_ranges), rule);
        assert_int_equal(tuning_precision(&none, PRECISION_AUTO, has_ranges), rule);
    }
}

static void test_what_cannot_be(void **state)
{
    char backend[SESSION_BACKEND_SIZE];
    session_backend(backend);
    static const char *const layers[] = {
        "",
        "7",
        "{}",
        "{\"in\": 8, \"out\": 8, \"height\": 3, \"width\": 3, \"batch\": 1, \"twice\": 0, "
        "\"tile\": 4}",
        "{\"in\": 8, \"out\": 8, \"height\": 3, \"width\": 3, \"batch\": 1, \"twice\": false, "
        "\"tile\": 5}",
        "{\"in\": 8, \"out\": 8, \"height\": 3, \"width\": 3, \"batch\": 1, \"twice\": false, "
        "\"tile\": -1}",
        "{\"in\": 0, \"out\": 8, \"height\": 3, \"width\": 3, \"batch\": 1, \"twice\": false, "
        "\"tile\": 4}",
        "{\"in\": 8, \"out\": 8, \"height\": 3, \"width\": 99999999999, \"batch\": 1, "
        "\"twice\": false, \"tile\": 4}",
    };
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        CLEANUP(kb_freep)
        char *text = kb_printf("{\"backend\": \"%s\", \"layers\": [%s]}", backend, layers[i]);
        write_text(text);
        if (tuning_load(path))
            fail_msg("taken: %s", layers[i]);
    }
    write_text("{\"layers\": ");
    assert_null(tuning_load(path));
    assert_null(tuning_load("/nowhere/tuning.json"));
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_layer_is_measured),
        cmocka_unit_test(test_weights_count_for_every_layer),
        cmocka_unit_test(test_it_is_obeyed),
        cmocka_unit_test(test_it_is_kept),
        cmocka_unit_test(test_auto_is_what_was_measured),
        cmocka_unit_test(test_what_cannot_be),
    };
    close(mkstemp(path));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
