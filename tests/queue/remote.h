// What a machine does, played: it takes jobs and sends what it made.
#ifndef TESTS_QUEUE_REMOTE_H
#define TESTS_QUEUE_REMOTE_H

#include "tests/queue/queue.h"

#include "asset/claim.h"
#include "asset/upload.h"
#include "base/bytes.h"
#include "queue/node.h"
#include "queue/remote.h"
#include "queue/sweep.h"

#include <dirent.h>
#include <openssl/evp.h>

#define HALF "the film that "
#define FILM HALF "a machine made"

static const struct dub_result told = {.frames = 25,
                                       .frames_animated = 24,
                                       .seconds = 1,
                                       .width = 64,
                                       .height = 48,
                                       .stage_s = {0, 0.25, 0.5, 1.5, 0.125}};

static inline void hash_of(char ret[65], const char *text)
{
    unsigned char digest[32];
    assert_int_equal(EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL), 1);
    bytes_hex(ret, digest, 32);
}

// The next job, offered.
static inline struct remote offer(struct queue_test *t)
{
    struct job_claim c = {0};
    struct remote r = {0};
    int n = 0;
    assert_ok(t->err, remote_claim(t->s, 0, &c, 1, &n, &t->err));
    assert_int_equal(n, 1);
    assert_ok(t->err, remote_offered(t->s, c.job, c.lease, "1-0", &t->err));
    assert_ok(t->err, remote_get(t->s, c.job, &r, &t->err));
    job_claim_free(&c);
    return r;
}

static inline struct remote take(struct queue_test *t, const char *node)
{
    struct remote r = offer(t);
    assert_ok(t->err, remote_taken(t->s, r.job, r.lease, node, &t->err));
    return r;
}

// The machine has made that text, and tells of it.
static inline void tell_of(struct queue_test *t, const struct remote *r, const char *node,
                           const char *text)
{
    char hash[65];
    hash_of(hash, text);
    assert_ok(t->err, remote_result(t->s, r->job, r->lease, node, hash, (int64_t)strlen(text),
                                    &told, &t->err));
}

static inline void send_bytes(struct queue_test *t, const char *asset, const char *text, bool whole)
{
    struct asset_upload *u = NULL;
    assert_ok(t->err, asset_upload_open(&u, t->s, asset, &t->err));
    assert_ok(t->err, asset_upload_write(u, text, strlen(text), &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, whole, NULL, &t->err));
}

// Whole where the size was told.
static inline void write_part(struct queue_test *t, const char *asset, const char *text)
{
    send_bytes(t, asset, text, false);
}

static inline void write_whole(struct queue_test *t, const char *asset, const char *text)
{
    send_bytes(t, asset, text, true);
}

// What an inspector says of it; "" = that it is bad.
static inline void inspect(struct queue_test *t, const char *asset, const char *kind,
                           int64_t duration_ms)
{
    const struct asset_facts f = {.kind = kind,
                                  .duration_ms = duration_ms,
                                  .width = 64,
                                  .height = 48,
                                  .n_faces = -1,
                                  .thumbnail = true};
    struct kb_error why = {0};
    struct asset a;
    assert_ok(t->err, asset_find(t->s, asset, &a, &t->err));
    CLEANUP(kb_freep) char *picture = data_path(t, "thumbs/%s.jpg", a.sha256);
    kb_fail(&why, KB_BAD_INPUT, "no video");
    if (*kind)
        assert_ok(t->err, file_write_atomic(picture, "picture", 7, &t->err));
    assert_ok(t->err, *kind ? asset_set_facts(t->s, asset, &f, &t->err)
                            : asset_fail(t->s, asset, &why, &t->err));
}

// All of the way of a taken job until the inspector was there.
static inline void bring(struct queue_test *t, const struct remote *r, const char *node,
                         const char *text, const char *kind, int64_t duration_ms)
{
    char asset[33];
    tell_of(t, r, node, text);
    assert_ok(t->err, remote_asset(t->s, r->job, r->lease, node, asset, &t->err));
    write_part(t, asset, text);
    inspect(t, asset, kind, duration_ms);
}

static inline enum remote_state state_of(struct queue_test *t, int64_t job)
{
    struct remote r = {0};
    assert_ok(t->err, remote_get(t->s, job, &r, &t->err));
    return r.state;
}

// Nothing of any attempt is left but results: no row, no asset, no part, no content.
static inline void assert_nothing_left(struct queue_test *t)
{
    assert_int_equal(ask(t, "SELECT (SELECT count(*) FROM remote) +"
                            " (SELECT count(*) FROM asset WHERE job IS NOT NULL) +"
                            " (SELECT count(*) FROM loose WHERE kind <> 'halves')"),
                     0);
    static const char *const folders[] = {"files", "uploads", "thumbs"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        CLEANUP(kb_freep) char *path = data_path(t, "%s", folders[i]);
        DIR *d = opendir(path);
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));)
            if (e->d_name[0] != '.')
                fail_msg("%s/%s is left", folders[i], e->d_name);
        closedir(d);
    }
}

#endif
