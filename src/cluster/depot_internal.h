// What the files of the depot share: the depot itself, its transfers, and what its two kinds do.
// Threads: as the depot's, one at a time.
#ifndef CLUSTER_DEPOT_INTERNAL_H
#define CLUSTER_DEPOT_INTERNAL_H

#include "base/text.h"
#include "cluster/depot.h"
#include "cluster/depot_pour.h"

#include <curl/curl.h>

#define S3_IN          "in/"
#define S3_OUT         "out/"
#define DEPOT_TRIES    3
#define DEPOT_PARALLEL 3         // transfers at a time
#define ANSWER_BYTES   (4 << 20) // of an answer that is no file, at most

struct haul;

struct depot {
    struct depot_params p; // its strings are this depot's own
    bool s3;
    char *place; // for people: the address without what is nobody's business
    char *base;  // "https://host:9000", to which paths are joined
    char *ca;    // a file of certificates to trust instead of the system's; NULL = the system's

    // S3 only
    char *bucket;            // path of the bucket: "/name", or "" where the host's name has it
    char *prefix;            // ahead of objects' names: "" or "a/b/"
    const char *gets, *puts; // behind it, where this side reads and writes: "in/", "out/"
    char *region, *key_id, *key_secret, *session_token; // the last may be NULL
    int64_t clock_ms; // how far the store's clock is ahead of ours, as of its latest answer

    CURLM *multi; // keeps connections for the next transfer
    struct haul *active[DEPOT_PARALLEL];
    int64_t done, total; // of the present object, for p.progress
};

// --- addresses and credentials (depot_address.c)

// Out of d->p, which stands already.
enum kb_code depot_read_address(struct depot *d, struct kb_error *err);
void depot_forget_address(struct depot *d);

// --- transfers (depot_haul.c)

// One request and its answer. Zero is none; haul_init(), then what it sends and takes, then
// haul_run(); haul_free() in any case.
struct haul {
    struct depot *depot;
    CURL *curl;
    struct curl_slist *headers;
    int answer_stalls; // how many times the depot's stall_ms an answer may take once all is sent

    int fd;                    // a part of a file that is sent
    int64_t first, size, sent; // from where, how much, how much of it already

    // A good answer (2xx) is a file from offset on and goes to a sink; any other goes into answer.
    depot_sink *sink;
    void *ctx;
    struct pour *pour;         // the sink's thread, of what is large
    int64_t file_size, offset; // offset moves on from
    int64_t from, handed;      // handed: bytes that were given to pour
    int64_t skip;              // bytes that were not asked for, as the server sends all
    bool began;
    bool final;         // the sink failed: another try would not help
    struct text answer; // of a file: what was not given to the sink yet

    struct kb_error err; // why it was broken off from our side: by the sink, for instance
    int64_t mark_us, mark_bytes, moved; // when it last moved as fast as it must
    CURLcode result;
    long status;
};

// path: behind the depot's base, with the query. It stands for "METHOD" in curl's own words, so
// that it is known which has a body.
void haul_init(struct haul *t, struct depot *d, const char *method, const char *path);
void haul_header(struct haul *t, const char *fmt, ...) KB_PRINTF(2, 3);
// Its body: size bytes of a file from first on; or a text, which lives as long as the transfer.
void haul_send_file(struct haul *t, int fd, int64_t first, int64_t size);
void haul_send_text(struct haul *t, const char *text);
// Its answer is a file of that size, from offset on.
void haul_receive(struct haul *t, int64_t size, int64_t offset, depot_sink *sink, void *ctx);
// KB_OK: there is an answer, of whatever t->status. Else KB_CANCELLED, KB_UNAVAILABLE, or t->err.
enum kb_code haul_run(struct haul *t, struct kb_error *err);
// The same for several at once: each is started, and haul_next() gives one that has ended, for
// haul_outcome(). NULL: cancelled.
void haul_start(struct haul *t);
struct haul *haul_next(struct depot *d);
enum kb_code haul_outcome(struct haul *t, struct kb_error *err);
void haul_free(struct haul *t);
// "" if the answer has none. Valid until the transfer is freed or this is called again.
const char *haul_answer_header(struct haul *t, const char *name);

// Is it worth another try? Waits before that. *tries: 0 at first.
bool depot_again(struct depot *d, int *tries, enum kb_code code);
// A file that is sent: errno, 0 = it ended too early.
enum kb_code depot_cannot_read(int number, struct kb_error *err);
// Of every status that both kinds take for the same. KB_OK: none of these.
enum kb_code depot_explain(struct depot *d, long status, const char *what, struct kb_error *err);

// --- the kinds

// The request for that object is what t becomes; and what its answer means if it is no 2xx.
enum kb_code http_begin_get(struct depot *d, struct haul *t, const char *sha256,
                            struct kb_error *err);
enum kb_code http_verdict(struct haul *t, const char *what, struct kb_error *err);
enum kb_code http_put(struct depot *d, const struct depot_put *p, struct kb_error *err);

enum kb_code s3_begin_get(struct depot *d, struct haul *t, const char *sha256);
enum kb_code s3_verdict(struct haul *t, const char *what, struct kb_error *err);
enum kb_code s3_put(struct depot *d, const struct depot_put *p, struct kb_error *err);

// Of S3 alone. The path of an object in a folder (d->gets, d->puts; "": name has it), a new string.
char *s3_path(const struct depot *d, const char *folder, const char *name);
// A signed request. payload_sha256: of its body, NULL = it has none.
void s3_begin(struct depot *d, struct haul *t, const char *method, const char *path,
              const char *payload_sha256);
// One with all its tries. KB_OK: the answer was a good one and is t's, for haul_free(), as it
// is in any case. answer_stalls: as t's.
enum kb_code s3_ask(struct depot *d, struct haul *t, const char *method, const char *path,
                    const char *body, int answer_stalls, struct kb_error *err);
enum kb_code s3_makes_no_sense(struct depot *d, struct kb_error *err);

#endif
