// Packed networks: what was made ready once and written down computes the same to the bit, and what
// is damaged is not used.
#include "tests/nn/graphs.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "nn/session.h"

static char packed_path[] = "/tmp/koubo-pack-XXXXXX";

static struct session *session_of(struct graph *g, enum precision precision,
                                  const struct ranges *ranges, struct pack *pack,
                                  struct pack_writer *writer)
{
    struct kb_error err = {0};
    struct session *s = NULL;
    struct session_params params = {.batch = 3,
                                    .precision = precision,
                                    .threads = 2,
                                    .ranges = ranges,
                                    .pack = pack,
                                    .pack_writer = writer};
    assert_ok(err, session_create(&s, g, &params, &err));
    struct value in = session_input_shape(s, 0);
    for (int i = 0; i < in.h * in.w * in.c * 3; i++)
        session_input(s, 0)[i] = (float)(i % 101) / 101;
    assert_ok(err, session_run(s, &err));
    return s;
}

static void write_pack(struct graph *g, enum precision precision, const struct ranges *ranges,
                       struct session **ret)
{
    struct kb_error err = {0};
    CLEANUP(pack_writer_free) struct pack_writer *w = pack_writer_create("the key");
    assert_ok(err, graph_optimize(g, &err));
    pack_put_graph(w, g);
    *ret = session_of(g, precision, ranges, NULL, w);
    assert_ok(err, pack_save(w, packed_path, &err));
}

static void test_packed_is_the_same(void **state)
{
    struct kb_error err = {0};
    close(mkstemp(packed_path));
    for (int i = 0; i < 3 * (int)ARRAY_LEN(builders); i++) {
        enum precision precision = (enum precision)(PRECISION_F32 + i % 3);
        if (!precision_can_run(precision))
            continue;
        CLEANUP(ranges_free) struct ranges *ranges = NULL;
        CLEANUP(graph_free) struct graph *g = NULL, *again = NULL;
        CLEANUP(session_free) struct session *made = NULL, *loaded = NULL;
        CLEANUP(pack_close) struct pack *pack = NULL;
        if (precision == PRECISION_INT8)
            ranges = calibrate(builders[i / 3], 3);
        seed = 7;
        g = builders[i / 3]();
        assert_ok(err, graph_finish(g, &err));
        write_pack(g, precision, ranges, &made);

        assert_null(pack_open(packed_path, "another key"));
        pack = pack_open(packed_path, "the key");
        assert_non_null(pack);
        again = pack_take_graph(pack);
        assert_non_null(again);
        loaded = session_of(again, precision, ranges, pack, NULL);
        assert_int_equal(session_n_outputs(loaded), session_n_outputs(made));
        for (int o = 0; o < session_n_outputs(made); o++) {
            struct value shape = session_output_shape(made, o);
            size_t n = 3 * (size_t)(shape.h * shape.w * shape.c);
            assert_memory_equal(session_output(made, o), session_output(loaded, o),
                                n * sizeof(float));
        }
    }
}

static void write_bytes(const char *data, size_t size)
{
    struct kb_error err = {0};
    assert_ok(err, file_write_atomic(packed_path, data, size, &err));
}

// A pack that is cut short, or in which any byte was changed, is none; one of another graph does
// not fit.
static void test_damaged_packs(void **state)
{
    struct kb_error err = {0};
    CLEANUP(session_free) struct session *made = NULL, *none = NULL;
    CLEANUP(graph_free) struct graph *g = build_unet(), *other = build_wav2lip_like();
    CLEANUP(file_unmap) struct file_map whole = {0};
    assert_ok(err, graph_finish(g, &err));
    write_pack(g, PRECISION_F32, NULL, &made);
    assert_ok(err, file_map(&whole, packed_path, &err));
    size_t size = whole.size;
    CLEANUP(kb_freep) char *data = malloc(size);
    memcpy(data, whole.data, size);
    for (size_t i = 0; i < size; i += i < 300 ? 7 : 4999) {
        data[i] ^= 1;
        write_bytes(data, size);
        data[i] ^= 1;
        bool unused = i >= 24 && i < 64; // of the header
        CLEANUP(pack_close) struct pack *p = pack_open(packed_path, "the key");
        assert_int_equal(p != NULL, unused);
        write_bytes(data, KB_MAX(i, 1));
        assert_null(pack_open(packed_path, "the key"));
    }
    write_bytes(data, size);
    assert_int_equal(chmod(packed_path, 0666), 0); // anybody could have written that
    assert_null(pack_open(packed_path, "the key"));
    assert_int_equal(chmod(packed_path, 0644), 0);
    CLEANUP(pack_close) struct pack *p = pack_open(packed_path, "the key");
    CLEANUP(graph_free) struct graph *own = pack_take_graph(p);
    assert_ok(err, graph_finish(other, &err));
    assert_ok(err, graph_optimize(other, &err));
    struct session_params params = {.pack = p, .precision = PRECISION_F32};
    assert_fails(err, KB_BAD_INPUT, "does not fit", session_create(&none, other, &params, &err));
    unlink(packed_path);
}

// Each phase is written by its own size into what all four make.
static void test_phases_of_two_shapes(void **state)
{
    struct kb_error err = {0};
    for (int damaged = 0; damaged < 2; damaged++) {
        CLEANUP(graph_free) struct graph *g = build_wide(), *again = NULL;
        CLEANUP(pack_writer_free) struct pack_writer *w = pack_writer_create("the key");
        CLEANUP(pack_close) struct pack *pack = NULL;
        assert_ok(err, graph_finish(g, &err));
        assert_ok(err, graph_optimize(g, &err));
        const struct op *join = g->ops;
        while (join->kind != OP_INTERLEAVE)
            join++;
        if (damaged) {
            g->ops[graph_producer(g, join->in[3])].pad_bottom += 8;
            g->values[join->in[3]].h += 8;
        }
        pack_put_graph(w, g);
        assert_ok(err, pack_save(w, packed_path, &err));
        pack = pack_open(packed_path, "the key");
        assert_non_null(pack);
        again = pack_take_graph(pack);
        assert_int_equal(again != NULL, !damaged);
        unlink(packed_path);
        if (damaged)
            assert_fails(err, KB_BAD_INPUT, "four phases of one shape", graph_finish(g, &err));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_is_the_same),
        cmocka_unit_test(test_damaged_packs),
        cmocka_unit_test(test_phases_of_two_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
