// Files that can be made anew, kept while there is room: face tracks, packed networks.
// Thread-safe; many processes may share a folder.
#ifndef BASE_CACHE_H
#define BASE_CACHE_H

#include "base/base.h"

// $KOUBO_CACHE, else $XDG_CACHE_HOME/koubo/KIND, else ~/.cache/koubo/KIND. A new string.
char *cache_folder(const char *kind);

// How large the files of one kind may become together: $KOUBO_CACHE_MB, else 1 GiB.
int64_t cache_limit(void);

// This file was just used: it goes last.
void cache_touch(const char *path);

// Remove files whose names end in suffix, the one that was not used for longest first, until those
// that are left have at most limit bytes. The last used always stays, and what cannot be removed.
void cache_trim(const char *folder, const char *suffix, int64_t limit);

#endif
