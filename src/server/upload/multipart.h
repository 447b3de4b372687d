// Reads a multipart/form-data body (RFC 7578) as it arrives, piece by piece, keeping nothing but
// the headers of the present part. Not thread-safe.
#ifndef SERVER_UPLOAD_MULTIPART_H
#define SERVER_UPLOAD_MULTIPART_H

#include "base/base.h"

struct multipart;

// What is told about the parts, in order: one part, any number of data, one end. Returning false
// stops the reading: multipart_feed() then returns KB_CANCELLED with *err untouched, for good.
struct multipart_calls {
    // filename is NULL for a field that is not a file. As the client wrote it: any bytes but NUL.
    bool (*part)(void *ctx, const char *name, const char *filename);
    bool (*data)(void *ctx, const void *data, size_t n); // n > 0; points into what was fed
    bool (*end)(void *ctx);
};

#define MULTIPART_MAX_PARTS 2000

// content_type: the request's header, with the boundary. KB_BAD_INPUT if it is not
// multipart/form-data or its boundary is missing or against RFC 2046. calls is kept, not copied.
enum kb_code multipart_create(struct multipart **ret, const char *content_type,
                              const struct multipart_calls *calls, void *ctx, struct kb_error *err);

// The next n bytes, cut anywhere. KB_BAD_INPUT: not the form that the boundary promised.
enum kb_code multipart_feed(struct multipart *m, const void *data, size_t n, struct kb_error *err);

// The body is over: KB_BAD_INPUT unless the closing boundary was seen.
enum kb_code multipart_finish(struct multipart *m, struct kb_error *err);

void multipart_free(struct multipart **m); // NULL is fine

// One parameter of a header value: header_parameter("form-data; name=\"a\"", "name") is "a", a new
// string; NULL if absent. Quoted strings may hold \" and \\; another backslash stands for itself,
// as browsers mean it. A parameter "name*" of RFC 8187 in UTF-8 goes before a plain one.
char *header_parameter(const char *value, const char *name);

#endif
