// The depot of the head, played by a server that also misbehaves; and addresses and credentials.
#include "tests/cluster/bad.h"

#include "base/bytes.h"
#include "cluster/depot.h"
#include "cluster/wire.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#define SECRET "5ec5e75ec5e75ec5e75ec5e75ec5e75ec5e75ec5e75ec5e75ec5e75ec5e75ec5"
#define NONCE  "0123456789abcdef0123456789abcdef"
#define BYTES  3000000 // in more than one piece

static char content[BYTES], name[65];

static int make_content(void **state)
{
    unsigned char digest[32];
    for (size_t i = 0; i < BYTES; i++)
        content[i] = (char)(i * 7919 >> 3);
    EVP_Digest(content, BYTES, digest, NULL, EVP_sha256(), NULL);
    bytes_hex(name, digest, sizeof(digest));
    return 0;
}

// --- the head's side

enum fault {
    NONE,
    BUSY,       // 503
    HANGS,      // nothing comes, and the depot waits for half a second only
    QUIET,      // nothing comes
    CUT,        // the connection ends in the middle
    FORGETFUL,  // sends all whatever was asked for
    OTHER_PART, // another part than was asked for
    OTHER_SIZE, // an object of another size
    GROWING,    // says no size, and sends too much
    SHORT,      // says no size, and sends too little
    MOVED,      // redirects
    STRANGER,   // 401
    GONE,       // 404
    FULL,       // 507
    GARBLED,    // 422
    ELSEWHERE,  // 409
    BABBLE,     // 200 and something
};

struct head {
    enum fault faults[8]; // by number of the call, NONE afterwards
    char *result;         // what has come of it
    size_t size;
    bool range_seen;
};

static void check_signature(struct head *h, const char *head)
{
    CLEANUP(kb_freep) char *shown = bad_header(head, "Authorization");
    size_t method = strcspn(head, " "), path = strcspn(head + method + 1, " ");
    CLEANUP(kb_freep)
    char *text = kb_printf("%.*s\n%.*s\n" NONCE, (int)method, head, (int)path, head + method + 1);
    char mac[WIRE_MAC_BYTES];
    wire_sign(mac, SECRET, text);
    CLEANUP(kb_freep) char *right = kb_printf("Koubo-Node n1:" NONCE ":%s", mac);
    assert_non_null(shown);
    assert_string_equal(shown, right);
}

