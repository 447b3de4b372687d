// The depot on an S3 store: tests/cluster/s3.mjs, which checks signatures and checksums as real
// ones do, and fails as it is told.
#include "tests/test.h"

#include "base/bytes.h"
#include "base/cancel.h"
#include "base/text.h"
#include "cluster/depot.h"
#include "cluster/depot_xml.h"
#include "tests/cluster/s3_store.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <sys/mman.h>

#define SMALL 100000
#define PART  (1 << 20)
#define LARGE (2 * PART + 1)   // three parts
#define HUGE  ((33 << 20) + 1) // three parts of the usual size

// --- the store

static struct s3_store s3;

static int s3_start(void **state)
{
    s3_store_start(&s3);
    return 0;
}

static int s3_stop(void **state)
{
    s3_store_stop(&s3);
    return 0;
}

// One line to the store, and its answer, in a static buffer.
static const char *s3_say(const char *fmt, ...) KB_PRINTF(1, 2);
static const char *s3_say(const char *fmt, ...)
{
    static char answer[65536];
    va_list args;
    va_start(args, fmt);
    vfprintf(s3.to, fmt, args);
    va_end(args);
    fputc('\n', s3.to);
    fflush(s3.to);
    assert_non_null(fgets(answer, sizeof(answer), s3.from));
    return answer;
}

#define NEED_S3()                                                                                  \
    do {                                                                                           \
        if (!s3_store_is_here(&s3))                                                                \
            SKIP_TEST("no node, or no s3rver in tests/cluster (npm ci)");                          \
    } while (0)

// --- our side

struct test {
    struct depot *depot;   // the head's
    struct depot *machine; // what reads that; with keys of its own
    struct cancel cancel;
    struct kb_error err;
    int fd;
    int64_t size;
    char name[65], object[68]; // "in/" and the name
    int stall_ms;              // 0 = the usual 30 s, as the machine may be busy
    bool raise;                // the cancel flag, once half is sent
    int64_t seen;              // progress
};

static void watch(void *ctx, int64_t done, int64_t total)
{
    struct test *t = ctx;
    t->seen = done;
    if (t->raise && done > total / 2)
        cancel_request(&t->cancel);
}

static void use_keys(const char *key, const char *secret)
{
    setenv("AWS_ACCESS_KEY_ID", key, 1);
    setenv("AWS_SECRET_ACCESS_KEY", secret, 1);
}

static void open_at(struct test *t, const char *address)
{
    CLEANUP(kb_freep) char *key = kb_strdup(getenv("AWS_ACCESS_KEY_ID"));
    CLEANUP(kb_freep) char *secret = kb_strdup(getenv("AWS_SECRET_ACCESS_KEY"));
    struct depot_params p = {.address = address,
                             .cancel = &t->cancel,
                             .progress = watch,
                             .ctx = t,
                             .stall_ms = t->stall_ms,
                             .pause_ms = 1,
                             .part_bytes = t->size < HUGE ? PART : 0};
    depot_close(&t->depot);
    depot_close(&t->machine);
    assert_ok(t->err, depot_open(&t->depot, &p, &t->err));
    p.side = DEPOT_NODE;
    use_keys(S3_NODE_KEY, S3_NODE_SECRET);
    assert_ok(t->err, depot_open(&t->machine, &p, &t->err));
    use_keys(key, secret);
}

// A file of that size that differs all along, its name, and the depot with a folder of its own.
static void start(struct test *t, const char *folder, int64_t size)
{
    *t = (struct test){.size = size, .fd = memfd_create("test", MFD_CLOEXEC)};
    unsigned char digest[32];
    assert_true(t->fd >= 0);
    assert_int_equal(ftruncate(t->fd, size), 0);
    uint8_t *bytes = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
    assert_true(bytes != MAP_FAILED);
    for (int64_t i = 0; i < size; i += 997)
        bytes[i] = (uint8_t)(i >> 10);
    snprintf((char *)bytes, 64, "%s", folder);
    EVP_Digest(bytes, (size_t)size, digest, NULL, EVP_sha256(), NULL);
    bytes_hex(t->name, digest, sizeof(digest));
    snprintf(t->object, sizeof(t->object), "in/%s", t->name);
    munmap(bytes, (size_t)size);
    CLEANUP(kb_freep) char *address = kb_printf("s3://films/%s?endpoint=%s", folder, s3.endpoint);
    open_at(t, address);
    s3_say("clear");
}

