// PyTorch checkpoints: golden files that PyTorch 1.13 wrote (tools/golden/pth.py), and hostile
// ones made here, byte by byte.
#include "tests/test.h"

#include "base/file.h"
#include "nn/import/import.h"

static const char *const forms[] = {"zip", "legacy"};

static void load_golden(struct tensor_set **ret, const char *name, const char *form)
{
    struct kb_error err = {0};
    char path[128];
    snprintf(path, sizeof(path), "tests/golden/pth_%s_%s.pth", name, form);
    assert_ok(err, weights_load(ret, source_path(path), &err));
}

// The tensor must hold the ramp of tools/golden/pth.py: i / 4 - 3, integers i - 3, bytes i.
static void assert_ramp(const struct tensor_set *set, const char *name, enum dtype dtype,
                        const char *shape, int modulus)
{
    const struct tensor *t = tensor_set_find(set, name);
    if (!t)
        fail_msg("no tensor '%s'", name);
    assert_string_equal(tensor_shape(t).text, shape);
    assert_int_equal(t->dtype, dtype);
    CLEANUP(kb_freep) float *f = tensor_to_f32(t);
    for (int64_t i = 0; i < tensor_count(t); i++) {
        float wanted = (float)i * 0.25f - 3;
        if (dtype == DTYPE_U8)
            wanted = (float)(i % modulus);
        else if (dtype == DTYPE_I64 || dtype == DTYPE_I32 || dtype == DTYPE_S8)
            wanted = (float)(i - 3);
        if (f[i] != wanted)
            fail_msg("%s[%d] is %g, wanted %g", name, (int)i, (double)f[i], (double)wanted);
    }
}

static void test_types(void **state)
{
    static const struct {
        const char *name;
        enum dtype dtype;
        int modulus;
    } cases[] = {
        {"float32", DTYPE_F32, 0}, {"float16", DTYPE_F16, 0}, {"bfloat16", DTYPE_BF16, 0},
        {"float64", DTYPE_F32, 0}, {"int64", DTYPE_I64, 0},   {"int32", DTYPE_I32, 0},
        {"int16", DTYPE_I32, 0},   {"uint8", DTYPE_U8, 256},  {"int8", DTYPE_S8, 0},
        {"bool", DTYPE_U8, 2},
    };
    for (size_t k = 0; k < ARRAY_LEN(forms); k++) {
        CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
        load_golden(&set, "types", forms[k]);
        assert_int_equal(tensor_set_count(set), ARRAY_LEN(cases) + 3);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
            assert_ramp(set, cases[i].name, cases[i].dtype, "[3, 5]", cases[i].modulus);
        assert_ramp(set, "parameter", DTYPE_F32, "[2, 3]", 0);
        const struct tensor *scalar = tensor_set_find(set, "scalar");
        assert_int_equal(scalar->n_dims, 0);
        assert_int_equal(*(const int64_t *)scalar->data, 7);
        assert_string_equal(tensor_shape(tensor_set_find(set, "empty")).text, "[0, 4]");
    }
}

static void test_views(void **state)
{
    for (size_t k = 0; k < ARRAY_LEN(forms); k++) {
        CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
        load_golden(&set, "views", forms[k]);
        assert_ramp(set, "transposed", DTYPE_F32, "[3, 5]", 0);
        assert_ramp(set, "permuted", DTYPE_F32, "[2, 3, 4]", 0);
        assert_ramp(set, "middle", DTYPE_F32, "[3, 4]", 0);
        assert_ramp(set, "every_second", DTYPE_F32, "[8]", 0);
    }
}

// state_dict inside a dict with an optimizer, counters, None, lists; "module." before the names.
static void test_nested(void **state)
{
    for (size_t k = 0; k < ARRAY_LEN(forms); k++) {
        CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
        load_golden(&set, "nested", forms[k]);
        assert_int_equal(tensor_set_count(set), 7);
        assert_ramp(set, "0.weight", DTYPE_F32, "[3, 2, 3, 3]", 0);
        assert_int_equal(*(const int64_t *)tensor_set_find(set, "1.num_batches_tracked")->data, 1);
    }
}

// torch.save's other protocols.
static void test_protocols(void **state)
{
    for (int protocol = 3; protocol <= 5; protocol++) {
        CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
        char name[16];
        snprintf(name, sizeof(name), "protocol%d", protocol);
        load_golden(&set, name, protocol == 5 ? "legacy" : "zip");
        assert_int_equal(tensor_set_count(set), 7);
        assert_ramp(set, "0.weight", DTYPE_F32, "[3, 2, 3, 3]", 0);
    }
}

