// What the files of the depot share: the depot itself, its transfers, and what its two kinds do.
// Threads: as the depot's, one at a time.
#ifndef CLUSTER_DEPOT_INTERNAL_H
#define CLUSTER_DEPOT_INTERNAL_H

#include "base/text.h"
#include "cluster/depot.h"

#include <curl/curl.h>

#define DEPOT_TRIES    3
#define DEPOT_PARALLEL 3         // transfers at a time
#define ANSWER_BYTES   (4 << 20) // of an answer that is no file, at most

struct transfer;

struct depot {
    struct depot_params p; // its strings are this depot's own
    bool s3;
    char *place; // for people: the address without what is nobody's business
    char *base;  // "https://host:9000", to which paths are joined
    char *ca;    // a file of certificates to trust instead of the system's; NULL = the system's

    // S3 only
    char *bucket; // path of the bucket: "/name", or "" where the host's name has it
    char *prefix; // ahead of objects' names: "" or "a/b/"
    char *region, *key_id, *key_secret, *session_token; // the last may be NULL

    CURLM *multi; // keeps connections for the next transfer
    struct transfer *active[DEPOT_PARALLEL];
    int64_t done, total; // of the present object, for p.progress
};

// --- addresses and credentials (depot_address.c)

// Out of d->p, which stands already.
enum kb_code depot_read_address(struct depot *d, struct kb_error *err);
void depot_forget_address(struct depot *d);

// --- transfers (depot_transfer.c)

// One request and its answer. Zero is none; transfer_init(), then what it sends and takes, then
// transfer_run(); transfer_free() in any case.
struct transfer {
    struct depot *depot;
    CURL *curl;
    struct curl_slist *headers;
    int answer_stalls; // how many times the depot's stall_s an answer may take once all is sent

    int fd;                    // a part of a file that is sent
    int64_t first, size, sent; // from where, how much, how much of it already

    // A good answer (2xx) is a file from offset on and goes to a sink; any other goes into answer.
    depot_sink *sink;
    void *ctx;
    int64_t file_size, offset; // offset moves on
    int64_t skip;              // bytes that were not asked for, as the server sends all
    bool began;
    bool final; // the sink failed: another try would not help
    struct text answer;

    struct kb_error err; // why it was broken off from our side: by the sink, for instance
    int64_t mark_us, mark_bytes, moved; // when it last moved as fast as it must
    CURLcode result;
    long status;
};

// path: behind the depot's base, with the query. It stands for "METHOD" in curl's own words, so
// that it is known which has a body.
void transfer_init(struct transfer *t, struct depot *d, const char *method, const char *path);
void transfer_header(struct transfer *t, const char *fmt, ...) KB_PRINTF(2, 3);
// Its body: size bytes of a file from first on; or a text, which lives as long as the transfer.
void transfer_send_file(struct transfer *t, int fd, int64_t first, int64_t size);
void transfer_send_text(struct transfer *t, const char *text);
// Its answer is a file of that size, from offset on.
void transfer_receive(struct transfer *t, int64_t size, int64_t offset, depot_sink *sink,
                      void *ctx);
// KB_OK: there is an answer, of whatever t->status. Else KB_CANCELLED, KB_UNAVAILABLE, or t->err.
enum kb_code transfer_run(struct transfer *t, struct kb_error *err);
// The same for several at once: each is started, and transfer_next() gives one that has ended, for
// transfer_outcome(). NULL: cancelled.
void transfer_start(struct transfer *t);
struct transfer *transfer_next(struct depot *d);
enum kb_code transfer_outcome(struct transfer *t, struct kb_error *err);
void transfer_free(struct transfer *t);
// "" if the answer has none. Valid until the transfer is freed or this is called again.
const char *transfer_answer_header(struct transfer *t, const char *name);

// Is it worth another try? Waits before that. *tries: 0 at first.
bool depot_again(struct depot *d, int *tries, enum kb_code code);
// Of every status that both kinds take for the same. KB_OK: none of these.
enum kb_code depot_explain(struct depot *d, long status, const char *what, struct kb_error *err);

// --- the kinds

// The request for that object is what t becomes; and what its answer means if it is no 2xx.
enum kb_code http_begin_get(struct depot *d, struct transfer *t, const char *sha256,
                            struct kb_error *err);
enum kb_code http_verdict(struct transfer *t, const char *what, struct kb_error *err);
enum kb_code http_put(struct depot *d, const struct depot_put *p, struct kb_error *err);

#endif
