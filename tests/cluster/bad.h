// A server in a thread that answers HTTP as badly as a test wants: one request for each connection,
// one after the other.
#ifndef TESTS_CLUSTER_BAD_H
#define TESTS_CLUSTER_BAD_H

#include "tests/test.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/socket.h>

struct bad;
// head: request line and headers; body: n bytes. Answers on fd, or does not.
typedef void bad_answer(struct bad *b, int fd, const char *head, const char *body, size_t n);

struct bad {
    bad_answer *answer;
    void *ctx;
    pthread_mutex_t lock; // held while a request is heard and answered
    size_t cut_body; // 0, or: a body is heard no further, and the connection ends without an answer
    atomic_int n_calls; // requests so far, that which is answered now included
    int listener, port;
    pthread_t threads[2]; // of which one answers at a time
};

static inline void bad_say(int fd, const void *bytes, size_t n)
{
    for (const char *p = bytes; n > 0;) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        p += sent;
        n -= (size_t)sent;
    }
}

// "200 OK", headers that end in \r\n each, and a body.
static inline void bad_reply(int fd, const char *status, const char *headers, const void *body,
                             size_t n)
{
    CLEANUP(kb_freep)
    char *head = kb_printf("HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n",
                           status, n, headers);
    bad_say(fd, head, strlen(head));
    bad_say(fd, body, n);
}

static inline void bad_text(int fd, const char *status, const char *body)
{
    bad_reply(fd, status, "", body, strlen(body));
}

// Says nothing until the client has had enough (10 s at most).
static inline void bad_stall(int fd)
{
    char byte;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, 10000) == 1 && recv(fd, &byte, 1, 0) > 0) {
    }
}

// The value of a header, a new string; NULL if there is none.
static inline char *bad_header(const char *head, const char *name)
{
    CLEANUP(kb_freep) char *start = kb_printf("\r\n%s: ", name);
    const char *at = strcasestr(head, start);
    if (!at)
        return NULL;
    at += strlen(start);
    return kb_printf("%.*s", (int)strcspn(at, "\r"), at);
}

static inline bool bad_hear(int fd, struct text *heard)
{
    char buffer[16384];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n = poll(&p, 1, 10000) == 1 ? recv(fd, buffer, sizeof(buffer), 0) : 0;
    if (n > 0)
        text_add_bytes(heard, buffer, (size_t)n);
    return n > 0;
}

static inline void bad_converse(struct bad *b, int fd)
{
    CLEANUP(text_free) struct text heard = {0};
    const char *end;
    while (!(end = strstr(text_get(&heard), "\r\n\r\n")))
        if (!bad_hear(fd, &heard))
            return;
    CLEANUP(kb_freep) char *head = kb_printf("%.*s", (int)(end + 2 - heard.data), heard.data);
    CLEANUP(kb_freep) char *length = bad_header(head, "Content-Length");
    CLEANUP(kb_freep) char *expects = bad_header(head, "Expect");
    size_t at = (size_t)(end + 4 - heard.data), n = length ? strtoul(length, NULL, 10) : 0;
    if (expects)
        bad_say(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    size_t wanted = b->cut_body > 0 ? KB_MIN(n, b->cut_body) : n;
    while (heard.size < at + wanted)
        if (!bad_hear(fd, &heard))
            return;
    b->n_calls++;
    b->answer(b, fd, head, heard.data + at, heard.size - at);
}

static inline void *bad_serve(void *opaque)
{
    struct bad *b = opaque;
    for (int fd; (fd = accept(b->listener, NULL, NULL)) >= 0; close(fd)) {
        pthread_mutex_lock(&b->lock);
        bad_converse(b, fd);
        pthread_mutex_unlock(&b->lock);
    }
    return NULL;
}

static inline void bad_start(struct bad *b, bad_answer *answer, void *ctx)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    *b = (struct bad){.answer = answer, .ctx = ctx};
    pthread_mutex_init(&b->lock, NULL);
    b->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(b->listener >= 0);
    assert_int_equal(bind(b->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(b->listener, 16), 0);
    assert_int_equal(getsockname(b->listener, (struct sockaddr *)&address, &size), 0);
    b->port = ntohs(address.sin_port);
    for (size_t i = 0; i < ARRAY_LEN(b->threads); i++)
        assert_int_equal(pthread_create(&b->threads[i], NULL, bad_serve, b), 0);
}

static inline void bad_stop(struct bad *b)
{
    shutdown(b->listener, SHUT_RDWR);
    for (size_t i = 0; i < ARRAY_LEN(b->threads); i++)
        pthread_join(b->threads[i], NULL);
    close(b->listener);
    pthread_mutex_destroy(&b->lock);
}

#endif