static void stop(struct test *t)
{
    depot_close(&t->depot);
    depot_close(&t->machine);
    close(t->fd);
}

static enum kb_code put(struct test *t)
{
    const struct depot_put p = {.sha256 = t->name, .fd = t->fd, .size = t->size};
    return depot_put(t->depot, &p, &t->err);
}

static enum kb_code hash_it(void *ctx, const void *data, size_t n, struct kb_error *err)
{
    EVP_DigestUpdate(ctx, data, n);
    return KB_OK;
}

static enum kb_code count_it(void *ctx, const void *data, size_t n, struct kb_error *err)
{
    *(int64_t *)ctx += (int64_t)n;
    return KB_OK;
}

static void assert_there(struct test *t)
{
    unsigned char digest[32];
    char name[65];
    int64_t size = 0, offset = 0;
    EVP_MD_CTX *sha256 = EVP_MD_CTX_new();
    EVP_DigestInit_ex(sha256, EVP_sha256(), NULL);
    assert_ok(t->err, depot_find(t->depot, t->name, &size, &t->err));
    assert_int_equal(size, t->size);
    assert_ok(t->err,
              depot_get(t->machine, t->name, t->size, 0, hash_it, sha256, &offset, &t->err));
    assert_int_equal(offset, t->size);
    EVP_DigestFinal_ex(sha256, digest, NULL);
    EVP_MD_CTX_free(sha256);
    bytes_hex(name, digest, sizeof(digest));
    assert_string_equal(name, t->name);
}

static void assert_empty(void)
{
    assert_string_equal(s3_say("left"), "{\"objects\":[],\"uploads\":[]}\n");
}

static void test_whole(void **state)
{
    NEED_S3();
    struct test t;
    int64_t size = 0, offset = 0, n = 0;
    start(&t, "a/b", SMALL);
    assert_ok(t.err, depot_find(t.depot, t.name, &size, &t.err));
    assert_int_equal(size, -1);
    assert_fails(t.err, KB_NOT_FOUND, t.name,
                 depot_get(t.machine, t.name, SMALL, 0, count_it, &n, &offset, &t.err));
    assert_ok(t.err, put(&t));
    assert_int_equal(t.seen, SMALL);
    assert_there(&t);
    assert_ok(t.err, put(&t)); // once more does no harm
    assert_ok(t.err, depot_get(t.machine, t.name, SMALL, 60000, count_it, &n, &offset, &t.err));
    assert_int_equal(n, SMALL - 60000);
    assert_fails(t.err, KB_NOT_FOUND, "instead of 99999",
                 depot_get(t.machine, t.name, SMALL - 1, 0, count_it, &n, &offset, &t.err));
    CLEANUP(kb_freep)
    char *left = kb_printf("{\"objects\":[\"a/b/in/%s\"],\"uploads\":[]}\n", t.name);
    assert_string_equal(s3_say("left"), left);
    assert_ok(t.err, depot_remove(t.depot, t.object, &t.err));
    assert_ok(t.err, depot_remove(t.depot, t.object, &t.err)); // gone is gone
    assert_empty();
    stop(&t);
}

static void test_bucket_in_the_name_of_the_host(void **state)
{
    NEED_S3();
    struct test t;
    start(&t, "host", SMALL);
    CLEANUP(kb_freep)
    char *address =
        kb_printf("s3://films?style=host&endpoint=http://localhost%s", strrchr(s3.endpoint, ':'));
    open_at(&t, address);
    assert_ok(t.err, put(&t));
    assert_there(&t);
    assert_ok(t.err, depot_remove(t.depot, t.object, &t.err));
    assert_empty();
    stop(&t);
}