// Whole models: module objects, of which nothing but names and tensors is taken.
static void test_modules(void **state)
{
    static const struct {
        const char *name, *file;
        enum form form;
    } cases[] = {
        {"module", "zip", FORM_PYTORCH},           {"module", "legacy", FORM_PYTORCH_LEGACY},
        {"traced", "zip", FORM_TORCHSCRIPT},       {"scripted", "zip", FORM_TORCHSCRIPT},
        {"module_protocol4", "zip", FORM_PYTORCH},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
        load_golden(&set, cases[i].name, cases[i].file);
        assert_int_equal(tensor_set_form(set), cases[i].form);
        assert_int_equal(tensor_set_count(set), 10);
        assert_ramp(set, "parts.0.weight", DTYPE_F32, "[3, 2, 3, 3]", 0);
        assert_ramp(set, "parts.1.inner.bias", DTYPE_F32, "[3]", 0);
        assert_ramp(set, "own", DTYPE_F32, "[5]", 0);
        assert_non_null(tensor_set_find(set, "norm.running_var"));
    }
    CLEANUP(tensor_set_free) struct tensor_set *none = NULL;
    struct kb_error err = {0};
    assert_fails(err, KB_BAD_INPUT, "TorchScript: the model in the file has no weights",
                 weights_load(&none, source_path("tests/golden/pth_frozen_zip.pth"), &err));
}

// Cut at every byte, and every byte changed: an error or a set, never a crash or a leak.
static void test_damaged(void **state)
{
    static const char *const names[] = {"views_zip",    "views_legacy", "types_zip",
                                        "types_legacy", "scripted_zip", "module_legacy",
                                        "protocol4_zip"};
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        struct kb_error err = {0};
        char path[128];
        snprintf(path, sizeof(path), "tests/golden/pth_%s.pth", names[k]);
        CLEANUP(file_unmap) struct file_map m = {0};
        assert_ok(err, file_map(&m, source_path(path), &err));
        for (size_t n = 0; n < m.size; n++) {
            CLEANUP(kb_freep) uint8_t *cut = malloc(n + 1);
            memcpy(cut, m.data, n);
            CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
            if (pth_read(&set, cut, n, &err) == KB_OK)
                fail_msg("%s cut to %zu bytes was accepted", path, n);
        }
        CLEANUP(kb_freep) uint8_t *bent = malloc(m.size);
        memcpy(bent, m.data, m.size);
        for (size_t i = 0; i < m.size; i++) {
            for (int bit = 0; bit < 8; bit += 7) {
                CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
                bent[i] = m.data[i] ^ (uint8_t)(1 << bit);
                if (pth_read(&set, bent, m.size, &err) != KB_OK)
                    assert_true(err.code == KB_BAD_INPUT || err.code == KB_NO_SPACE);
            }
            bent[i] = m.data[i];
        }
    }
}

// --- handmade legacy files ---

struct made {
    uint8_t bytes[4096];
    size_t n;
};

static void put(struct made *m, const void *bytes, size_t n)
{
    assert_true(m->n + n <= sizeof(m->bytes));
    memcpy(m->bytes + m->n, bytes, n);
    m->n += n;
}

#define PUT(m, literal) put(m, literal, sizeof(literal) - 1)

// An opcode text in which "<S:n>" stands for a float storage "k" of n elements, "<i:n>" for an
// integer, and everything else for itself.
static void put_ops(struct made *m, const char *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int64_t value;
        char kind;
        int used = 0;
        char text[32];
        snprintf(text, sizeof(text), "%.*s", (int)KB_MIN(n - i, sizeof(text) - 1), ops + i);
        if (sscanf(text, "<%c:%ld>%n", &kind, &value, &used) != 2 || !used) {
            put(m, ops + i, 1);
            continue;
        }
        i += (size_t)used - 1;
        if (kind == 'S')
            PUT(m, "(U\x07storagectorch\nFloatStorage\nU\x01kU\x03"
                   "cpu");
        PUT(m, "\x8a\x08");
        put(m, &value, 8);
        if (kind == 'S')
            PUT(m, "NtQ");
    }
}

static void put_head(struct made *m)
{
    PUT(m, "\x80\x02\x8a\nl\xfc\x9c"
           "F\xf9 j\xa8P\x19."
           "\x80\x02M\xe9\x03.\x80\x02}U\x0dlittle_endian\x88s.\x80\x02");
}