static void send_file(int fd, enum fault fault, size_t from, bool ranged)
{
    CLEANUP(kb_freep)
    char *range = ranged ? kb_printf("Content-Range: bytes %zu-%d/%d\r\n",
                                     fault == OTHER_PART ? from - 1 : from, BYTES - 1, BYTES)
                         : kb_strdup("");
    const char *status = ranged ? "206 Part" : "200 OK";
    if (fault == CUT) {
        CLEANUP(kb_freep)
        char *head =
            kb_printf("HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, BYTES - from, range);
        bad_say(fd, head, strlen(head));
        bad_say(fd, content + from, (BYTES - from) / 2);
    } else if (fault == SHORT || fault == GROWING) {
        bad_say(fd, "HTTP/1.1 200 OK\r\n\r\n", 19);
        bad_say(fd, content, BYTES - 1);
        bad_say(fd, "xyz", fault == GROWING ? 3 : 0);
    } else {
        bad_reply(fd, status, range, content + from,
                  fault == OTHER_SIZE ? BYTES - from - 10 : BYTES - from);
    }
}

static void take_result(struct head *h, int fd, const char *head, const char *body, size_t n)
{
    const char *offset = strstr(head, "&offset=");
    assert_non_null(offset);
    assert_non_null(strstr(head, "?lease=9&sha256="));
    if (strtoul(offset + 8, NULL, 10) != h->size) {
        bad_text(fd, "409 Conflict", "{\"offset\":1}");
        return;
    }
    assert_true(h->size + n <= BYTES);
    memcpy(h->result + h->size, body, n);
    h->size += n;
    if (h->size == BYTES)
        bad_text(fd, "204 Done", "");
}

static void play_head(struct bad *b, int fd, const char *head, const char *body, size_t n)
{
    struct head *h = b->ctx;
    size_t i = (size_t)b->n_calls - 1;
    enum fault fault = i < ARRAY_LEN(h->faults) ? h->faults[i] : NONE;
    check_signature(h, head);
    static const struct {
        enum fault fault;
        const char *status, *body;
    } plain[] = {{BUSY, "503 Busy", ""},
                 {STRANGER, "401 Who", ""},
                 {GONE, "404 Gone", "{\"detail\":\"not of a job of yours\"}"},
                 {FULL, "507 Full", ""},
                 {GARBLED, "422 Garbled", ""},
                 {ELSEWHERE, "409 Conflict", "{\"offset\":0}"},
                 {BABBLE, "200 OK", "<html>welcome</html>"}};
    for (size_t k = 0; k < ARRAY_LEN(plain); k++)
        if (plain[k].fault == fault) {
            if (fault == GARBLED)
                h->size = 0;
            bad_text(fd, plain[k].status, plain[k].body);
            return;
        }
    if (fault == HANGS || fault == QUIET) {
        bad_stall(fd);
    } else if (fault == MOVED) {
        bad_reply(fd, "302 Moved", "Location: http://127.0.0.1:1/\r\n", "", 0);
    } else if (text_begins(head, "GET /api/v1/depot/files/")) {
        CLEANUP(kb_freep) char *range = bad_header(head, "Range");
        size_t from = range ? strtoul(range + strlen("bytes="), NULL, 10) : 0;
        h->range_seen = range != NULL;
        assert_non_null(strstr(head, name));
        send_file(fd, fault, fault == FORGETFUL ? 0 : from, range && fault != FORGETFUL);
    } else if (text_begins(head, "GET /api/v1/depot/results/7?lease=9 ")) {
        CLEANUP(kb_freep) char *offset = kb_printf("{\"offset\": %zu}", h->size);
        bad_text(fd, "200 OK", offset);
    } else {
        assert_true(text_begins(head, "PUT /api/v1/depot/results/7?"));
        take_result(h, fd, head, body, n);
    }
}

// --- our side

struct sunk {
    char *data;
    size_t size, fails_at; // 0: never
};

static enum kb_code sink(void *ctx, const void *data, size_t n, struct kb_error *err)
{
    struct sunk *s = ctx;
    if (s->fails_at > 0 && s->size + n >= s->fails_at)
        return kb_fail(err, KB_UNAVAILABLE, "the disk is away");
    assert_true(s->size + n <= BYTES);
    memcpy(s->data + s->size, data, n);
    s->size += n;
    return KB_OK;
}

static const char *pulse_says = NONCE;

static void pulse(void *ctx, char ret[33])
{
    snprintf(ret, 33, "%s", pulse_says);
}

struct test {
    struct bad bad;
    struct head head;
    struct depot *depot;
    struct sunk sunk;
    struct cancel cancel;
    int fd;
    struct kb_error err;
};

static void start(struct test *t, const enum fault *faults, size_t n)
{
    static char file[] = "/tmp/koubo-depot-XXXXXX";
    *t = (struct test){.sunk.data = kb_alloc(BYTES), .head.result = kb_alloc(BYTES)};
    memcpy(t->head.faults, faults, n * sizeof(*faults));
    bad_start(&t->bad, play_head, &t->head);
    char path[sizeof(file)];
    memcpy(path, file, sizeof(path));
    t->fd = mkstemp(path);
    assert_true(t->fd >= 0);
    unlink(path);
    assert_int_equal(write(t->fd, content, BYTES), BYTES);
    CLEANUP(kb_freep) char *address = kb_printf("http://127.0.0.1:%d", t->bad.port);
    bool hangs = false;
    for (size_t i = 0; i < n; i++)
        hangs = hangs || faults[i] == HANGS;
    const struct depot_params p = {.address = address,
                                   .node = "n1",
                                   .secret = SECRET,
                                   .pulse = pulse,
                                   .cancel = &t->cancel,
                                   .stall_ms = hangs ? 500 : 0, // the machine may be busy
                                   .pause_ms = 1};
    assert_ok(t->err, depot_open(&t->depot, &p, &t->err));
}

#define START(t, ...)                                                                              \
    do {                                                                                           \
        const enum fault faults_[] = {__VA_ARGS__};                                                \
        start(t, faults_, ARRAY_LEN(faults_));                                                     \
    } while (0)

static void stop(struct test *t)
{
    depot_close(&t->depot);
    bad_stop(&t->bad);
    close(t->fd);
    free(t->sunk.data);
    free(t->head.result);
}

static enum kb_code get(struct test *t, int64_t offset, int64_t *ret)
{
    t->sunk.size = (size_t)offset;
    memcpy(t->sunk.data, content, (size_t)offset);
    return depot_get(t->depot, name, BYTES, offset, sink, &t->sunk, ret, &t->err);
}

static void assert_got(struct test *t, int64_t offset)
{
    assert_int_equal(offset, BYTES);
    assert_int_equal(t->sunk.size, BYTES);
    assert_memory_equal(t->sunk.data, content, BYTES);
}

static void test_get(void **state)
{
    struct test t;
    int64_t offset = 0;
    START(&t, NONE);
    assert_ok(t.err, get(&t, 0, &offset));
    assert_got(&t, offset);
    assert_int_equal(t.bad.n_calls, 1);
    // What is there already is not fetched again; all of it: nothing is asked.
    assert_ok(t.err, get(&t, 1000, &offset));
    assert_got(&t, offset);
    pthread_mutex_lock(&t.bad.lock);
    assert_true(t.head.range_seen);
    pthread_mutex_unlock(&t.bad.lock);
    assert_ok(t.err, get(&t, BYTES, &offset));
    assert_int_equal(t.bad.n_calls, 2);
    stop(&t);
}

static void test_get_goes_on_after_faults(void **state)
{
    static const enum fault faults[] = {BUSY, HANGS, CUT, SHORT, FORGETFUL, OTHER_PART, STRANGER};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct test t;
        int64_t offset = 0;
        START(&t, faults[i], CUT);
        assert_ok(t.err, get(&t, 5, &offset));
        assert_got(&t, offset);
        stop(&t);
    }
}

