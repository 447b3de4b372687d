// Does a file begin as sound, a video or a picture does? For files that somebody names instead of
// sending them: what is none of these (settings, keys, a database) is not taken, whatever it is
// called, so nobody gets it back. Whether it can be used, an inspector in its cage finds out.
// Thread-safe.
#ifndef ASSET_SIGNATURE_H
#define ASSET_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGNATURE_BYTES 1024 // of the beginning, as many as there are

bool signature_is_media(const uint8_t *head, size_t n);
// The same of an open file; its place stays.
bool signature_of_file(int fd);

#endif
