// Who is connected, how long they take, and who goes when there are too many.
//
// A connection is a stranger's until a request on it has shown the token (where none is needed:
// until it has made a request at all). Whoever only opens connections, or sends a header by drops,
// stays a stranger. When all places are taken, a stranger goes for each that comes: of the client
// that has most of them the one that came first, so that a few who are honest are the last ones to
// suffer from many who are not. Beyond a small share, strangers go as soon as they have had a
// moment to speak.
//
// Nobody outside libmicrohttpd may close a connection of its; shutting the socket makes it do so.
// It closes the socket only after peer_free(), so under the lock a peer's fd is its own.
#include "http/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TURNED_AWAY_US 5000000 // to send a header and hear why
#define LINGER_US      3000000
#define MAX_LINGERING  32
#define LINGER_TICK_MS 20

// --- clients, under the lock

static struct client *client_ref(struct http *h, const char *address)
{
    char key[INET6_ADDRSTRLEN];
    client_key(key, address);
    struct client *c = h->clients;
    while (c && strcmp(c->key, key) != 0)
        c = c->next;
    if (!c) {
        c = kb_alloc(sizeof(*c));
        snprintf(c->key, sizeof(c->key), "%s", key);
        c->next = h->clients;
        h->clients = c;
    }
    c->refs++;
    return c;
}

static void client_unref(struct http *h, struct client *c)
{
    struct client **link = &h->clients;
    if (--c->refs > 0)
        return;
    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    free(c);
}

// --- counting, under the lock

static void count(struct http *h, struct peer *p, int by)
{
    int *of_client = p->known ? &p->client->n_known : &p->client->n_strangers;
    *of_client += by;
    h->n_counted += by;
    if (!p->known)
        h->n_strangers += by;
    p->counted = by > 0;
}

