#include "tests/server/live.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

void live_restart(struct live *l, const struct server_params *params)
{
    struct kb_error err = {0};
    struct server_params p = *params;
    server_stop(&l->app);
    p.data = l->site.folder;
    p.port = 0;
    p.supervisor.n_workers = -1;
    if (!p.lang)
        p.lang = "en";
    assert_ok(err, server_start(&l->app, &p, &err));
    l->site.port = server_port(l->app);
}

void live_start(struct live *l, const struct server_params *params)
{
    *l = (struct live){0};
    site_open(&l->site);
    live_restart(l, params);
}

void live_stop(struct live *l)
{
    server_stop(&l->app);
    site_stop(&l->site);
}

int live_setup(void **state)
{
    static const struct server_params usual;
    struct live *l = kb_alloc(sizeof(*l));
    live_start(l, &usual);
    *state = l;
    return 0;
}

int live_teardown(void **state)
{
    live_stop(*state);
    free(*state);
    return 0;
}

const char *live_path(const char *fmt, int64_t id)
{
    static char paths[4][100];
    static int next;
    char *ret = paths[next++ % 4];
    snprintf(ret, sizeof(paths[0]), fmt, (long long)id);
    return ret;
}

json_t *live_ask(struct live *l, int wanted, const char *method, const char *path, const char *body)
{
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&l->site, &r, method, path, body ? "Content-Type: application/json\r\n" : NULL, body,
             body ? strlen(body) : 0);
    if (r.status != wanted)
        fail_msg("%s %s: status %d, wanted %d\n%s%s", method, path, r.status, wanted,
                 r.head ? r.head : "", r.body ? r.body : "");
    return r.size > 0 ? reply_object(&r) : NULL;
}

void live_refuses(struct live *l, int wanted, const char *code, const char *part,
                  const char *method, const char *path, const char *body)
{
    json_t *problem = live_ask(l, wanted, method, path, body);
    assert_int_equal(number_at(problem, "status"), wanted);
    assert_string_equal(text_at(problem, "code"), code);
    if (!strstr(text_at(problem, "detail"), part))
        fail_msg("%s %s: '%s' is not in '%s'", method, path, part, text_at(problem, "detail"));
    json_decref(problem);
}

static json_t *value_at(json_t *json, const char *path)
{
    char copy[200], *rest = copy, *name;
    snprintf(copy, sizeof(copy), "%s", path);
    while ((name = strsep(&rest, "."))) {
        json = json_is_array(json) ? json_array_get(json, strtoul(name, NULL, 10))
                                   : json_object_get(json, name);
        if (!json)
            fail_msg("there is no '%s'", path);
    }
    return json;
}

const char *text_at(json_t *json, const char *path)
{
    json_t *value = value_at(json, path);
    if (!json_is_string(value))
        fail_msg("'%s' is no text", path);
    return json_string_value(value);
}

json_int_t number_at(json_t *json, const char *path)
{
    json_t *value = value_at(json, path);
    if (!json_is_integer(value))
        fail_msg("'%s' is no whole number", path);
    return json_integer_value(value);
}

// --- the file server

struct source {
    int fd;
    pthread_t thread;
    atomic_bool stop;
};

static void send_text(int fd, const char *text)
{
    send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void send_bytes(int fd, size_t n)
{
    char *bytes = malloc(n), head[100];
    memset(bytes, 'x', n);
    snprintf(head, sizeof(head),
             "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", n);
    send_text(fd, head);
    send(fd, bytes, n, MSG_NOSIGNAL);
    free(bytes);
}

static void send_jump(int fd, const char *to)
{
    CLEANUP(kb_freep)
    char *answer = kb_printf("HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: %.*s\r\n"
                             "Content-Length: 0\r\n\r\n",
                             (int)strcspn(to, " "), to);
    send_text(fd, answer);
}

// True: the connection is to stay open.
static bool serve_one(int fd)
{
    char request[4096];
    ssize_t n = read(fd, request, sizeof(request) - 1);
    request[n > 0 ? n : 0] = '\0';
    if (strncmp(request, "GET /file.wav", 13) == 0)
        send_bytes(fd, 1000);
    else if (strncmp(request, "GET /old", 8) == 0)
        send_text(fd, "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /file.wav\r\n"
                      "Content-Length: 0\r\n\r\n");
    else if (strncmp(request, "GET /loop", 9) == 0)
        send_text(fd, "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /loop\r\n"
                      "Content-Length: 0\r\n\r\n");
    else if (strncmp(request, "GET /inner", 10) == 0)
        send_text(fd, "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: file:///etc/passwd\r\n"
                      "Content-Length: 0\r\n\r\n");
    else if (strncmp(request, "GET /jump/", 10) == 0)
        send_jump(fd, request + 10);
    else if (strncmp(request, "GET /empty", 10) == 0)
        send_bytes(fd, 0);
    else if (strncmp(request, "GET /big", 8) == 0)
        send_bytes(fd, 1 << 16);
    else if (strncmp(request, "GET /slow", 9) == 0)
        send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx");
    else
        send_text(fd, "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    return strncmp(request, "GET /slow", 9) == 0;
}

static void *source_main(void *opaque)
{
    struct source *s = opaque;
    int open[16], n_open = 0;
    while (!atomic_load(&s->stop)) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        if (poll(&p, 1, 50) != 1)
            continue;
        int fd = accept(s->fd, NULL, NULL);
        if (serve_one(fd) && n_open < (int)ARRAY_LEN(open))
            open[n_open++] = fd;
        else
            close(fd);
    }
    while (n_open > 0)
        close(open[--n_open]);
    return NULL;
}

struct source *source_start(int *ret_port)
{
    struct source *s = kb_alloc(sizeof(*s));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(address);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&address, n), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&address, &n), 0);
    *ret_port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, source_main, s), 0);
    return s;
}

void source_stop(struct source **source)
{
    struct source *s = TAKE(*source);
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
    close(s->fd);
    free(s);
}