// The object, then no storage (0), one storage "k" of n_floats zeros, or the end of the file (-1).
static enum kb_code read_made(struct tensor_set **ret, const char *ops, size_t n_ops, int n_floats,
                              struct kb_error *err)
{
    CLEANUP(kb_freep) struct made *m = kb_alloc(sizeof(*m));
    put_head(m);
    put_ops(m, ops, n_ops);
    int64_t count = n_floats;
    if (n_floats == 0)
        PUT(m, ".\x80\x02].");
    if (n_floats > 0) {
        PUT(m, ".\x80\x02]U\x01ka.");
        put(m, &count, 8);
        m->n += (size_t)n_floats * 4;
    }
    return pth_read(ret, m->bytes, m->n, err);
}

#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
// {"t": a tensor of a storage, with offset, sizes and strides given as opcodes}
#define TENSOR(storage, offset, size, stride)                                                      \
    "}U\x01t" REBUILD "(" storage offset size stride "\x89}tRs"

static void test_hostile(void **state)
{
    static const struct {
        const char *ops;
        size_t n;
        int floats;
        const char *part; // NULL: must be accepted
    } cases[] = {
#define CASE(ops, floats, part) {ops, sizeof(ops) - 1, floats, part}
        CASE(TENSOR("<S:6>", "<i:0>", "<i:2><i:3>\x86", "<i:3><i:1>\x86"), 6, NULL),
        CASE(TENSOR("<S:6>", "<i:0>", "<i:2><i:2>\x86", "<i:3><i:1>\x86"), 6, NULL),
        // code
        CASE("cos\nsystem\nU\x04true\x85R", 0, "refuses to run 'os.system'"),
        CASE("cposix\nsystem\nU\x04true\x85R", 0, "'posix.system'"),
        CASE("c__builtin__\neval\nU\x01"
             "1\x85R",
             0, "'__builtin__.eval'"),
        CASE("ctorch.storage\n_load_from_bytes\nU\x01"
             "1\x85R",
             0, "_load_from_bytes"),
        CASE("ctorch\n\x1b[31mred\n)R", 0, "'torch.?[31mred'"),
        CASE("\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R", 0, "refuses to run 'os.system'"),
        CASE("ctorch._utils\n_rebuild_tensor_v2", -1, "ends in the middle"),
        CASE("cos\nsystem\n", 0, "no weights"),     // a name alone is not run
        CASE("cos\nsystem\n)\x81", 0, "frozen"),    // nor a class
        CASE("cos\nsystem\n)}\x92}b", 0, "frozen"), // of either opcode
        CASE("(U\x06moduleNNNtQ", 0, "not described as PyTorch does"),
        CASE("(U\x06modulecm\nM\nNNtQ)\x81", 0, "frozen"),
        CASE("N)\x81", 0, "without a class"),
        CASE("cm\nM\n\x81", 0, "without a class"),
        CASE("NN\x93", 0, "no text"),
        // views outside their storage
        CASE(TENSOR("<S:6>", "<i:0>", "<i:7>\x85", "<i:1>\x85"), 6, "do not fit"),
        CASE(TENSOR("<S:6>", "<i:1>", "<i:6>\x85", "<i:1>\x85"), 6, "do not fit"),
        CASE(TENSOR("<S:6>", "<i:-1>", "<i:1>\x85", "<i:1>\x85"), 6, "do not fit"),
        CASE(TENSOR("<S:6>", "<i:5>", "<i:2>\x85", "<i:-1>\x85"), 6, "do not fit"),
        CASE(TENSOR("<S:6>", "<i:0>", "<i:-2>\x85", "<i:1>\x85"), 6, "do not fit"),
        CASE(TENSOR("<S:6>", "<i:0>", "<i:4611686018427387904>\x85", "<i:8>\x85"), 6, "do not fit"),
        CASE(TENSOR("<S:6>", "<i:9223372036854775807>", "<i:2>\x85", "<i:1>\x85"), 6, "do not fit"),
        CASE(TENSOR("<S:6>", "<i:0>", "<i:2>\x85", "<i:1><i:1>\x86"), 6, "do not fit"),
        CASE(TENSOR("<S:6>", "<i:0>", "(<i:1><i:1><i:1><i:1><i:1><i:1><i:1><i:1><i:1>t",
                    "(<i:1><i:1><i:1><i:1><i:1><i:1><i:1><i:1><i:1>t"),
             6, "do not fit"),
        CASE(TENSOR("<S:6>", "<i:0>", "N\x85", "N\x85"), 6, "do not fit"),
        // a few bytes that claim to be many, and elements that are used twice
        CASE(TENSOR("<S:6>", "<i:0>", "<i:1000000>\x85", "<i:0>\x85"), 6, "do not fit"),
        CASE(TENSOR("<S:6>", "<i:0>", "<i:3><i:3>\x86", "<i:1><i:1>\x86"), 6, "do not fit"),
        CASE(TENSOR("<S:1000>", "<i:0>", "<i:2>\x85", "<i:1>\x85"), 6, "cut off"),
        CASE(TENSOR("<S:-1>", "<i:0>", "<i:2>\x85", "<i:1>\x85"), 6, "cut off"),
        CASE(TENSOR("N", "<i:0>", "<i:2>\x85", "<i:1>\x85"), 6, "without storage"),
        CASE("}U\x01t" REBUILD "N\x85Rs", 6, "without storage"),
        // containers of themselves
        CASE("]q\x01h\x01"
             "a",
             0, "no weights"),
        CASE("}q\x01U\x0astate_dicth\x01s", 0, "no weights"),
        CASE("}q\x01U\x0astate_dicth\x01s<S:0>\x97", 0, "opcode 0x97"),
        CASE("cm\nM\n)\x81q\x01}U\x01_h\x01sb", 0, "too deep"),
        CASE("cm\nM\n)\x81q\x01}(U\x01_h\x01U\x01-h\x01ub", 0, "too deep"),
        // a tuple of itself, as Python's pickler makes it
        CASE("]q\x01h\x01\x85q\x02"
             "0h\x02(NN1"
             "2"
             "01",
             0, "no mark"),
        // stack, memo and marks
        CASE("", -1, "ends in the middle"),
        CASE(".", -1, "one value"),
        CASE("NN.", -1, "one value"),
        CASE("(N.", -1, "one value"),
        CASE("u", 0, "no mark"),
        CASE("t", 0, "no mark"),
        CASE("Na", 0, "container that is not there"),
        CASE("}(NNNu", 0, "container that is not there"),
        CASE("](Na", 0, "container that is not there"),
        CASE("N\x86", 0, "not there"),
        CASE("q\x01", 0, "memo"),
        CASE("Nr\xff\xff\xff\xff", 0, "memo"),
        CASE("h\x05", 0, "not remembered"),
        CASE("j\xff\xff\xff\xff", 0, "not remembered"),
        CASE("N)R", 0, "no function"),
        CASE("N}b", 0, "attributes"),
        CASE("NQ", 0, "storage"),
        CASE("ctorch\nFloatStorage\n)R", 0, "outside the file"),
        CASE("X\xff\xff\xff\xff", -1, "ends in the middle"),
        CASE("\x80\x06", 0, "protocol 6"),
        CASE("\x95\x01\0\0\0\0\0\0\xff", 0, "frame"),
        CASE("\x8d\xff\xff\xff\xff\xff\xff\xff\xff", -1, "ends in the middle"),
        CASE("\x96\xff\xff\xff\xff\xff\xff\xff\x7f", -1, "ends in the middle"),
        CASE("\x94", 0, "memo"),
        CASE("0", 0, "no mark"),
        CASE("2", 0, "not there"),
        CASE("\x8a\x09"
             "123456789",
             -1, "ends in the middle"),
        CASE("N", 0, "no weights"),
        CASE("N", 6, "storages is damaged"),
        CASE("}", -1, "ends in the middle"),
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
        enum kb_code code = read_made(&set, cases[i].ops, cases[i].n, cases[i].floats, &err);
        if (code != (cases[i].part ? KB_BAD_INPUT : KB_OK) ||
            (cases[i].part && !strstr(err.text, cases[i].part)))
            fail_msg("case %zu: code %d, '%s', wanted '%s'", i, (int)code, err.text,
                     cases[i].part ? cases[i].part : "success");
    }
}