static void test_get_gives_up(void **state)
{
    static const struct {
        enum fault fault;
        enum kb_code code;
        const char *part;
        int n_calls;
    } table[] = {
        {BUSY, KB_UNAVAILABLE, "HTTP status 503", 3},
        {CUT, KB_UNAVAILABLE, "broke off", 3},
        {STRANGER, KB_UNAVAILABLE, "'n1' in the list", 3},
        {GONE, KB_NOT_FOUND, "has no file", 1},
        {OTHER_SIZE, KB_NOT_FOUND, "instead of 3000000", 1},
        {GROWING, KB_NOT_FOUND, "longer than", 1},
        {MOVED, KB_BAD_INPUT, "another address", 1},
        {FULL, KB_NO_SPACE, "full", 1},
        {ELSEWHERE, KB_BAD_INPUT, "409", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct test t;
        int64_t offset = 0;
        enum fault f = table[i].fault;
        START(&t, f, f, f, f);
        assert_fails(t.err, table[i].code, table[i].part, get(&t, 0, &offset));
        assert_int_equal(t.bad.n_calls, table[i].n_calls);
        assert_null(strstr(t.err.text, SECRET));
        // How far it came is told, also then.
        assert_int_equal(offset, t.sunk.size);
        if (f == CUT)
            assert_true(offset > BYTES / 2);
        stop(&t);
    }
}

static void test_get_ends_with_its_sink(void **state)
{
    for (size_t i = 0; i < 3; i++) { // with its first piece, in the middle, with its last
        struct test t;
        int64_t offset = 0;
        START(&t, NONE);
        t.sunk.fails_at = i == 0 ? 1 : i == 1 ? BYTES / 2 : BYTES;
        assert_fails(t.err, KB_UNAVAILABLE, "the disk is away", get(&t, 0, &offset));
        assert_int_equal(offset, t.sunk.size);
        assert_int_equal(t.bad.n_calls, 1);
        stop(&t);
    }
}

static void *cancel_soon(void *opaque)
{
    struct test *t = opaque;
    while (t->bad.n_calls == 0)
        usleep(1000);
    cancel_request(&t->cancel);
    return NULL;
}

static void test_cancel(void **state)
{
    struct test t;
    pthread_t thread;
    int64_t offset = 0;
    START(&t, QUIET);
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &t), 0);
    assert_fails(t.err, KB_CANCELLED, "cancelled", get(&t, 0, &offset));
    pthread_join(thread, NULL);
    assert_int_equal(t.bad.n_calls, 1);
    stop(&t);
}

// Names of "….slow" are looked up until somebody lets it go on. libcurl calls this one.
static atomic_bool may_go_on, looked_up;

__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **ret)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    if (!node || !strstr(node, ".slow"))
        return real(node, service, hints, ret);
    looked_up = true;
    for (int i = 0; i < 6000 && !may_go_on; i++)
        usleep(10000);
    return EAI_AGAIN;
}

static void *cancel_the_look_up(void *cancel)
{
    while (!looked_up)
        usleep(1000);
    cancel_request(cancel);
    return NULL;
}

