// What the files of assets share, and retention with them. Not for other layers.
#ifndef JOB_ASSETS_INTERNAL_H
#define JOB_ASSETS_INTERNAL_H

#include "job/assets.h"
#include "job/store_internal.h"

// The last part of a path as a name that can be shown: invalid UTF-8 becomes U+FFFD; control
// characters and marks that turn the direction of writing are left out; cut at 255 bytes. "" when
// nothing is left.
void asset_clean_name(char ret[256], const char *name);

// A row; size_bytes may be -1. source and voice may be NULL.
enum kb_code asset_insert(struct store *s, const struct asset_params *p, const char *state,
                          const char *source, const char *voice, char ret_id[33],
                          struct kb_error *err);
// uploads/<id>.part, a new string.
char *asset_part_path(const struct store *s, const char *id);

// Remove a content and its picture unless an asset has it. Call it after the commit that took the
// last asset away: it takes the database's write lock for itself, so that no upload of the same
// content is filed in between. A file that cannot be removed stays for retention.
enum kb_code content_release(struct store *s, const char *sha256, struct kb_error *err);

// Take the part of an unfinished upload (or one without a row) away. False: bytes are arriving.
bool upload_part_remove(const struct store *s, const char *id);

// Remove the row and the part of an unfinished upload if it has expired and nobody writes to it.
enum kb_code asset_expire(struct store *s, const char *id, bool *ret_removed, struct kb_error *err);

#endif
