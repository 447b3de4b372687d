// Results packed into one zip while it is sent: stored, not compressed (videos are), with UTF-8
// names and ZIP64 where it takes that. No temporary file; memory for names and one block of data.
// Not thread-safe.
#ifndef SERVER_API_ZIP_H
#define SERVER_API_ZIP_H

#include "base/base.h"

struct pool;
struct quota;
struct zip_stream;

// folder: the data folder. Reading borrows a connection of pool for each result. What
// turns out to be gone is left out, and MISSING.txt at the end of the zip names it below missing, a
// sentence for the user.
struct zip_stream *zip_stream_create(const char *folder, struct pool *pool, const char *missing);

// The place of client among those of zips (taken already) is given back with the stream.
void zip_stream_holds(struct zip_stream *z, struct quota *zips, const char *client);

// The result of job goes into it as "directory/name", or as "name" if directory is NULL. What
// cannot be part of a name on the usual systems is replaced, and equal names get "-2", "-3"…
void zip_stream_add(struct zip_stream *z, int64_t job, const char *directory, const char *name);

// One that is known to be gone: a line of MISSING.txt.
void zip_stream_miss(struct zip_stream *z, const char *line);

// As stream_read_fn and stream_free_fn in http.h. A file that becomes shorter while it is packed
// breaks the stream off (-2, and a line in the log): a zip that ends well holds what it names.
int64_t zip_stream_read(void *zip, char *buffer, size_t max);
void zip_stream_free(void *zip);

#endif