// Nobody waits for a name server that says nothing.
static void test_slow_names(void **state)
{
    struct cancel cancel = {0};
    struct depot *d = NULL;
    struct kb_error err = {0};
    struct sunk sunk = {0};
    int64_t offset = 0;
    pthread_t thread;
    const struct depot_params p = {.address = "http://head.slow:7860",
                                   .node = "n1",
                                   .secret = SECRET,
                                   .pulse = pulse,
                                   .cancel = &cancel};
    assert_ok(err, depot_open(&d, &p, &err));
    assert_int_equal(pthread_create(&thread, NULL, cancel_the_look_up, &cancel), 0);
    int64_t begin_us = kb_now_us();
    assert_fails(err, KB_CANCELLED, "", depot_get(d, name, BYTES, 0, sink, &sunk, &offset, &err));
    depot_close(&d);
    assert_true(kb_now_us() - begin_us < 30 * 1000000);
    pthread_join(thread, NULL);
    may_go_on = true;
}

static void test_without_pulse(void **state)
{
    struct test t;
    int64_t offset = 0;
    START(&t, NONE);
    pulse_says = "";
    assert_fails(t.err, KB_UNAVAILABLE, "not been heard", get(&t, 0, &offset));
    pulse_says = NONCE;
    assert_int_equal(t.bad.n_calls, 0);
    stop(&t);
}

static enum kb_code put(struct test *t)
{
    const struct depot_put p = {.sha256 = name, .fd = t->fd, .size = BYTES, .job = 7, .lease = 9};
    return depot_put(t->depot, &p, &t->err);
}

static void assert_put(struct test *t)
{
    pthread_mutex_lock(&t->bad.lock);
    assert_int_equal(t->head.size, BYTES);
    assert_memory_equal(t->head.result, content, BYTES);
    pthread_mutex_unlock(&t->bad.lock);
}

static void test_put(void **state)
{
    struct test t;
    START(&t, NONE);
    assert_ok(t.err, put(&t));
    assert_put(&t);
    // It is all there: said again, nothing is sent.
    assert_ok(t.err, put(&t));
    assert_put(&t);
    stop(&t);
}

static void test_put_goes_on(void **state)
{
    struct test t;
    // It was cut after some bytes, which are kept; the next asks for its offset and goes on.
    START(&t, NONE);
    pthread_mutex_lock(&t.bad.lock);
    t.bad.cut_body = 50000;
    t.head.size = 1000;
    memcpy(t.head.result, content, 1000);
    pthread_mutex_unlock(&t.bad.lock);
    assert_fails(t.err, KB_UNAVAILABLE, "", put(&t));
    pthread_mutex_lock(&t.bad.lock);
    assert_true(t.head.size > 150000 && t.head.size < BYTES);
    t.bad.cut_body = 0;
    pthread_mutex_unlock(&t.bad.lock);
    assert_ok(t.err, put(&t));
    assert_put(&t);
    stop(&t);

    static const enum fault faults[] = {BUSY, HANGS, GARBLED, ELSEWHERE, BABBLE, STRANGER};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        START(&t, NONE, faults[i]);
        assert_ok(t.err, put(&t));
        assert_put(&t);
        stop(&t);
    }
}

static void test_put_gives_up(void **state)
{
    static const struct {
        enum fault fault;
        enum kb_code code;
        const char *part;
        int n_calls;
    } table[] = {
        {BUSY, KB_UNAVAILABLE, "HTTP status 503", 6},
        {ELSEWHERE, KB_UNAVAILABLE, "stands", 6},
        {BABBLE, KB_UNAVAILABLE, "no sense", 6},
        {GARBLED, KB_INTERNAL, "announced", 4},
        {FULL, KB_NO_SPACE, "is full", 2},
        {GONE, KB_NOT_FOUND, "has no file", 2},
        {MOVED, KB_BAD_INPUT, "another address", 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct test t;
        enum fault f = table[i].fault;
        START(&t, NONE, f, NONE, f, NONE, f, NONE, f);
        assert_fails(t.err, table[i].code, table[i].part, put(&t));
        assert_int_equal(t.bad.n_calls, table[i].n_calls);
        stop(&t);
    }
}

static void test_put_of_a_file_that_shrinks(void **state)
{
    struct test t;
    START(&t, NONE);
    assert_int_equal(ftruncate(t.fd, 1000), 0);
    assert_fails(t.err, KB_INTERNAL, "shorter than it was", put(&t));
    stop(&t);
}

// --- addresses

static enum kb_code open_at(const char *address, const char *credentials, struct kb_error *err)
{
    const struct depot_params p = {.address = address,
                                   .credentials = credentials,
                                   .node = "n1",
                                   .secret = SECRET,
                                   .pulse = pulse};
    struct depot *d = NULL;
    enum kb_code code = depot_open(&d, &p, err);
    depot_close(&d);
    return code;
}

static void forget_keys(void)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
}

