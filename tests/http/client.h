// A plain HTTP client over a socket, which can also misbehave. One answer at a time is read to its
// last byte and no further, so that a connection can be used again.
#ifndef TESTS_HTTP_CLIENT_H
#define TESTS_HTTP_CLIENT_H

#include "tests/test.h"

struct answer {
    int status; // 0: the connection ended before an answer came
    char *head; // status line and headers
    char *body; // chunks put together, NUL-terminated
    size_t size;
    bool whole; // the body came to its proper end
};
void answer_clear(struct answer *a); // CLEANUP
// The value of a header, a new string in one of a few static buffers; "" if absent.
const char *answer_header(const struct answer *a, const char *name);

int client_connect(int port);                           // reads give up after 10 s
int client_connect_from(const char *address, int port); // another one of loopback: "127.0.1.2"
void client_send(int fd, const void *data, size_t n);
void client_sendf(int fd, const char *fmt, ...) KB_PRINTF(2, 3);
// method: "HEAD" has no body.
void client_receive(int fd, struct answer *ret, const char *method);
// Up to max bytes of a stream's chunks as they come, 0 at its end, -1 when it is cut off.
int client_chunk(int fd, char *buffer, size_t max);
// Has the other side closed the connection? Waits up to 5 s.
bool client_is_closed(int fd);

// One request on a connection of its own. headers: lines that end in \r\n, or "". body may be NULL.
void client_ask(int port, struct answer *ret, const char *method, const char *path,
                const char *headers, const char *body);

#define assert_answer(a, wanted)                                                                   \
    do {                                                                                           \
        if ((a)->status != (wanted))                                                               \
            fail_msg("status %d, wanted %d: %s%s", (a)->status, (wanted),                          \
                     (a)->head ? (a)->head : "", (a)->body ? (a)->body : "");                      \
    } while (0)

#endif
