// The bytes of an asset as they arrive.
// An upload belongs to one thread at a time.
#ifndef ASSET_UPLOAD_H
#define ASSET_UPLOAD_H

#include "asset/asset.h"

#define UPLOAD_KEEP_MS (24 * 3600 * 1000LL) // an unfinished upload, after its last byte

// One at a time per asset: KB_UNAVAILABLE while another holds it. Between open and
// close the store is not used, so it need not be the same one.
struct asset_upload;
enum kb_code asset_upload_open(struct asset_upload **ret, struct store *s, const char *id,
                               struct kb_error *err);
int64_t asset_upload_offset(const struct asset_upload *u); // bytes there; writes go on from here
// KB_BAD_INPUT beyond the declared size, KB_NO_SPACE: nothing of this call is kept then.
enum kb_code asset_upload_write(struct asset_upload *u, const void *data, size_t n,
                                struct kb_error *err);
// Cut back to offset: a chunk whose checksum was wrong.
enum kb_code asset_upload_truncate(struct asset_upload *u, int64_t offset, struct kb_error *err);
// Its SHA-256 is known beforehand (64 hex digits, copied): a close of what is whole and something
// else files nothing, cuts it back to 0 bytes and returns KB_BAD_INPUT.
void asset_upload_expect(struct asset_upload *u, const char *sha256);
// Sync, record, and when all declared bytes are there (or whole, for an unknown size) file the
// content under its hash: the state becomes "new". *ret_complete may be NULL. Releases *u always.
enum kb_code asset_upload_close(struct asset_upload **u, struct store *s, bool whole,
                                bool *ret_complete, struct kb_error *err);

// Sync and record as a close of what is not whole does, and go on with *u. KB_NOT_FOUND: deleted
// meanwhile; KB_UNAVAILABLE: nothing was recorded, and nothing is lost.
enum kb_code asset_upload_record(struct asset_upload *u, struct store *s, struct kb_error *err);
// Releases *u without a database: what has come is in the part. NULL is fine.
void asset_upload_drop(struct asset_upload **u);

// Take the part of an unfinished upload (or one without a row) away. False: bytes are arriving.
bool upload_part_remove(const struct store *s, const char *id);

// Remove the row and the part of an unfinished upload if it has expired and nobody writes to it.
enum kb_code asset_expire(struct store *s, const char *id, bool *ret_removed, struct kb_error *err);

#endif
