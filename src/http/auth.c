// Who may ask: the three guards that every request passes, and the session cookie.
//
// Without a token everybody on this machine may do everything, so the two things that let a foreign
// web page act through the user's browser must be shut: names that were made to point here (DNS
// rebinding, seen by the Host header) and forms sent across sites (seen by the Origin header).
//
// The cookie is HMAC-SHA256(token, a fixed text): whoever reads it has the session but not the
// token, and it outlives a restart of the server. Secrets are compared as digests in constant time.
#include "http/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/uri.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#define COOKIE       "koubo_session"
#define COOKIE_AGE_S (30 * 24 * 3600)
#define MAX_WRONG    10 // a minute

void auth_init(struct http *h, const char *token)
{
    static const char purpose[] = "koubo session 1";
    unsigned char digest[32];
    unsigned n = sizeof(digest);
    h->needs_token = token && *token;
    if (!h->needs_token)
        return;
    SHA256((const unsigned char *)token, strlen(token), h->token_digest);
    HMAC(EVP_sha256(), token, (int)strlen(token), (const unsigned char *)purpose,
         sizeof(purpose) - 1, digest, &n);
    bytes_hex(h->cookie, digest, sizeof(digest));
}

// --- where the request says it goes and comes from

// "Host:port" cut in two: the name without the brackets of IPv6 and the port (or fallback).
static bool split_host(const char *host, char ret_name[256], int *ret_port, int fallback)
{
    const char *start = host, *end = host + strcspn(host, ":");
    if (*host == '[') {
        start++;
        end = strchr(host, ']');
        if (!end)
            return false;
    }
    size_t n = (size_t)(end - start);
    if (n == 0 || n >= 256)
        return false;
    memcpy(ret_name, start, n);
    ret_name[n] = '\0';
    end += *host == '[';
    *ret_port = fallback;
    if (*end == '\0')
        return true;
    if (*end != ':' || strlen(end) > 6 || strspn(end + 1, "0123456789") != strlen(end + 1))
        return false;
    if (end[1])
        *ret_port = atoi(end + 1);
    return true;
}

static bool is_this_machine(const struct http *h, const char *name)
{
    struct in_addr v4;
    struct in6_addr v6;
    size_t n = strlen(name);
    if (strcasecmp(name, "localhost") == 0 || strcasecmp(name, h->listen) == 0)
        return true;
    if (n > 10 && strcasecmp(name + n - 10, ".localhost") == 0)
        return true;
    if (inet_pton(AF_INET, name, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool names_this_machine(const struct http *h, const char *host)
{
    char name[256];
    int port;
    return split_host(host, name, &port, 80) && is_this_machine(h, name);
}

bool auth_check_host(struct request *r)
{
    const char *host = request_header(r, "Host");
    if (r->http->needs_token)
        return true;
    if ((!host || names_this_machine(r->http, host)) &&
        (!r->authority || names_this_machine(r->http, r->authority)))
        return true; // only programs older than browsers send no Host
    reply_problem(r, 403, "host",
                  _("this server only answers to the name localhost or 127.0.0.1; to reach it by "
                    "another name start it with --token"));
    return false;
}

// Does "http://host:port" name the host of this request?
static bool same_origin(const char *origin, const char *host)
{
    char from[256], here[256];
    int from_port, here_port;
    size_t scheme = uri_http(origin);
    if (!host || scheme == 0)
        return false;
    int port = scheme == strlen("https://") ? 443 : 80; // TLS: behind a proxy that speaks it
    return split_host(origin + scheme, from, &from_port, port) &&
           split_host(host, here, &here_port, port) && strcasecmp(from, here) == 0 &&
           from_port == here_port;
}

bool auth_check_origin(struct request *r)
{
    static const char *const safe[] = {"GET", "HEAD", "OPTIONS"};
    for (size_t i = 0; i < ARRAY_LEN(safe); i++)
        if (strcmp(r->method, safe[i]) == 0)
            return true;
    const char *origin = request_header(r, "Origin");
    if (!origin || same_origin(origin, request_header(r, "Host")))
        return true;
    reply_problem(r, 403, "origin",
                  _("this request comes from another web page; only the server's own page may "
                    "change things here"));
    return false;
}

// --- the token

static bool token_fits(const struct http *h, const char *token)
{
    unsigned char digest[32];
    SHA256((const unsigned char *)token, strlen(token), digest);
    return CRYPTO_memcmp(digest, h->token_digest, sizeof(digest)) == 0;
}

static bool cookie_fits(const struct request *r)
{
    const char *cookie = MHD_lookup_connection_value(r->connection, MHD_COOKIE_KIND, COOKIE);
    return cookie && strlen(cookie) == 64 && CRYPTO_memcmp(cookie, r->http->cookie, 64) == 0;
}

static const char *bearer(const struct request *r)
{
    const char *header = request_header(r, "Authorization");
    if (!header || strncasecmp(header, "Bearer ", 7) != 0)
        return NULL;
    return header + 7 + strspn(header + 7, " ");
}

bool http_needs_token(const struct request *r)
{
    return r->http->needs_token;
}

bool auth_shows_token(const struct request *r)
{
    const char *token = bearer(r);
    return !r->http->needs_token || cookie_fits(r) || (token && token_fits(r->http, token));
}

// How many wrong ones this client sent within a minute, this one among them.
static int count_wrong(struct request *r)
{
    int n = guesses_add(r->http->guesses, request_client(r), kb_now_us());
    if (n == MAX_WRONG + 1)
        log_warn(_("%s has sent %d wrong tokens within a minute"), request_client(r), n);
    return n;
}

bool http_session_ok(struct request *r)
{
    if (auth_shows_token(r))
        return true;
    if (bearer(r))
        count_wrong(r);
    return false;
}

// The right token is let in however many wrong ones came from the same address: behind a router or
// a proxy that may be somebody else's. What keeps a guesser out is the token's length.
bool http_token_ok(struct request *r, const char *token)
{
    if (!r->http->needs_token || (token && token_fits(r->http, token)))
        return true;
    if (token && count_wrong(r) > MAX_WRONG) {
        reply_header(r, "Retry-After", "60");
        reply_problem(r, 429, "too_many",
                      _("too many wrong tokens from this computer; wait a minute and try again"));
        return false;
    }
    reply_header(r, "WWW-Authenticate", "Bearer realm=\"koubo\"");
    reply_problem(r, 401, "token",
                  token ? _("this token is not right; koubo serve prints the right one when it "
                            "starts, unless it was given with --token")
                        : _("this server needs its token; koubo serve prints it when it starts, "
                            "unless it was given with --token"));
    return false;
}

bool auth_check_token(struct request *r)
{
    r->known = auth_shows_token(r);
    return r->known || (r->route->flags & ROUTE_OPEN) || http_token_ok(r, bearer(r));
}

bool request_is_secure(const struct request *r)
{
    const char *scheme = r->peer && r->peer->proxy ? request_header(r, "X-Forwarded-Proto") : NULL;
    return scheme && strcasecmp(scheme, "https") == 0;
}

char *http_session_cookie(const struct request *r, bool end)
{
    return kb_printf(COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%d%s",
                     end ? "" : r->http->cookie, end ? 0 : COOKIE_AGE_S,
                     request_is_secure(r) ? "; Secure" : "");
}
