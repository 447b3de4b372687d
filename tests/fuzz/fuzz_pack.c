// A .kbp file, up to a run of the network in it: a worker that was taken over may have written it,
// and another one opens it. The input is what is changed in a good one: three bytes each, a place
// (16 bits, over and over through the file) and what is added to the byte there. Size and checksum
// are made right.
#include "nn/pack.h"
#include "nn/session.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define HEADER_SIZE 64 // magic, size at 8, checksum of what follows at 16
#define KEY         "fuzz"
#define SIDE        8
#define CHANNELS    4

static float *numbers(int n)
{
    float *x = kb_alloc((size_t)n * sizeof(*x));
    for (int i = 0; i < n; i++)
        x[i] = (float)(i % 7 - 3) / 8;
    return x;
}

static int add(struct graph *g, struct op op, int x)
{
    op.in[0] = x;
    op.n_in = KB_MAX(op.n_in, 1);
    op.out = graph_add_value(g, NULL);
    if (op.kind != OP_CONV)
        op.residual = -1;
    graph_add_op(g, &op);
    return op.out;
}

static struct graph *make_graph(void)
{
    struct graph *g = graph_create();
    int x = graph_add_input(g, "input", SIDE, SIDE, CHANNELS);
    struct op conv = {.kind = OP_CONV,
                      .kernel_h = 3,
                      .kernel_w = 3,
                      .pad_top = 1,
                      .pad_left = 1,
                      .pad_bottom = 1,
                      .pad_right = 1,
                      .out_c = CHANNELS,
                      .residual = x,
                      .act = ACT_PRELU};
    conv.weight = numbers(CHANNELS * CHANNELS * 9);
    conv.bias = numbers(CHANNELS);
    conv.slope = numbers(CHANNELS);
    int a = add(g, conv, x);
    int b =
        add(g, (struct op){.kind = OP_SCALE, .scale = numbers(CHANNELS), .n_scale = CHANNELS}, a);
    int c = add(g, (struct op){.kind = OP_ADD, .n_in = 2, .in = {0, x}, .act = ACT_RELU}, b);
    int d = add(g, (struct op){.kind = OP_CONCAT, .n_in = 2, .in = {0, c}, .axis = 'c'}, a);
    int e =
        add(g,
            (struct op){
                .kind = OP_MAX_POOL, .kernel_h = 2, .kernel_w = 2, .stride_h = 2, .stride_w = 2},
            d);
    int f = add(g, (struct op){.kind = OP_RESIZE_BILINEAR, .out_h = SIDE, .out_w = SIDE}, e);
    int p = add(g, (struct op){.kind = OP_PAD, .pad_top = 1, .pad_channels = 2}, f);
    graph_add_output(g, add(g,
                            (struct op){.kind = OP_RESHAPE,
                                        .out_h = 1,
                                        .out_w = SIDE + 1,
                                        .out_c = SIDE * (2 * CHANNELS + 2)},
                            p));
    return g;
}

static const struct session_params params = {.batch = 1, .precision = PRECISION_F32, .threads = 1};

// A good pack, made once.
static const uint8_t *good(size_t *ret_size)
{
    static uint8_t *data;
    static size_t size;
    if (!data) {
        struct kb_error err = {0};
        struct session_params p = params;
        CLEANUP(graph_free) struct graph *g = make_graph();
        CLEANUP(session_free) struct session *s = NULL;
        CLEANUP(pack_writer_free) struct pack_writer *w = pack_writer_create(KEY);
        char path[] = "/tmp/koubo-fuzz-XXXXXX";
        int fd = mkstemp(path);
        p.pack_writer = w;
        if (fd < 0 || graph_finish(g, &err) != KB_OK || graph_optimize(g, &err) != KB_OK)
            abort();
        pack_put_graph(w, g);
        if (session_create(&s, g, &p, &err) != KB_OK || pack_save(w, path, &err) != KB_OK)
            abort();
        close(fd); // of the file that was there before it was replaced
        fd = open(path, O_RDONLY | O_CLOEXEC);
        size = (size_t)lseek(fd, 0, SEEK_END);
        data = malloc(size);
        if (!data || pread(fd, data, size, 0) != (ssize_t)size)
            abort();
        close(fd);
        unlink(path);
    }
    *ret_size = size;
    return data;
}

static void run(struct pack *p, struct graph *g)
{
    struct kb_error err = {0};
    struct session_params with_pack = params;
    CLEANUP(session_free) struct session *s = NULL;
    int64_t floats = 0;
    for (int i = 0; i < g->n_values; i++)
        floats += (int64_t)g->values[i].h * g->values[i].w * g->values[i].c;
    with_pack.pack = p;
    if (floats < 100000 && session_create(&s, g, &with_pack, &err) == KB_OK)
        session_run(s, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n;
    const uint8_t *pack = good(&n);
    CLEANUP(kb_freep) uint8_t *copy = kb_alloc(n);
    memcpy(copy, pack, n);
    for (size_t i = 0; i + 3 <= size && i < 90; i += 3)
        copy[HEADER_SIZE + (data[i] << 8 | data[i + 1]) % (n - HEADER_SIZE)] += data[i + 2];
    uint64_t sum = XXH3_64bits(copy + HEADER_SIZE, n - HEADER_SIZE);
    memcpy(copy + 16, &sum, sizeof(sum));

    CLEANUP(pack_close) struct pack *p = pack_open(fuzz_file(copy, n), KEY);
    CLEANUP(graph_free) struct graph *g = p ? pack_take_graph(p) : NULL;
    if (g)
        run(p, g);
    else if (size == 0)
        abort(); // nothing was changed
    return 0;
}
