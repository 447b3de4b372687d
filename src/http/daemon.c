// The daemon: listening, counting connections, starting and stopping.
//
// libmicrohttpd runs a few threads, each with its own epoll; a connection stays with one of them.
// Its own limits of connections close a socket without a word, so they are set a little above ours,
// and who comes in between is told why he has to go.
#include "http/internal.h"

#include "base/log.h"
#include "base/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 512
// Of one connection: half of it reads bodies, and all of it holds headers.
#define CONNECTION_MEMORY (64 << 10)
#define IDLE_S            30

static void log_daemon(void *unused, const char *fmt, va_list args)
{
    char line[400];
    vsnprintf(line, sizeof(line), fmt, args);
    line[strcspn(line, "\n")] = '\0';
    log_debug("http: %s", line);
}

// --- connections

static void on_connection(void *opaque, struct MHD_Connection *connection, void **peer,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http *h = opaque;
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        *peer = peer_create(h, connection);
    else if (*peer) // before the socket is closed
        peer_free(h, TAKE(*peer));
}

// --- listening

static enum kb_code listen_fail(const struct http_params *p, int number, struct kb_error *err)
{
    char owner[128];
    if (number == EADDRINUSE && port_owner(p->port, owner))
        return kb_fail(err, KB_UNAVAILABLE,
                       _("port %d is taken by %s; end that program or choose another port with "
                         "--port"),
                       p->port, owner);
    if (number == EADDRINUSE)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("port %d is taken by another program; choose another one with --port"),
                       p->port);
    if (number == EADDRNOTAVAIL)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("this machine has no address '%s'; --listen takes one of its own, for "
                         "instance 127.0.0.1, or 0.0.0.0 for all of them"),
                       p->listen);
    if (number == EACCES)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("port %d may only be used by the administrator; choose one above 1023 "
                         "with --port"),
                       p->port);
    return kb_fail(err, KB_UNAVAILABLE, _("cannot listen on %s port %d: %s"), p->listen, p->port,
                   kb_strerror(number));
}

static enum kb_code open_socket(int *ret, const struct http_params *p, struct kb_error *err)
{
    char port[16];
    snprintf(port, sizeof(port), "%d", p->port);
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *address = NULL;
    if (p->port < 0 || p->port > 65535)
        return kb_fail(err, KB_BAD_INPUT, _("a port is a number up to 65535, not %d"), p->port);
    if (getaddrinfo(p->listen, port, &hints, &address) != 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is not an address to listen on; use for instance 127.0.0.1, ::1 or "
                         "0.0.0.0"),
                       p->listen);
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1, off = 0;
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
    if (ok && address->ai_family == AF_INET6) // "::" stands for all addresses, also of IPv4
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    ok = ok && bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
    int number = errno;
    freeaddrinfo(address);
    if (ok) {
        *ret = fd;
        return KB_OK;
    }
    if (fd >= 0)
        close(fd);
    return listen_fail(p, number, err);
}

static int socket_port(int fd)
{
    struct sockaddr_in6 address = {0}; // IPv4's has the port in the same place
    socklen_t size = sizeof(address);
    getsockname(fd, (struct sockaddr *)&address, &size);
    return ntohs(address.sin6_port);
}

// --- start and stop

static void http_free(struct http **http)
{
    struct http *h = TAKE(*http);
    if (!h)
        return;
    free(h->listen);
    proxies_free(&h->proxies);
    guesses_free(&h->guesses);
    pthread_cond_destroy(&h->reap);
    pthread_cond_destroy(&h->watch);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static struct http *http_create(const struct http_params *p)
{
    struct http *h = kb_alloc(sizeof(*h));
    h->app = p->app;
    h->tables = p->tables;
    h->listen = kb_strdup(p->listen);
    h->lang = kb_language_name(kb_language_of(p->lang));
    h->threads = p->threads > 0 ? p->threads : 4;
    h->connections = p->connections > 0 ? p->connections : 1000;
    h->connections_per_client = p->connections_per_client > 0 ? p->connections_per_client : 400;
    h->strangers = p->strangers > 0 ? p->strangers : KB_MAX(8, h->connections / 8);
    h->idle_us = 1000000LL * (p->idle_s > 0 ? p->idle_s : IDLE_S);
    h->header_us = 1000LL * (p->header_ms > 0 ? p->header_ms : 30000);
    h->slow_us = 1000LL * (p->slow_ms > 0 ? p->slow_ms : 30000);
    h->slow_bytes = p->slow_bytes > 0 ? p->slow_bytes : 30000;
    h->grace_us = 1000LL * (p->grace_ms > 0 ? p->grace_ms : 2000);
    h->guesses = guesses_create();
    h->body_bytes = p->body_bytes > 0 ? p->body_bytes : 1 << 20;
    pthread_mutex_init(&h->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&h->watch, &attributes);
    pthread_cond_init(&h->reap, &attributes);
    pthread_condattr_destroy(&attributes);
    auth_init(h, p->token);
    return h;
}

// Keeps libmicrohttpd's hands off "%2F" and "%00": route.c decodes.
static size_t leave_escapes(void *unused, struct MHD_Connection *connection, char *s)
{
    return strlen(s);
}

enum kb_code http_start(struct http **ret, const struct http_params *p, struct kb_error *err)
{
    int fd = -1;
    struct http_params params = *p;
    if (!params.listen)
        params.listen = "127.0.0.1";
    enum kb_code code = open_socket(&fd, &params, err);
    if (code != KB_OK)
        return code;
    signal(SIGPIPE, SIG_IGN); // a client that went away is an error of its connection only
    CLEANUP(http_free) struct http *h = http_create(&params);
    h->port = socket_port(fd);
    code = proxies_parse(&h->proxies, params.proxies, err);
    if (code == KB_OK && !(streams_start(h) && peers_start(h))) {
        streams_stop(h);
        code = kb_no_memory(err);
    }
    if (code != KB_OK) {
        close(fd);
        return code;
    }
    // Each thread serves its share of the connections, so one that has taken many may not be the
    // reason to turn somebody away: twice the number for libmicrohttpd, ours is counted exactly.
    unsigned limit = 2 * (unsigned)(h->connections + HTTP_SPARE(h->connections));
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        request_handle, h, MHD_OPTION_EXTERNAL_LOGGER, log_daemon, NULL, MHD_OPTION_LISTEN_SOCKET,
        fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)h->threads, MHD_OPTION_CONNECTION_LIMIT, limit,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(h->idle_us / 1000000),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_UNESCAPE_CALLBACK,
        leave_escapes, NULL, MHD_OPTION_URI_LOG_CALLBACK, request_begin, h,
        MHD_OPTION_NOTIFY_COMPLETED, request_end, h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
        MHD_OPTION_END);
    if (!h->daemon) {
        streams_stop(h);
        peers_stop(h);
        close(fd);
        return kb_fail(err, KB_INTERNAL, _("the HTTP server did not start: %s"),
                       kb_strerror(errno));
    }
    *ret = TAKE(h);
    return KB_OK;
}

int http_port(const struct http *h)
{
    return h->port;
}

int http_connections(const struct http *h)
{
    return atomic_load(&h->n_connections);
}

void http_stop(struct http **http)
{
    struct http *h = *http;
    if (!h)
        return;
    int fd = MHD_quiesce_daemon(h->daemon); // nobody new
    streams_stop(h);
    peers_stop(h);
    MHD_stop_daemon(h->daemon);
    if (fd >= 0)
        close(fd);
    *http = NULL; // not before: requests that were under way may have looked at it
    http_free(&h);
}
