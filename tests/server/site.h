// A server of the test process with chosen routes, an empty data folder and no workers, and a plain
// client that can also misbehave.
#ifndef TESTS_SERVER_SITE_H
#define TESTS_SERVER_SITE_H

#include "tests/test.h"

#include "server/internal.h"
#include "store/store.h"

#include <jansson.h>

struct site {
    struct server server; // set params before site_start() if need be
    char folder[64];
    struct store *store; // the test's own connection
    int port;
};

// The folder is made and the store opened; the server listens on a free port. tables: as in
// http_params.
void site_open(struct site *s);
void site_start(struct site *s, const struct route *const *tables);
void site_stop(struct site *s); // stops, removes the folder

// The one of a program whose tests begin with an empty one each: begin it in the set-up; site_end
// is a tear-down.
extern struct site site;
void site_begin(const struct route *const *tables);
int site_end(void **state);

struct reply {
    int status; // 0: none came
    char *head, *body;
    size_t size; // of the body, chunks put together
    bool whole;  // it ended as it should
};
void reply_clear(struct reply *r); // CLEANUP
// The value of a header, "" if absent; one of a few buffers of the thread.
const char *reply_value(const struct reply *r, const char *header);
// The body as JSON, for json_decref.
json_t *reply_object(const struct reply *r);

// A request on a connection of its own. headers: lines that end in \r\n, or NULL. A
// Content-Length is sent with a body (body != NULL), the rest is as given.
void site_ask(const struct site *s, struct reply *ret, const char *method, const char *path,
              const char *headers, const void *body, size_t size);

// To the site of the program; the answer is cleared at the end of the scope.
#define ASK(r, ...)                                                                                \
    CLEANUP(reply_clear) struct reply r = {0};                                                     \
    site_ask(&site, &r, __VA_ARGS__)

// The same in pieces.
int site_connect(const struct site *s);
void site_send(int fd, const void *data, size_t n);
void site_sendf(int fd, const char *fmt, ...) KB_PRINTF(2, 3);
void site_receive(int fd, struct reply *ret,
                  const char *method); // to the end of the answer; closes

#define assert_status(reply, wanted)                                                               \
    do {                                                                                           \
        if ((reply)->status != (wanted))                                                           \
            fail_msg("status %d, wanted %d: %s\n%s", (reply)->status, (wanted),                    \
                     (reply)->head ? (reply)->head : "", (reply)->body ? (reply)->body : "");      \
    } while (0)

// Bytes that look like chance, the same for the same seed.
void site_noise(char *data, size_t n, unsigned seed);
// The content that the server gives back for the asset of an upload's address.
void assert_content(const char *path, const void *data, size_t n);

// Text of an item of an answer {"items": […]}.
const char *item_text(json_t *answer, int i, const char *field);

// A whole asset with this content, its id in ret.
void site_asset(struct site *s, const char *name, const void *content, size_t size, char ret[33]);
// Play the worker: a batch of one job that is done and left size bytes (byte i is i * 7 + job, cut
// to 8 bits; sparse zeros if size is beyond 16 MiB). The number of the job.
int64_t site_result(struct site *s, const char *batch, const char *video, int64_t size);

// Is that text in a file below the folder's sub folder? Number of files there.
int site_count_files(const struct site *s, const char *kind);
// Wait until check is true, at most 10 s.
bool site_wait(bool (*check)(void *), void *opaque);

#endif
