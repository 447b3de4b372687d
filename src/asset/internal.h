// What the files of asset/ share. Threads: as the store they are given.
#ifndef ASSET_INTERNAL_H
#define ASSET_INTERNAL_H

#include "asset/asset.h"
#include "store/sql.h"

// A row; size_bytes may be -1. source and voice may be NULL.
enum kb_code asset_insert(struct store *s, const struct asset_params *p, const char *state,
                          const char *source, const char *voice, char ret_id[33],
                          struct kb_error *err);
// The same of a text to speak, which was checked: p->speech says how.
enum kb_code speech_insert(struct store *s, const struct asset_params *p, const char *text,
                           const char *voice, char ret_id[33], struct kb_error *err);
// Samples that were made an hour ago go.
enum kb_code speech_sweep(struct store *s, struct kb_error *err);
// The sentence for an asset that is not there.
enum kb_code asset_not_found(struct kb_error *err);
// So often may an inspector crash over an asset before it is "bad".
#define MAX_CLAIMS 3
// Who holds an asset does so for a minute. now: a parameter. A lease that ends later than any can
// was taken before somebody set the clock back, and nobody waits for as long as that.
#define ASSET_LEASE_MS     60000
#define ASSET_IS_HELD(now) " worker IS NOT NULL AND lease_ms BETWEEN " now " AND " now " + 60000 "
// "uploads/<id>.part", below the data folder; a new string.
char *asset_part_path(const char *id);

#endif
