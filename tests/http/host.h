// Starts and stops the HTTP server for each test. tables is the test file's.
#ifndef TESTS_HTTP_HOST_H
#define TESTS_HTTP_HOST_H

#include "tests/http/client.h"

#include "http/http.h"

static struct http *http;
static int port;

static inline void start_with(struct http_params p, const struct route *const *tables)
{
    struct kb_error err = {0};
    p.listen = "127.0.0.1";
    p.tables = tables;
    assert_ok(err, http_start(&http, &p, &err));
    port = http_port(http);
    assert_true(port > 0);
}

#endif
