// What tests of uploads and assets do again and again.
#ifndef TESTS_ASSET_ASSETS_H
#define TESTS_ASSET_ASSETS_H

#include "tests/queue/queue.h"

#include "asset/asset.h"
#include "asset/upload.h"

#include <dirent.h>
#include <openssl/sha.h>

static inline void make_bytes(unsigned char *bytes, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (unsigned char)(seed >> 24);
    }
}

static inline void sha256_hex(char ret[65], const void *bytes, size_t n)
{
    unsigned char digest[32];
    SHA256(bytes, n, digest);
    for (int i = 0; i < 32; i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

static inline void create(struct queue_test *t, const char *name, int64_t size, char ret_id[33])
{
    struct asset_params p = {.name = name, .size_bytes = size, .client = "me", .lang = "en"};
    assert_ok(t->err, asset_create(t->s, &p, ret_id, &t->err));
}

static inline struct asset find(struct queue_test *t, const char *id)
{
    struct asset a;
    assert_ok(t->err, asset_find(t->s, id, &a, &t->err));
    return a;
}

// All bytes at once; the asset is whole after it.
static inline void upload(struct queue_test *t, const char *name, const void *bytes, size_t n,
                          char ret_id[33])
{
    struct asset_upload *u = NULL;
    bool complete = false;
    create(t, name, (int64_t)n, ret_id);
    assert_ok(t->err, asset_upload_open(&u, t->s, ret_id, &t->err));
    assert_ok(t->err, asset_upload_write(u, bytes, n, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, &complete, &t->err));
    assert_true(complete);
    assert_null(u);
}

static inline int count_files(struct queue_test *t, const char *kind)
{
    CLEANUP(kb_freep) char *path = path_join(t->folder, kind);
    DIR *d = opendir(path);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static inline void assert_content(struct queue_test *t, const char *id, const void *bytes, size_t n)
{
    char sha256[65];
    struct asset a = find(t, id);
    sha256_hex(sha256, bytes, n);
    assert_string_equal(a.sha256, sha256);
    assert_int_equal(a.size_bytes, n);
    assert_int_equal(a.received_bytes, n);
    CLEANUP(kb_freep) char *path = asset_path(t->s, sha256);
    CLEANUP(file_unmap) struct file_map m = {0};
    assert_ok(t->err, file_map(&m, path, &t->err));
    assert_int_equal(m.size, n);
    assert_memory_equal(m.data, bytes, n);
    assert_int_equal(count_files(t, "uploads"), 0);
}

#endif