// 31 tensors that each show the whole of one storage: a bomb that no single size gives away.
static void test_shared_bomb(void **state)
{
    struct kb_error err = {0};
    size_t n_floats = 1 << 18, room = 8192 + n_floats * 4;
    CLEANUP(kb_freep) struct made *m = kb_alloc(sizeof(*m));
    put_head(m);
    static const char start[] = "}(U\x01"
                                "a" REBUILD "(<S:262144>q\x01<i:0><i:262144>\x85<i:1>\x85tR";
    put_ops(m, start, sizeof(start) - 1);
    for (int i = 0; i < 30; i++) {
        char ops[128];
        int n = snprintf(ops, sizeof(ops), "U\x02%c%c%s(h\x01<i:0><i:262144>\x85<i:1>\x85tR",
                         'b' + i / 10, '0' + i % 10, REBUILD);
        put_ops(m, ops, (size_t)n);
    }
    PUT(m, "u.\x80\x02]U\x01ka.");
    CLEANUP(kb_freep) uint8_t *file = kb_alloc(room);
    memcpy(file, m->bytes, m->n);
    int64_t count = (int64_t)n_floats;
    memcpy(file + m->n, &count, 8);
    struct tensor_set *set = NULL;
    assert_fails(err, KB_BAD_INPUT, "fill the memory",
                 pth_read(&set, file, m->n + 8 + n_floats * 4, &err));
}