// status: told if nothing of an answer is under way, 0: just gone.
static void shut(struct http *h, struct peer *p, int status)
{
    static const char late[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
                               "Content-Length: 0\r\n\r\n";
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                               "Retry-After: 10\r\nContent-Length: 0\r\n\r\n";
    const char *words = status == 408 ? late : full;
    if (p->fd < 0)
        return;
    if (status != 0 && atomic_load(&p->phase) == PEER_HEADER)
        send(p->fd, words, strlen(words), MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(p->fd, SHUT_RDWR);
    p->fd = -1;
    if (p->counted)
        count(h, p, -1);
}

// Of the client with the most strangers, the one who came first and before then_us. NULL: nobody.
static struct peer *find_stranger(const struct http *h, const struct peer *but, int64_t then_us)
{
    struct peer *found = NULL;
    for (struct peer *p = h->peers; p; p = p->next) {
        if (p == but || p->known || !p->counted || p->came_us > then_us)
            continue;
        int more = found ? p->client->n_strangers - found->client->n_strangers : 1;
        if (more > 0 || (more == 0 && p->came_us < found->came_us))
            found = p;
    }
    return found;
}

// --- a connection

static void peer_address(char ret[INET6_ADDRSTRLEN], const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    if (address && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &v4->sin_addr, ret, INET6_ADDRSTRLEN);
    else if (address && address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, ret, INET6_ADDRSTRLEN);
    else if (address && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &v6->sin6_addr, ret, INET6_ADDRSTRLEN);
}

// Under the lock.
static void admit(struct http *h, struct peer *p)
{
    if (!p->proxy && p->client->n_known >= h->connections_per_client) {
        p->state = PEER_CLIENT_FULL;
    } else {
        count(h, p, 1);
        if (h->n_counted <= h->connections)
            return;
        struct peer *goes = find_stranger(h, p, INT64_MAX);
        if (goes) {
            shut(h, goes, 503);
            return;
        }
        count(h, p, -1);
        p->state = PEER_SERVER_FULL;
    }
    if (++h->n_turned_away > HTTP_SPARE(h->connections))
        shut(h, p, 503);
}

struct peer *peer_create(struct http *h, struct MHD_Connection *connection)
{
    struct peer *p = kb_alloc(sizeof(*p));
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    peer_address(p->address, info ? info->client_addr : NULL);
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    p->fd = info ? info->connect_fd : -1;
    p->proxy = proxies_have(h->proxies, p->address);
    p->known = p->proxy;
    p->came_us = p->since_us = kb_now_us();
    atomic_fetch_add(&h->n_connections, 1);

    pthread_mutex_lock(&h->lock);
    p->client = client_ref(h, p->address);
    p->next = h->peers;
    if (h->peers)
        h->peers->previous = p;
    else
        pthread_cond_signal(&h->reap);
    h->peers = p;
    admit(h, p);
    pthread_mutex_unlock(&h->lock);
    return p;
}

void peer_free(struct http *h, struct peer *p)
{
    pthread_mutex_lock(&h->lock);
    if (p->counted)
        count(h, p, -1);
    if (p->state != PEER_WELCOME)
        h->n_turned_away--;
    client_unref(h, p->client);
    if (p->next)
        p->next->previous = p->previous;
    if (p->previous)
        p->previous->next = p->next;
    else
        h->peers = p->next;
    pthread_mutex_unlock(&h->lock);
    atomic_fetch_sub(&h->n_connections, 1);
    free(p);
}

bool peer_begins(struct http *h, struct peer *p)
{
    pthread_mutex_lock(&h->lock);
    bool there = p->fd >= 0;
    atomic_store(&p->received, 0);
    atomic_store(&p->phase, PEER_BODY);
    p->seen_bytes = 0;
    p->since_us = kb_now_us();
    pthread_mutex_unlock(&h->lock);
    return there;
}

static void set_known(struct http *h, struct peer *p, bool known)
{
    if (p->known == known)
        return;
    bool counted = p->counted;
    if (counted)
        count(h, p, -1);
    p->known = known;
    if (counted)
        count(h, p, 1);
}

void peer_shows(struct http *h, struct peer *p, bool known)
{
    pthread_mutex_lock(&h->lock);
    set_known(h, p, known);
    pthread_mutex_unlock(&h->lock);
}

void peer_ends(struct http *h, struct peer *p)
{
    pthread_mutex_lock(&h->lock);
    atomic_store(&p->phase, PEER_HEADER);
    p->served = true;
    p->since_us = kb_now_us();
    set_known(h, p, p->known || p->proxy);
    pthread_mutex_unlock(&h->lock);
}

// --- sockets that stay open until their client has read the answer

struct parting {
    int fd;
    int64_t until_us;
    struct parting *next;
};

void peer_linger(struct http *h, const struct peer *p)
{
    pthread_mutex_lock(&h->lock);
    int fd = -1;
    if (p->fd >= 0 && h->n_lingering < KB_MIN(MAX_LINGERING, h->connections / 4) &&
        !atomic_load(&h->stopping))
        fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0) {
        struct parting *l = kb_alloc(sizeof(*l));
        *l = (struct parting){fd, kb_now_us() + LINGER_US, h->lingering};
        h->lingering = l;
        h->n_lingering++;
        pthread_cond_signal(&h->reap);
    }
    pthread_mutex_unlock(&h->lock);
}

// What still comes goes nowhere. False: the other end has closed.
static bool drain(int fd)
{
    char block[16384];
    ssize_t n;
    for (int i = 0; i < 64; i++)
        if ((n = recv(fd, block, sizeof(block), MSG_DONTWAIT)) <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR);
    return true;
}

static void drain_all(struct http *h, int64_t now)
{
    for (struct parting **link = &h->lingering; *link;) {
        struct parting *l = *link;
        if (drain(l->fd) && now < l->until_us) {
            link = &l->next;
            continue;
        }
        *link = l->next;
        close(l->fd);
        free(l);
        h->n_lingering--;
    }
}

// --- the clock

// Bytes that came and were not read yet: then the server is behind, not the client.
static bool bytes_wait(int fd)
{
    int n = 0;
    return ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

static void look_at(struct http *h, struct peer *p, int64_t now)
{
    int phase = atomic_load(&p->phase);
    if (p->fd < 0)
        return;
    if (phase == PEER_HEADER) {
        int64_t limit = h->header_us + (p->served ? h->idle_us : 0);
        if (p->state != PEER_WELCOME)
            limit = KB_MIN(limit, TURNED_AWAY_US);
        if (now - p->since_us > limit)
            shut(h, p, 408);
    } else if (phase == PEER_BODY) {
        int64_t received = atomic_load(&p->received);
        if (received - p->seen_bytes >= h->slow_bytes || atomic_load(&p->working) ||
            bytes_wait(p->fd)) {
            p->seen_bytes = received;
            p->since_us = now;
        } else if (now - p->since_us > h->slow_us) {
            shut(h, p, 0);
        }
    }
}

static void look_around(struct http *h)
{
    int64_t now = kb_now_us();
    struct peer *p;
    for (p = h->peers; p; p = p->next)
        look_at(h, p, now);
    while (h->n_strangers > h->strangers && (p = find_stranger(h, NULL, now - h->grace_us)))
        shut(h, p, 503);
    drain_all(h, now);
}

static void wait_ms(struct http *h, int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&h->reap, &h->lock, &t);
}

static void *reaper_main(void *opaque)
{
    struct http *h = opaque;
    // An eighth of the shortest time that is kept.
    int64_t shortest = KB_MIN(KB_MIN(h->header_us, h->slow_us), h->grace_us);
    int64_t tick = KB_MAX(10, KB_MIN(1000, shortest / 8000));
    pthread_mutex_lock(&h->lock);
    while (!atomic_load(&h->stopping)) {
        if (!h->peers && !h->lingering)
            pthread_cond_wait(&h->reap, &h->lock);
        else
            wait_ms(h, h->lingering ? LINGER_TICK_MS : tick);
        look_around(h);
    }
    while (h->lingering) {
        struct parting *l = h->lingering;
        h->lingering = l->next;
        close(l->fd);
        free(l);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

bool peers_start(struct http *h)
{
    h->reaping = pthread_create(&h->reaper, NULL, reaper_main, h) == 0;
    return h->reaping;
}

void peers_stop(struct http *h)
{
    pthread_mutex_lock(&h->lock);
    atomic_store(&h->stopping, true);
    pthread_cond_broadcast(&h->reap);
    pthread_mutex_unlock(&h->lock);
    if (h->reaping)
        pthread_join(h->reaper, NULL);
    h->reaping = false;
}
