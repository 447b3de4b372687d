// Where files of a cluster lie for its machines: objects named by the SHA-256 of what they hold, in
// an S3-compatible store, or at the head itself over HTTP (server/api/depot.c). Every transfer is
// checked by its hash and size at the end that receives it.
//
// A depot belongs to one thread at a time; open one for each.
#ifndef CLUSTER_DEPOT_H
#define CLUSTER_DEPOT_H

#include "base/base.h"
#include "base/cancel.h"

struct depot;

// S3 only: below the prefix, "in/" is for what machines fetch and "out/" for what they made. Keys
// of a machine may only read the one and only write the other, so none of them can spoil what the
// others work with.
enum depot_side { DEPOT_HEAD, DEPOT_NODE };

// "s3://BUCKET[/PREFIX][?endpoint=https://host:9000&region=us-east-1&style=path|host]" with
// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL of the
// environment or of a file of mode 0600 (KEY=VALUE lines), or "http[s]://head:7860", which takes a
// node's name and secret. Both: ?ca=FILE, certificates to trust instead of the system's. style: is
// the bucket in the path (as it is if an endpoint is named) or in the host's name (Amazon, Aliyun
// OSS, Tencent COS)?
struct depot_params {
    const char *address;
    const char *credentials;   // the file; NULL = the environment
    enum depot_side side;      // s3 only
    const char *node, *secret; // http only
    // http only: the head's latest nonce, into ret ("" = none yet). From the depot's thread.
    void (*pulse)(void *ctx, char ret[33]);
    void *ctx;
    const struct cancel *cancel; // may be NULL
    // How far a transfer is; may be NULL. From the depot's thread.
    void (*progress)(void *ctx, int64_t done, int64_t total);
    int stall_ms;       // a transfer that moves nothing for so long is broken off; 0 = 30000
    int pause_ms;       // before the second try, and four times that before the third; 0 = 500
    int64_t part_bytes; // S3 only: a larger file goes in parts of this size; 0 = 16 MiB
};
// KB_BAD_INPUT: the address or the credentials make no sense. Nothing is asked yet.
enum kb_code depot_open(struct depot **ret, const struct depot_params *p, struct kb_error *err);
void depot_close(struct depot **d); // NULL is fine
bool depot_is_s3(const char *address);

// Of all: KB_UNAVAILABLE: not now (no connection, 5xx, stalled, cut short; by HTTP also: this
// machine is not admitted, as its nonce may be an old one; after three tries within this call);
// KB_NOT_FOUND: it is not there, or has another size; KB_BAD_INPUT: refused (credentials, rights,
// clock: the sentence says which); KB_CANCELLED; KB_NO_SPACE: the other end is full.

// The object (S3: of the other side), from offset on, to sink, which fails to break off, with a
// code and sentence that come back as they are. Of a large one it runs in a thread of its own while
// this call lasts. The hash is the receiver's to check (asset/upload.h does). ret_offset: how far
// it came, also when it failed: go on from there.
typedef enum kb_code depot_sink(void *ctx, const void *data, size_t n, struct kb_error *err);
enum kb_code depot_get(struct depot *d, const char *sha256, int64_t size, int64_t offset,
                       depot_sink *sink, void *ctx, int64_t *ret_offset, struct kb_error *err);

// The file as the object of that name. S3: in parts of 16 MiB, each with its own checksum, and what
// was begun and failed is aborted. The head looks at the size when it is there; a machine may not,
// and the head tells it if it is not. HTTP: as the result of
// that job's attempt, going on where it was cut. KB_INTERNAL: the file is not what was said of it,
// or cannot be read.
struct depot_put {
    const char *sha256;
    int fd;
    int64_t size;
    int64_t job, lease; // http only
};
enum kb_code depot_put(struct depot *d, const struct depot_put *p, struct kb_error *err);

// --- S3 only, and but for depot_try() the head's

// *ret_size: of the object, in "in/"; -1: it is not there.
enum kb_code depot_find(struct depot *d, const char *sha256, int64_t *ret_size,
                        struct kb_error *err);
// name: as depot_list() gives it. KB_OK also if it was not there.
enum kb_code depot_remove(struct depot *d, const char *name, struct kb_error *err);
// Every object of ours in both folders, "in/SHA256" or "out/SHA256": those that are named by 64 hex
// digits. And uploads in parts that were begun and not ended (part = true), "in/SHA256?ID".
typedef void depot_each(void *ctx, const char *name, int64_t size, int64_t modified_ms, bool part);
enum kb_code depot_list(struct depot *d, depot_each *each, void *ctx, struct kb_error *err);
// For who looks whether all is well (koubo doctor, the system view): write, read, remove a small
// one, and reach the other folder. A machine only writes one, which the head removes. *ret_ms: how
// long; *ret_clock_ms: how far the store's clock is ahead of this machine's.
enum kb_code depot_try(struct depot *d, int64_t *ret_ms, int64_t *ret_clock_ms,
                       struct kb_error *err);

#endif
