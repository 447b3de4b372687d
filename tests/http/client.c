#include "tests/http/client.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

int client_connect(int port)
{
    return client_connect_from("127.0.0.1", port);
}

int client_connect_from(const char *address, int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in from = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, address, &from.sin_addr) != 1 ||
        bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0)
        fail_msg("cannot connect from %s", address);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval limit = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        fail_msg("cannot connect to port %d", port);
    return fd;
}

void client_send(int fd, const void *data, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t sent = send(fd, (const char *)data + done, n - done, MSG_NOSIGNAL);
        if (sent <= 0)
            return; // the server has closed: the answer tells
        done += (size_t)sent;
    }
}

void client_sendf(int fd, const char *fmt, ...)
{
    char *text;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    client_send(fd, text, (size_t)n);
    free(text);
}

void answer_clear(struct answer *a)
{
    free(a->head);
    free(a->body);
    *a = (struct answer){0};
}

const char *answer_header(const struct answer *a, const char *name)
{
    static char buffers[8][4096];
    static int next;
    char *to = buffers[next++ % 8];
    size_t n = strlen(name);
    to[0] = '\0';
    for (const char *line = a->head; line && *line; line = strchr(line, '\n'), line += line != NULL)
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            line += n + 1;
            line += strspn(line, " ");
            snprintf(to, sizeof(buffers[0]), "%.*s", (int)strcspn(line, "\r\n"), line);
            break;
        }
    return to;
}

static bool read_line(int fd, struct text *to)
{
    char c = 0;
    while (c != '\n') {
        if (recv(fd, &c, 1, 0) != 1)
            return false;
        text_add_bytes(to, &c, 1);
    }
    return true;
}

static bool read_exactly(int fd, struct text *to, size_t n)
{
    char block[4096];
    while (n > 0) {
        ssize_t got = recv(fd, block, KB_MIN(n, sizeof(block)), 0);
        if (got <= 0)
            return false;
        text_add_bytes(to, block, (size_t)got);
        n -= (size_t)got;
    }
    return true;
}

// The size of the next chunk, -1 when there is none.
static long chunk_size(int fd)
{
    struct text line = {0};
    char *end = NULL;
    long n = read_line(fd, &line) ? strtol(line.data, &end, 16) : -1;
    if (line.data && end == line.data)
        n = -1;
    text_free(&line);
    return n;
}

static bool chunk_end(int fd)
{
    struct text line = {0};
    bool ok = read_line(fd, &line) && strcmp(line.data, "\r\n") == 0;
    text_free(&line);
    return ok;
}

int client_chunk(int fd, char *buffer, size_t max)
{
    long n = chunk_size(fd);
    struct text data = {0};
    bool ok = n >= 0 && (size_t)n <= max && read_exactly(fd, &data, (size_t)n) && chunk_end(fd);
    if (ok && n > 0)
        memcpy(buffer, data.data, (size_t)n);
    text_free(&data);
    return ok ? (int)n : -1;
}

static bool read_body(int fd, const struct answer *a, struct text *to)
{
    const char *length = answer_header(a, "Content-Length");
    if (a->status == 204 || a->status == 304)
        return true;
    if (*length)
        return read_exactly(fd, to, strtoul(length, NULL, 10));
    if (strcasecmp(answer_header(a, "Transfer-Encoding"), "chunked") == 0) {
        long n;
        while ((n = chunk_size(fd)) > 0)
            if (!read_exactly(fd, to, (size_t)n) || !chunk_end(fd))
                return false;
        return n == 0 && chunk_end(fd);
    }
    char block[4096];
    ssize_t got;
    while ((got = recv(fd, block, sizeof(block), 0)) > 0)
        text_add_bytes(to, block, (size_t)got);
    return got == 0;
}

void client_receive(int fd, struct answer *ret, const char *method)
{
    answer_clear(ret);
    for (;;) {
        struct text head = {0};
        size_t before = 0;
        while (read_line(fd, &head) && strcmp(head.data + before, "\r\n") != 0)
            before = head.size;
        ret->head = head.data;
        if (!head.data || sscanf(head.data, "HTTP/1.%*d %d", &ret->status) != 1) {
            ret->status = 0;
            return;
        }
        if (ret->status != 100)
            break;
        text_free(&head);
    }
    struct text body = {0};
    ret->whole = strcmp(method, "HEAD") == 0 || read_body(fd, ret, &body);
    text_add_bytes(&body, "", 1);
    ret->body = body.data;
    ret->size = body.size - 1;
}

bool client_is_closed(int fd)
{
    char c;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 5000) == 1 && recv(fd, &c, 1, MSG_PEEK) <= 0;
}

void client_ask(int port, struct answer *ret, const char *method, const char *path,
                const char *headers, const char *body)
{
    int fd = client_connect(port);
    client_sendf(fd, "%s %s HTTP/1.1\r\n%s%s", method, path,
                 strstr(headers, "Host:") ? "" : "Host: localhost\r\n", headers);
    if (body)
        client_sendf(fd, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    else
        client_send(fd, "\r\n", 2);
    client_receive(fd, ret, method);
    close(fd);
}