static void test_addresses(void **state)
{
    static const char *const good[] = {
        "http://head:7860",
        "https://head/?ca=/dev/../etc/passwd",
        "http://[::1]:7860",
        "s3://films",
        "s3://films/",
        "s3://films/a/b-c/_d.e",
        "s3://films?endpoint=http://127.0.0.1:9000&region=eu-1&style=path",
        "s3://films/x?style=host&endpoint=https%3A%2F%2Fstore.example&ca=%2Fetc/passwd",
    };
    static const struct {
        const char *address, *part;
    } bad[] = {
        {"", "must be like"},
        {"head:7860", "must be like"},
        {"ftp://head", "must be like"},
        {"s3://f", "must be like"},
        {"s3://films:9000/x", "must be like"},
        {"s3://key:word@films", "must be like"},
        {"http://u:p@head:7860", "must be like"},
        {"http://head:7860/koubo", "no folder"},
        {"http://head:7860?style=path", "'style'"},
        {"https://head?ca=/nowhere/a%20b", "'/nowhere/a b'"},
        {"s3://films/a/../b", "may have letters"},
        {"s3://films/a%2Fb", "may have letters"},
        {"s3://films?stile=path", "'stile'"},
        {"s3://films?region=", "'region'"},
        {"s3://films?region=a:b", "no name of a region"},
        {"s3://films?style=new", "'new'"},
        {"s3://films?endpoint=store", "must be like"},
        {"s3://films?endpoint=file:///etc", "must be like"},
        {"s3://films?endpoint=http://store/a", "no folder"},
    };
    struct kb_error err = {0};
    setenv("AWS_ACCESS_KEY_ID", "key", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (open_at(good[i], NULL, &err) != KB_OK)
            fail_msg("%s: %s", good[i], err.text);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err = (struct kb_error){0};
        if (open_at(bad[i].address, NULL, &err) != KB_BAD_INPUT || !strstr(err.text, bad[i].part) ||
            strstr(err.text, "word"))
            fail_msg("%s: %s", bad[i].address, err.text);
    }
    forget_keys();
    assert_false(depot_is_s3("http://head:7860"));
    assert_true(depot_is_s3("s3://films"));
}

static void test_credentials(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        enum kb_code code;
        const char *part;
    } table[] = {
        {"AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b=c/d\n", 0600, KB_OK, ""},
        {"# of us\n\nexport AWS_ACCESS_KEY_ID='a'\r\n  AWS_SECRET_ACCESS_KEY=\"b\"\r\nOTHER=1",
         0400, KB_OK, ""},
        {"AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=hush\n", 0640, KB_BAD_INPUT, "chmod 600"},
        {"AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=hush\n", 0604, KB_BAD_INPUT, "chmod 600"},
        {"AWS_ACCESS_KEY_ID=a\n", 0600, KB_BAD_INPUT, "AWS_SECRET_ACCESS_KEY"},
        {"AWS_SECRET_ACCESS_KEY=hush\nAWS_ACCESS_KEY_ID=\n", 0600, KB_BAD_INPUT,
         "AWS_ACCESS_KEY_ID"},
        {"AWS_SECRET_ACCESS_KEY=hu sh\nAWS_ACCESS_KEY_ID=a\n", 0600, KB_BAD_INPUT, "characters"},
        {"", 0600, KB_BAD_INPUT, "AWS_ACCESS_KEY_ID"},
    };
    char path[] = "/tmp/koubo-keys-XXXXXX";
    struct kb_error err = {0};
    close(mkstemp(path));
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(table[i].text, f);
        fclose(f);
        chmod(path, table[i].mode);
        err = (struct kb_error){0};
        enum kb_code code = open_at("s3://films", path, &err);
        if (code != table[i].code || !strstr(err.text, table[i].part) || strstr(err.text, "hu"))
            fail_msg("row %zu: code %d, %s", i, (int)code, err.text);
        chmod(path, 0600);
    }
    unlink(path);
    assert_fails(err, KB_NOT_FOUND, path, open_at("s3://films", path, &err));
    assert_fails(err, KB_BAD_INPUT, "must be a file", open_at("s3://films", "/dev/null", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_get_goes_on_after_faults),
        cmocka_unit_test(test_get_gives_up),
        cmocka_unit_test(test_get_ends_with_its_sink),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_slow_names),
        cmocka_unit_test(test_without_pulse),
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_put_goes_on),
        cmocka_unit_test(test_put_gives_up),
        cmocka_unit_test(test_put_of_a_file_that_shrinks),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_credentials),
    };
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    forget_keys();
    setenv("no_proxy", "*", 1);
    return cmocka_run_group_tests(tests, make_content, NULL);
}