static void test_parts(void **state)
{
    NEED_S3();
    struct test t;
    start(&t, "parts", HUGE);
    assert_ok(t.err, put(&t));
    assert_int_equal(t.seen, HUGE);
    assert_there(&t);
    assert_ok(t.err, depot_remove(t.depot, t.object, &t.err));
    assert_empty();
    stop(&t);
}

static void test_goes_on_after_faults(void **state)
{
    NEED_S3();
    static const struct {
        int64_t size;
        const char *fault;
    } table[] = {
        {SMALL, "{\"what\":\"error\",\"status\":500,\"times\":2}"},
        {SMALL, "{\"what\":\"error\",\"status\":503,\"code\":\"SlowDown\",\"method\":\"HEAD\"}"},
        {SMALL, "{\"what\":\"stall\",\"method\":\"HEAD\"}"},
        {SMALL, "{\"what\":\"cut\",\"method\":\"PUT\",\"times\":2}"},
        {SMALL, "{\"what\":\"garble\",\"method\":\"PUT\"}"},
        {SMALL, "{\"what\":\"cut\",\"method\":\"GET\",\"times\":2}"},
        {SMALL, "{\"what\":\"error\",\"status\":400,\"code\":\"RequestTimeout\",\"times\":2}"},
        {LARGE, "{\"what\":\"error\",\"status\":500,\"path\":\"uploads=\",\"times\":2}"},
        {LARGE, "{\"what\":\"error\",\"status\":503,\"path\":\"partNumber=\",\"times\":2}"},
        {LARGE, "{\"what\":\"stall\",\"path\":\"uploads=\"}"},
        {LARGE, "{\"what\":\"cut\",\"path\":\"partNumber=1\",\"times\":2}"},
        {LARGE, "{\"what\":\"garble\",\"path\":\"partNumber=3\"}"},
        {LARGE, "{\"what\":\"lie\",\"method\":\"POST\",\"path\":\"uploadId=\"}"},
        {LARGE, "{\"what\":\"babble\",\"method\":\"POST\",\"path\":\"uploadId=\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct test t;
        start(&t, "faults", table[i].size);
        if (strstr(table[i].fault, "stall")) {
            t.stall_ms = 500;
            CLEANUP(kb_freep)
            char *address = kb_printf("s3://films/stall?endpoint=%s", s3.endpoint);
            open_at(&t, address);
        }
        s3_say("%s", table[i].fault);
        t.err = (struct kb_error){0};
        if (put(&t) != KB_OK)
            fail_msg("%s: %s", table[i].fault, t.err.text);
        assert_int_equal(t.seen, t.size);
        assert_there(&t);
        assert_ok(t.err, depot_remove(t.depot, t.object, &t.err));
        stop(&t);
    }
    assert_empty();
}

// What the store refuses, and in which words; nothing of it is left there.
static void test_gives_up(void **state)
{
    NEED_S3();
    static const struct {
        int64_t size;
        const char *fault;
        enum kb_code code;
        const char *part;
    } table[] = {
        {SMALL, "{\"what\":\"error\",\"status\":500,\"times\":9}", KB_UNAVAILABLE, "InternalError"},
        {SMALL, "{\"what\":\"error\",\"status\":502,\"code\":\"?\",\"times\":9}", KB_UNAVAILABLE,
         "502"},
        {SMALL, "{\"what\":\"cut\",\"times\":9}", KB_UNAVAILABLE, "cannot be reached"},
        {SMALL, "{\"what\":\"error\",\"status\":403,\"code\":\"AccessDenied\"}", KB_BAD_INPUT,
         "AccessDenied"},
        {SMALL, "{\"what\":\"error\",\"status\":404,\"code\":\"NoSuchBucket\"}", KB_BAD_INPUT,
         "bucket"},
        {SMALL, "{\"what\":\"error\",\"status\":301,\"code\":\"PermanentRedirect\"}", KB_BAD_INPUT,
         "region"},
        {SMALL, "{\"what\":\"error\",\"status\":400,\"code\":\"EntityTooLarge\"}", KB_BAD_INPUT,
         "EntityTooLarge"},
        {SMALL, "{\"what\":\"error\",\"status\":403,\"code\":\"QuotaExceeded\"}", KB_NO_SPACE,
         "full"},
        {SMALL, "{\"what\":\"resize\",\"method\":\"HEAD\"}", KB_UNAVAILABLE, "instead of"},
        {LARGE, "{\"what\":\"error\",\"status\":507,\"path\":\"partNumber=2\"}", KB_NO_SPACE,
         "full"},
        {LARGE, "{\"what\":\"garble\",\"path\":\"partNumber=2\",\"times\":9}", KB_UNAVAILABLE,
         "XAmzContentSHA256Mismatch"},
        {LARGE, "{\"what\":\"babble\",\"path\":\"partNumber=2\"}", KB_UNAVAILABLE, "no sense"},
        {LARGE, "{\"what\":\"babble\",\"path\":\"uploads=\"}", KB_UNAVAILABLE, "no sense"},
        {LARGE, "{\"what\":\"lie\",\"method\":\"POST\",\"path\":\"uploadId=\",\"times\":9}",
         KB_UNAVAILABLE, "together"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct test t;
        start(&t, "refused", table[i].size);
        s3_say("%s", table[i].fault);
        t.err = (struct kb_error){0};
        enum kb_code code = put(&t);
        if (code != table[i].code || !strstr(t.err.text, table[i].part) ||
            strstr(t.err.text, S3_SECRET))
            fail_msg("%s: code %d, %s", table[i].fault, (int)code, t.err.text);
        s3_say("clear");
        assert_ok(t.err, depot_remove(t.depot, t.object, &t.err));
        assert_empty();
        stop(&t);
    }
}

static void test_tls(void **state)
{
    NEED_S3();
    struct test t;
    char place[256], certificate[256];
    start(&t, "tls", SMALL);
    if (sscanf(s3_say("tls"), "https://%255s %255s", place, certificate) != 2) {
        stop(&t);
        SKIP_TEST("no program openssl that makes a certificate");
    }
    CLEANUP(kb_freep) char *unknown = kb_printf("s3://films?endpoint=https://%s", place);
    CLEANUP(kb_freep) char *known = kb_printf("%s&ca=%s", unknown, certificate);
    CLEANUP(kb_freep)
    char *other = kb_printf("s3://films?endpoint=https://localhost%s&ca=%s", strrchr(place, ':'),
                            certificate);
    open_at(&t, unknown);
    assert_fails(t.err, KB_UNAVAILABLE, "certificate", put(&t));
    open_at(&t, other); // the certificate is of another name
    assert_fails(t.err, KB_UNAVAILABLE, "certificate", put(&t));
    open_at(&t, known);
    assert_ok(t.err, put(&t));
    assert_there(&t);
    assert_ok(t.err, depot_remove(t.depot, t.object, &t.err));
    assert_empty();
    stop(&t);
}

static void test_wrong_keys(void **state)
{
    NEED_S3();
    static const struct {
        const char *key, *secret, *part;
    } table[] = {{S3_KEY, "guessed", "SignatureDoesNotMatch"},
                 {"SOMEBODY", S3_SECRET, "InvalidAccessKeyId"}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct test t;
        int64_t size = 0;
        use_keys(table[i].key, table[i].secret);
        start(&t, "keys", SMALL);
        assert_fails(t.err, KB_BAD_INPUT, table[i].part, put(&t));
        // An answer to HEAD has no body that says which.
        assert_fails(t.err, KB_BAD_INPUT, "credentials",
                     depot_find(t.depot, t.name, &size, &t.err));
        use_keys(S3_KEY, S3_SECRET);
        stop(&t);
    }
}

static void test_clocks_that_differ(void **state)
{
    NEED_S3();
    struct test t;
    int64_t size = 0;
    start(&t, "clock", SMALL);
    s3_say("clock -3600000");
    assert_fails(t.err, KB_BAD_INPUT, "60 minutes", put(&t));
    assert_fails(t.err, KB_BAD_INPUT, "60 minutes", depot_find(t.depot, t.name, &size, &t.err));
    s3_say("clock 0");
    assert_ok(t.err, put(&t));
    assert_ok(t.err, depot_remove(t.depot, t.object, &t.err));
    stop(&t);
}

static void test_cut_short(void **state)
{
    NEED_S3();
    struct test t;
    int64_t n = 0, offset = 0;
    start(&t, "short", SMALL);
    assert_ok(t.err, put(&t));
    s3_say("{\"what\":\"cut\",\"method\":\"GET\",\"times\":9}");
    assert_fails(t.err, KB_UNAVAILABLE, "cannot be reached",
                 depot_get(t.machine, t.name, SMALL, 0, count_it, &n, &offset, &t.err));
    assert_int_equal(offset, n);
    assert_true(n > SMALL / 2 && n < SMALL);
    s3_say("clear");
    // What came garbled the receiver's hash tells; a length that is another one, the depot.
    s3_say("{\"what\":\"resize\",\"method\":\"GET\"}");
    assert_fails(t.err, KB_NOT_FOUND, "99999 bytes",
                 depot_get(t.machine, t.name, SMALL, 0, count_it, &n, &offset, &t.err));
    assert_ok(t.err, depot_remove(t.depot, t.object, &t.err));
    stop(&t);
}

static void test_cancel_leaves_nothing(void **state)
{
    NEED_S3();
    struct test t;
    start(&t, "cancel", LARGE);
    t.raise = true;
    assert_fails(t.err, KB_CANCELLED, "cancelled", put(&t));
    assert_empty();
    stop(&t);
}

// --- lists

struct found {
    int n_objects, n_parts;
    int64_t bytes;
    char part[512], last[512];
};

static void find(void *ctx, const char *name, int64_t size, int64_t modified_ms, bool part)
{
    struct found *f = ctx;
    f->bytes += size;
    if (part)
        snprintf(f->part, sizeof(f->part), "%s", name);
    *(part ? &f->n_parts : &f->n_objects) += 1;
    const char *digits = strchr(name, '/') + 1;
    assert_true(strncmp(name, "in/", 3) == 0 || strncmp(name, "out/", 4) == 0);
    assert_int_equal(strspn(digits, "0123456789abcdef"), 64);
    snprintf(f->last, sizeof(f->last), "%s", name);
    assert_true(llabs(modified_ms - kb_wall_ms()) < 3600000);
}

static void put_named(struct test *t, const char *name)
{
    const struct depot_put p = {.sha256 = name, .fd = t->fd, .size = t->size};
    assert_ok(t->err, depot_put(t->depot, &p, &t->err));
}

static void remove_in(struct test *t, const char *name)
{
    CLEANUP(kb_freep) char *object = kb_printf("in/%s", name);
    assert_ok(t->err, depot_remove(t->depot, object, &t->err));
}

static void test_list(void **state)
{
    NEED_S3();
    struct test t;
    char names[7][65];
    struct found f = {0};
    start(&t, "list", 1000);
    for (int i = 0; i < 5; i++) { // pages of two
        memset(names[i], 'a' + i, 64);
        names[i][64] = '\0';
        put_named(&t, names[i]);
    }
    put_named(&t, "not-ours"); // somebody else's, and deeper
    CLEANUP(kb_freep) char *deeper = kb_printf("deeper/%s", names[0]);
    put_named(&t, deeper);
    assert_ok(t.err, depot_list(t.depot, find, &f, &t.err));
    assert_int_equal(f.n_objects, 5);
    assert_int_equal(f.n_parts, 0);
    assert_int_equal(f.bytes, 5000);
    // Nothing of it is above the folder.
    CLEANUP(kb_freep) char *address = kb_printf("s3://films?endpoint=%s", s3.endpoint);
    open_at(&t, address);
    f = (struct found){0};
    assert_ok(t.err, depot_list(t.depot, find, &f, &t.err));
    assert_int_equal(f.n_objects, 0);
    stop(&t);
    start(&t, "list", 1000);
    for (int i = 0; i < 5; i++)
        remove_in(&t, names[i]);
    remove_in(&t, "not-ours");
    remove_in(&t, deeper);
    assert_empty();
    stop(&t);
}

static void test_list_of_what_was_begun(void **state)
{
    NEED_S3();
    struct test t;
    start(&t, "begun", LARGE);
    for (int i = 0; i < 5; i++) { // its parts fail, and so does giving it up
        s3_say("{\"what\":\"error\",\"status\":507,\"path\":\"partNumber=\"}");
        s3_say("{\"what\":\"error\",\"status\":500,\"method\":\"DELETE\"}");
        assert_fails(t.err, KB_NO_SPACE, "full", put(&t));
        s3_say("clear");
    }
    struct found f = {0};
    assert_ok(t.err, depot_list(t.depot, find, &f, &t.err));
    assert_int_equal(f.n_parts, 5);
    assert_int_equal(f.n_objects, 0);
    for (; f.n_parts > 0; f.n_parts--) {
        struct found left = {0};
        assert_ok(t.err, depot_list(t.depot, find, &left, &t.err));
        assert_int_equal(left.n_parts, f.n_parts);
        assert_ok(t.err, depot_remove(t.depot, left.part, &t.err));
        assert_ok(t.err, depot_remove(t.depot, left.part, &t.err)); // gone is gone
    }
    // Of a store that has no such list nothing is wanted; one that babbles is an error.
    s3_say("{\"what\":\"error\",\"status\":501,\"code\":\"NotImplemented\",\"path\":\"uploads=\","
           "\"times\":3}");
    assert_ok(t.err, depot_list(t.depot, find, &f, &t.err));
    s3_say("clear");
    s3_say("{\"what\":\"babble\",\"path\":\"list-type\"}");
    assert_fails(t.err, KB_UNAVAILABLE, "no sense", depot_list(t.depot, find, &f, &t.err));
    assert_empty();
    stop(&t);
}

static void test_try(void **state)
{
    NEED_S3();
    struct test t;
    int64_t ms = -1, clock_ms = -1;
    start(&t, "try", 1000);
    s3_say("clock 300000");
    assert_ok(t.err, depot_try(t.depot, &ms, &clock_ms, &t.err));
    assert_in_range(ms, 0, 60000);
    assert_in_range(clock_ms, 300000 - 30000, 300000 + 30000);
    s3_say("clock 0");
    s3_say("{\"what\":\"garble\",\"method\":\"GET\"}");
    assert_fails(t.err, KB_UNAVAILABLE, "no sense", depot_try(t.depot, &ms, &clock_ms, &t.err));
    s3_say("{\"what\":\"error\",\"status\":403,\"code\":\"AccessDenied\",\"method\":\"DELETE\"}");
    assert_fails(t.err, KB_BAD_INPUT, "AccessDenied", depot_try(t.depot, &ms, &clock_ms, &t.err));
    stop(&t);
}

// --- what keys of a machine may do

static void test_two_sides(void **state)
{
    NEED_S3();
    static const int64_t sizes[] = {SMALL, LARGE};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct test t;
        struct depot *thief = NULL;
        struct found f = {0};
        int64_t n = 0, offset = 0, ms, clock_ms;
        start(&t, "sides", sizes[i]);
        CLEANUP(kb_freep) char *out = kb_printf("out/%s", t.name);
        CLEANUP(kb_freep) char *address = kb_printf("s3://films/sides?endpoint=%s", s3.endpoint);
        const struct depot_put p = {.sha256 = t.name, .fd = t.fd, .size = t.size};
        // Its result the head can fetch and remove, and no other machine.
        assert_ok(t.err, depot_put(t.machine, &p, &t.err));
        assert_fails(t.err, KB_NOT_FOUND, t.name,
                     depot_get(t.machine, t.name, t.size, 0, count_it, &n, &offset, &t.err));
        assert_ok(t.err, depot_get(t.depot, t.name, t.size, 0, count_it, &n, &offset, &t.err));
        assert_int_equal(n, t.size);
        assert_ok(t.err, depot_list(t.depot, find, &f, &t.err));
        assert_int_equal(f.n_objects, 1);
        assert_string_equal(f.last, out);
        // With the keys of a machine, who pretends to be the head gets nowhere.
        const struct depot_params head = {.address = address, .pause_ms = 1, .part_bytes = PART};
        use_keys(S3_NODE_KEY, S3_NODE_SECRET);
        assert_ok(t.err, depot_open(&thief, &head, &t.err));
        use_keys(S3_KEY, S3_SECRET);
        assert_fails(t.err, KB_BAD_INPUT, "AccessDenied", depot_put(thief, &p, &t.err));
        assert_fails(t.err, KB_BAD_INPUT, "AccessDenied",
                     depot_get(thief, t.name, t.size, 0, count_it, &n, &offset, &t.err));
        assert_fails(t.err, KB_BAD_INPUT, "AccessDenied", depot_list(thief, find, &f, &t.err));
        assert_fails(t.err, KB_BAD_INPUT, "AccessDenied", depot_remove(thief, out, &t.err));
        assert_fails(t.err, KB_BAD_INPUT, "AccessDenied", depot_remove(thief, t.object, &t.err));
        assert_fails(t.err, KB_BAD_INPUT, "AccessDenied", depot_try(thief, &ms, &clock_ms, &t.err));
        depot_close(&thief);
        assert_ok(t.err, depot_remove(t.depot, out, &t.err));
        // What a machine tries with is the head's to remove.
        assert_ok(t.err, depot_try(t.machine, &ms, &clock_ms, &t.err));
        assert_ok(t.err, depot_list(t.depot, find, &f, &t.err));
        assert_ok(t.err, depot_remove(t.depot, f.last, &t.err));
        assert_empty();
        stop(&t);
    }
}

// --- the XML

static void note(void *ctx, const char *parent, const char *name, const char *text)
{
    text_addf(ctx, "%s/%s=%s;", parent, name, text);
}

static void test_xml(void **state)
{
    CLEANUP(kb_freep) char *long_text = kb_printf("<a>%5000s</a>", "");
    CLEANUP(kb_freep) char *long_name = kb_printf("<%0100d/>", 0);
    const struct {
        const char *xml, *said; // NULL: refused
    } table[] = {
        {"<?xml version=\"1.0\"?>\n<E xmlns='http://s3'><C>No&amp;&#x4e2d;</C><M/></E>",
         "E/C=No&\xe4\xb8\xad;E/M=;/E=;"},
        {"<a>x<b>y</b>z</a>", "a/b=y;/a=xz;"},
        {"", NULL},
        {"<a>", NULL},
        {"<a></b>", NULL},
        {"<a/><b/>", NULL},
        {"<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", NULL},
        {"<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>", NULL},
        {"<a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a>", NULL},
        {"<html><p>welcome", NULL},
        {"<a>\xff</a>", NULL},
        {long_text, NULL},
        {long_name, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        CLEANUP(text_free) struct text said = {0};
        bool good = xml_read(table[i].xml, strlen(table[i].xml), note, &said);
        assert_int_equal(good, table[i].said != NULL);
        if (good)
            assert_string_equal(text_get(&said), table[i].said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),      cmocka_unit_test(test_bucket_in_the_name_of_the_host),
        cmocka_unit_test(test_parts),      cmocka_unit_test(test_goes_on_after_faults),
        cmocka_unit_test(test_gives_up),   cmocka_unit_test(test_tls),
        cmocka_unit_test(test_wrong_keys), cmocka_unit_test(test_clocks_that_differ),
        cmocka_unit_test(test_cut_short),  cmocka_unit_test(test_cancel_leaves_nothing),
        cmocka_unit_test(test_list),       cmocka_unit_test(test_list_of_what_was_begun),
        cmocka_unit_test(test_two_sides),  cmocka_unit_test(test_try),
        cmocka_unit_test(test_xml),
    };
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    setenv("no_proxy", "*", 1);
    use_keys(S3_KEY, S3_SECRET);
    unsetenv("AWS_SESSION_TOKEN");
    unsetenv("AWS_REGION");
    unsetenv("AWS_ENDPOINT_URL");
    return cmocka_run_group_tests(tests, s3_start, s3_stop);
}
