// How fast files come from a depot and go there: bench_depot FOLDER [MB [S3-ADDRESS]]. Prints a
// "key value" a line, medians of 5 runs, in MB (10^6 bytes) a second.
//
//   copy         a plain copy of the file: read, written, synced
//   http.get     from a server of our own (http/, reply_file()) by HTTP over loopback, as the
//   head's
//                depot sends it, into an asset: hashed, written, synced, filed
//   s3.put/get   the same with a store, such as that of tests/cluster/s3.mjs
//
// The file is in memory before each run. Everything is on two processors here, both ends of the
// transfer included.
#include "tests/test.h"

#include "asset/upload.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/depot.h"
#include "http/http.h"
#include "store/store.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/resource.h>

#define RUNS  5
#define BLOCK (1 << 20)

static char folder[4096], name[65];
static int64_t size;

// --- the file

static void make_film(void)
{
    CLEANUP(kb_freep) char *path = path_join(folder, "film");
    CLEANUP(kb_freep) uint32_t *block = kb_alloc(BLOCK);
    unsigned char digest[32];
    uint32_t x = 1;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    assert_true(fd >= 0);
    EVP_DigestInit_ex(hash, EVP_sha256(), NULL);
    for (int64_t at = 0; at < size; at += BLOCK) {
        for (size_t i = 0; i < BLOCK / sizeof(*block); i++)
            block[i] = x = x * 1664525 + 1013904223;
        assert_int_equal(write(fd, block, BLOCK), BLOCK);
        EVP_DigestUpdate(hash, block, BLOCK);
    }
    EVP_DigestFinal_ex(hash, digest, NULL);
    EVP_MD_CTX_free(hash);
    bytes_hex(name, digest, sizeof(digest));
    fsync(fd);
    close(fd);
}

static int open_film(void)
{
    CLEANUP(kb_freep) char *path = path_join(folder, "film");
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void copy_film(struct depot *d)
{
    CLEANUP(kb_freep) char *path = path_join(folder, "copy");
    CLEANUP(kb_freep) char *block = kb_alloc(BLOCK);
    int from = open_film(), to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t n;
    while ((n = read(from, block, BLOCK)) > 0)
        assert_int_equal(write(to, block, (size_t)n), n);
    fsync(to);
    close(from);
    close(to);
    unlink(path);
}

// --- the depot's other end

static void send_film(struct request *r)
{
    reply_file(r, &(struct reply_file_params){
                      .folder = folder, .path = "film", .type = "application/octet-stream"});
}

static const struct route routes[] = {
    {.method = "GET",
     .pattern = "/api/v1/depot/files/{sha256}",
     .handle = send_film,
     .flags = ROUTE_OPEN},
    {0},
};
static const struct route *const tables[] = {routes, NULL};

static void pulse(void *ctx, char ret[33])
{
    snprintf(ret, 33, "%032d", 1);
}

// --- this end

static enum kb_code sink(void *ctx, const void *data, size_t n, struct kb_error *err)
{
    return asset_upload_write(ctx, data, n, err);
}

static void get_film(struct depot *d)
{
    CLEANUP(kb_freep) char *data = path_join(folder, "data");
    CLEANUP(store_close) struct store *s = NULL;
    struct asset_upload *u = NULL;
    struct kb_error err = {0};
    char id[33];
    int64_t offset = 0;
    assert_ok(err, store_open(&s, data, true, &err));
    assert_ok(
        err, asset_create(s, &(struct asset_params){.name = "film", .size_bytes = size}, id, &err));
    assert_ok(err, asset_upload_open(&u, s, id, &err));
    asset_upload_expect(u, name);
    assert_ok(err, depot_get(d, name, size, 0, sink, u, &offset, &err));
    assert_ok(err, asset_upload_close(&u, s, true, NULL, &err));
    assert_ok(err, asset_delete(s, id, &err));
}

static void put_film(struct depot *d)
{
    struct kb_error err = {0};
    int fd = open_film();
    const struct depot_put p = {.sha256 = name, .fd = fd, .size = size};
    assert_ok(err, depot_put(d, &p, &err));
    close(fd);
}

// --- the figures

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double processor_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void measure(const char *key, void (*run)(struct depot *d), struct depot *d)
{
    double rates[RUNS], cpu_s[RUNS];
    for (int i = 0; i < RUNS; i++) {
        sync(); // what the run before left to be written
        int64_t from_us = kb_now_us();
        double cpu_from_s = processor_s();
        run(d);
        rates[i] = (double)size / (double)(kb_now_us() - from_us);
        cpu_s[i] = (processor_s() - cpu_from_s) / (double)size * 1e9;
    }
    qsort(rates, RUNS, sizeof(*rates), compare);
    qsort(cpu_s, RUNS, sizeof(*cpu_s), compare);
    printf("%s_mb_s %.0f (%.0f-%.0f)\n", key, rates[RUNS / 2], rates[0], rates[RUNS - 1]);
    printf("%s_processor_s_gb %.2f (%.2f-%.2f)\n", key, cpu_s[RUNS / 2], cpu_s[0], cpu_s[RUNS - 1]);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct kb_error err = {0};
    struct http *http = NULL;
    struct depot *d = NULL;
    if (argc < 2)
        return 1;
    snprintf(folder, sizeof(folder), "%s", argv[1]);
    size = (argc > 2 ? strtoll(argv[2], NULL, 10) : 1000) * 1000000 / BLOCK * BLOCK;
    setenv("no_proxy", "*", 1);
    log_set_level(LOG_ERROR);
    make_film();
    measure("copy", copy_film, NULL);

    const struct http_params hp = {.listen = "127.0.0.1", .tables = tables};
    assert_ok(err, http_start(&http, &hp, &err));
    CLEANUP(kb_freep) char *address = kb_printf("http://127.0.0.1:%d", http_port(http));
    const struct depot_params p = {.address = address, .node = "n1", .secret = "0", .pulse = pulse};
    assert_ok(err, depot_open(&d, &p, &err));
    measure("http.get", get_film, d);
    depot_close(&d);
    http_stop(&http);

    if (argc > 3) {
        // The head puts, a machine gets.
        CLEANUP(kb_freep) char *object = kb_printf("in/%s", name);
        struct depot_params s3 = {.address = argv[3]};
        struct depot *machine = NULL;
        assert_ok(err, depot_open(&d, &s3, &err));
        s3.side = DEPOT_NODE;
        assert_ok(err, depot_open(&machine, &s3, &err));
        measure("s3.put", put_film, d);
        measure("s3.get", get_film, machine);
        assert_ok(err, depot_remove(d, object, &err));
        depot_close(&machine);
        depot_close(&d);
    }
    return 0;
}
