// Forms. The first line is the header Content-Type, the rest the body. However it is
// cut, it must be told the same way.
#include "base/text.h"
#include "server/upload/multipart.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static bool told_part(void *ctx, const char *name, const char *filename)
{
    text_addf(ctx, "<%s|%s>", name, filename ? filename : "-");
    return true;
}

static bool told_data(void *ctx, const void *data, size_t n)
{
    text_add_bytes(ctx, data, n);
    return true;
}

static bool told_end(void *ctx)
{
    text_add(ctx, ".");
    return true;
}

static enum kb_code parse(struct text *ret, const char *type, const uint8_t *data, size_t size,
                          size_t piece)
{
    static const struct multipart_calls calls = {told_part, told_data, told_end};
    struct kb_error err = {0};
    CLEANUP(multipart_free) struct multipart *m = NULL;
    enum kb_code code = multipart_create(&m, type, &calls, ret, &err);
    for (size_t at = 0; code == KB_OK && at < size; at += piece)
        code = multipart_feed(m, data + at, KB_MIN(piece, size - at), &err);
    return code == KB_OK ? multipart_finish(m, &err) : code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line_end = size ? memchr(data, '\n', size) : NULL;
    if (!line_end)
        return 0;
    CLEANUP(kb_freep) char *type = strndup((const char *)data, (size_t)(line_end - data));
    const uint8_t *body = line_end + 1;
    size_t n = size - (size_t)(body - data);
    CLEANUP(text_free) struct text whole = {0}, bytes = {0}, sevens = {0};
    enum kb_code code = parse(&whole, type, body, n, n + 1);
    if (parse(&bytes, type, body, n, 1) != code || parse(&sevens, type, body, n, 7) != code)
        abort();
    // What was told before an error may end earlier or later, by the bytes of one piece.
    if (code == KB_OK && (strcmp(text_get(&whole), text_get(&bytes)) != 0 ||
                          strcmp(text_get(&whole), text_get(&sevens)) != 0))
        abort();
    return 0;
}