// --- handmade zip files ---

static void put_u(struct made *m, uint64_t v, size_t n)
{
    put(m, &v, n);
}

struct entry {
    const char *name;
    const void *data;
    uint32_t size, listed_size; // as in the directory, 0 for the truth
    uint16_t method;
    bool repeats; // points at the first entry's bytes
};

static void put_zip(struct made *m, const struct entry *entries, size_t n)
{
    uint32_t offsets[8];
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = &entries[i];
        offsets[i] = e->repeats ? offsets[0] : (uint32_t)m->n;
        if (e->repeats)
            continue;
        PUT(m, "PK\3\4\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        put_u(m, e->size, 4);
        put_u(m, e->size, 4);
        put_u(m, strlen(e->name), 2);
        put_u(m, 0, 2);
        put(m, e->name, strlen(e->name));
        put(m, e->data, e->size);
    }
    size_t directory = m->n;
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = &entries[i];
        uint32_t size = e->listed_size ? e->listed_size : e->size;
        PUT(m, "PK\1\2\x14\0\x14\0\0\0");
        put_u(m, e->method, 2);
        put_u(m, 0, 8); // time, CRC
        put_u(m, size, 4);
        put_u(m, size, 4);
        put_u(m, strlen(e->name), 2);
        put_u(m, 0, 8); // extra, comment, disk, attributes
        put_u(m, 0, 4);
        put_u(m, offsets[i], 4);
        put(m, e->name, strlen(e->name));
    }
    size_t size = m->n - directory;
    PUT(m, "PK\5\6\0\0\0\0");
    put_u(m, n, 2);
    put_u(m, n, 2);
    put_u(m, size, 4);
    put_u(m, directory, 4);
    put_u(m, 0, 2);
}

static void test_zip(void **state)
{
    static const char pkl[] = "\x80\x02}U\x01t" REBUILD "((U\x07storagectorch\nFloatStorage\nU\x01"
                              "0U\x03"
                              "cpuK\x02tQ"
                              "K\x00K\x02\x85K\x01\x85tRs.";
    static const float data[2] = {0, 1};
    const struct entry good[] = {{"a/data.pkl", pkl, sizeof(pkl) - 1, 0, 0, false},
                                 {"a/data/0", data, 8, 0, 0, false},
                                 {"a/byteorder", "little", 6, 0, 0, false}};
    static const struct {
        int change; // of which entry
        struct entry to;
        const char *part; // NULL: accepted
    } cases[] = {
        {2, {"a/byteorder", "little", 6, 0, 0, false}, NULL},
        {2, {"a/byteorder", "big", 3, 0, 0, false}, "big-endian"},
        {1, {"a/data/1", data, 8, 0, 0, false}, "does not hold it"},
        {1, {"b/data/0", data, 8, 0, 0, false}, "does not hold it"},
        {1, {"a/data/0", data, 7, 0, 0, false}, "cut off"},
        {1, {"a/data/0", data, 8, 0, 8, false}, "compressed"},
        {1, {"a/data/0", data, 8, 1u << 30, 0, false}, "directory of the checkpoint"},
        {1, {"a/data/0", data, 8, 0, 0, true}, "directory of the checkpoint"},
        {2, {"a/code/x.py", "deflated", 8, 0, 8, false}, NULL}, // of which nothing is read
        {0, {"a/other.pkl", pkl, sizeof(pkl) - 1, 0, 0, false}, "no data.pkl"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        struct entry entries[3];
        memcpy(entries, good, sizeof(good));
        entries[cases[i].change] = cases[i].to;
        CLEANUP(kb_freep) struct made *m = kb_alloc(sizeof(*m));
        put_zip(m, entries, 3);
        CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
        enum kb_code code = pth_read(&set, m->bytes, m->n, &err);
        if (code != (cases[i].part ? KB_BAD_INPUT : KB_OK) ||
            (cases[i].part && !strstr(err.text, cases[i].part)))
            fail_msg("case %zu: code %d, '%s', wanted '%s'", i, (int)code, err.text,
                     cases[i].part ? cases[i].part : "success");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),   cmocka_unit_test(test_views),
        cmocka_unit_test(test_nested),  cmocka_unit_test(test_protocols),
        cmocka_unit_test(test_modules), cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_shared_bomb),
        cmocka_unit_test(test_zip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
