#include "base/guard.h"

#include "base/utf8.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// RFC 6890 and its registries; what clouds say of their metadata services.
static const struct {
    const char *network;
    enum guard_place place;
} networks[] = {
    {"0.0.0.0/8", GUARD_NOWHERE},
    {"10.0.0.0/8", GUARD_LAN},
    {"100.64.0.0/10", GUARD_LAN},
    {"127.0.0.0/8", GUARD_SELF},
    {"169.254.0.0/16", GUARD_NOWHERE},
    {"172.16.0.0/12", GUARD_LAN},
    {"192.0.0.0/24", GUARD_NOWHERE},
    {"192.0.2.0/24", GUARD_NOWHERE},
    {"192.88.99.0/24", GUARD_NOWHERE},
    {"192.168.0.0/16", GUARD_LAN},
    {"198.18.0.0/15", GUARD_LAN},
    {"198.51.100.0/24", GUARD_NOWHERE},
    {"203.0.113.0/24", GUARD_NOWHERE},
    {"224.0.0.0/4", GUARD_NOWHERE},
    {"240.0.0.0/4", GUARD_NOWHERE},
    {"100.100.100.200", GUARD_METADATA}, // Alibaba
    {"168.63.129.16", GUARD_METADATA},   // Azure
    {"169.254.0.23", GUARD_METADATA},    // Tencent
    {"169.254.169.250/31", GUARD_METADATA},
    {"169.254.169.253", GUARD_METADATA},
    {"169.254.169.254", GUARD_METADATA}, // Amazon, Azure, Google, Huawei, Oracle …
    {"169.254.170.2", GUARD_METADATA},   // Amazon's containers
    {"169.254.170.23", GUARD_METADATA},
    {"192.0.0.192", GUARD_METADATA}, // Oracle
    {"::/128", GUARD_NOWHERE},
    {"::1/128", GUARD_SELF},
    {"64:ff9b:1::/48", GUARD_LAN},
    {"100::/64", GUARD_NOWHERE},
    {"2001:db8::/32", GUARD_NOWHERE},
    {"3fff::/20", GUARD_NOWHERE},
    {"5f00::/16", GUARD_NOWHERE},
    {"fc00::/7", GUARD_LAN},
    {"fe80::/10", GUARD_NOWHERE},
    {"fec0::/10", GUARD_LAN},
    {"ff00::/8", GUARD_NOWHERE},
    {"fd00:42::42", GUARD_METADATA},   // Scaleway
    {"fd00:ec2::/32", GUARD_METADATA}, // Amazon
    {"fd20:ce::254", GUARD_METADATA},  // Google
};

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void put_v4(uint8_t ret[16], const void *v4)
{
    memcpy(ret, mapped, sizeof(mapped));
    memcpy(ret + 12, v4, 4);
}

static bool same_bits(const uint8_t *a, const uint8_t *b, int bits)
{
    int whole = bits / 8, rest = bits % 8;
    return memcmp(a, b, (size_t)whole) == 0 &&
           (rest == 0 || ((a[whole] ^ b[whole]) & (0xff << (8 - rest)) & 0xff) == 0);
}

// --- rules as text

// A whole number from 0 to most, and nothing else.
static bool read_number(const char *s, long most, int *ret)
{
    char *end;
    long n = strtol(s, &end, 10);
    *ret = (int)n;
    return *s >= '0' && *s <= '9' && *end == '\0' && n <= most;
}

static bool read_rule(const char *text, struct guard_rule *ret)
{
    char copy[GUARD_TEXT_BYTES], *host = copy, *bits, *port;
    bool brackets = *text == '[';
    if (strlen(text) >= sizeof(copy))
        return false;
    snprintf(copy, sizeof(copy), "%s", text + brackets);
    char *rest = brackets ? strchr(copy, ']') : copy;
    if (!rest)
        return false;
    if (brackets)
        *rest++ = '\0';
    *ret = (struct guard_rule){.bits = -1};
    bool v6 = brackets || strchr(host, ':') != strrchr(host, ':');
    port = v6 && !brackets ? NULL : strrchr(rest, ':');
    if (port)
        *port++ = '\0';
    bits = strchr(rest, '/');
    if (bits)
        *bits++ = '\0';
    if (brackets && *rest) // something else behind the bracket
        return false;
    struct in_addr v4;
    if (v6 ? inet_pton(AF_INET6, host, ret->ip) != 1 : inet_pton(AF_INET, host, &v4) != 1)
        return false;
    if (!v6)
        put_v4(ret->ip, &v4);
    int most = v6 ? 128 : 32;
    ret->bits = most;
    if ((bits && !read_number(bits, most, &ret->bits)) ||
        (port && (!read_number(port, 65535, &ret->port) || ret->port == 0)))
        return false;
    ret->bits += 128 - most;
    return true;
}

enum kb_code guard_allow(struct guard *g, const char *text, struct kb_error *err)
{
    struct guard_rule rule;
    if (strcmp(text, "lan") == 0) {
        g->lan = true;
        return KB_OK;
    }
    if (!read_rule(text, &rule))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%.*s' is no address that can be allowed; write it in digits, such as "
                         "192.168.1.5, 192.168.1.0/24, 127.0.0.1:9000 or [fd00::5]:25, or write "
                         "lan for all private networks"),
                       utf8_fit(text, 80), text);
    if (g->n_rules == GUARD_RULES)
        return kb_fail(err, KB_BAD_INPUT,
                       _("more than %d allowed addresses; join them into networks such as "
                         "192.168.1.0/24"),
                       GUARD_RULES);
    g->rules[g->n_rules++] = rule;
    return KB_OK;
}

// --- judging

// As 16 bytes, IPv4 mapped. False: neither IPv4 nor IPv6.
static bool read_address(const struct sockaddr *address, uint8_t ret_ip[16], int *ret_port)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4; // copied: the caller's need not be aligned
        memcpy(&v4, address, sizeof(v4));
        put_v4(ret_ip, &v4.sin_addr);
        *ret_port = ntohs(v4.sin_port);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        memcpy(ret_ip, &v6.sin6_addr, 16);
        *ret_port = ntohs(v6.sin6_port);
        return true;
    }
    return false;
}

// One address, nothing that may stand inside it.
static enum guard_place plain_place(const uint8_t ip[16], const struct ifaddrs *own)
{
    enum guard_place place = GUARD_PUBLIC;
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        struct guard_rule r;
        if (read_rule(networks[i].network, &r) && same_bits(ip, r.ip, r.bits))
            place = KB_MAX(place, networks[i].place);
    }
    for (const struct ifaddrs *a = own; a; a = a->ifa_next) {
        uint8_t mine[16];
        int port;
        if (a->ifa_addr && read_address(a->ifa_addr, mine, &port) && memcmp(mine, ip, 16) == 0)
            place = KB_MAX(place, GUARD_SELF);
    }
    return place;
}

static void add_inner(uint8_t (*list)[16], int *n, const uint8_t *ip, const int *at, uint8_t flip)
{
    uint8_t v4[4];
    for (int i = 0; i < 4; i++)
        v4[i] = ip[at[i]] ^ flip;
    put_v4(list[(*n)++], v4);
}

// The IPv4 addresses that an IPv6 address carries to where it leads.
static int inner_addresses(const uint8_t ip[16], uint8_t ret[6][16])
{
    static const int last[] = {12, 13, 14, 15}, sixth[] = {2, 3, 4, 5}, server[] = {4, 5, 6, 7},
                     local[] = {6, 7, 9, 10}; // RFC 6052 for a prefix of 48 bits
    static const uint8_t zero[16];
    int n = 0;
    if (same_bits(ip, zero, 64) &&
        (same_bits(ip + 8, zero, 32) || same_bits(ip + 8, mapped + 10, 16)))
        add_inner(ret, &n, ip, last, 0); // ::a.b.c.d (compatible), ::ffff:0:a.b.c.d (translated)
    if (same_bits(ip, (const uint8_t[]){0, 0x64, 0xff, 0x9b}, 32)) // NAT64
        add_inner(ret, &n, ip, ip[6] || ip[7] ? local : last, 0);
    if (same_bits(ip, (const uint8_t[]){0x20, 0x02}, 16)) // 6to4
        add_inner(ret, &n, ip, sixth, 0);
    if (same_bits(ip, (const uint8_t[]){0x20, 0x01, 0, 0}, 32)) { // Teredo: server, client
        add_inner(ret, &n, ip, server, 0);
        add_inner(ret, &n, ip, last, 0xff);
    }
    if ((ip[8] & 0xfd) == 0 && same_bits(ip + 9, (const uint8_t[]){0, 0x5e, 0xfe}, 24)) // ISATAP
        add_inner(ret, &n, ip, last, 0);
    return n;
}

static enum guard_place place_among(const uint8_t ip[16], const struct ifaddrs *own)
{
    uint8_t inner[6][16];
    enum guard_place place = plain_place(ip, own);
    if (memcmp(ip, mapped, sizeof(mapped)) == 0 || memcmp(ip, &in6addr_loopback, 16) == 0)
        return place; // ::1 carries no 0.0.0.1
    for (int i = 0, n = inner_addresses(ip, inner); i < n; i++)
        place = KB_MAX(place, plain_place(inner[i], own));
    return place;
}

bool guard_lets_among(const struct guard *g, const struct sockaddr *address,
                      const struct ifaddrs *own, enum guard_place *ret_place)
{
    uint8_t ip[16];
    int port = 0;
    *ret_place = GUARD_NOWHERE;
    if (!read_address(address, ip, &port))
        return false;
    enum guard_place place = *ret_place = place_among(ip, own);
    if (place == GUARD_PUBLIC || (place == GUARD_LAN && g->lan) ||
        (g->trusting && (place == GUARD_LAN || place == GUARD_SELF)))
        return true;
    bool by_itself =
        place == GUARD_METADATA || (place == GUARD_SELF && place_among(ip, NULL) != GUARD_SELF);
    for (int i = 0; i < g->n_rules; i++) {
        const struct guard_rule *r = &g->rules[i];
        if (same_bits(ip, r->ip, r->bits) && (r->port == 0 || r->port == port) &&
            (r->bits == 128 || !by_itself))
            return true;
    }
    return false;
}

bool guard_lets(const struct guard *g, const struct sockaddr *address, enum guard_place *ret_place)
{
    struct ifaddrs *own = NULL;
    if (getifaddrs(&own) != 0)
        own = NULL; // memory or descriptors are out: then there will be no connection either
    bool lets = guard_lets_among(g, address, own, ret_place);
    freeifaddrs(own);
    return lets;
}

void guard_text(char ret[GUARD_TEXT_BYTES], const struct sockaddr *address)
{
    uint8_t ip[16];
    int port = 0;
    char digits[INET6_ADDRSTRLEN] = "?";
    if (!read_address(address, ip, &port)) {
        snprintf(ret, GUARD_TEXT_BYTES, "?");
        return;
    }
    bool v4 = memcmp(ip, mapped, sizeof(mapped)) == 0;
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? ip + 12 : ip, digits, sizeof(digits));
    snprintf(ret, GUARD_TEXT_BYTES, v4 ? "%s:%d" : "[%s]:%d", digits, port);
}

enum kb_code guard_refuse(enum guard_place place, const char *text, struct kb_error *err)
{
    static const char *const whose[] = {
        [GUARD_LAN] = N_("a private network"),
        [GUARD_SELF] = N_("the server's own machine"),
        [GUARD_NOWHERE] = N_("link-local, multicast or reserved"),
        [GUARD_METADATA] = N_("the metadata service of a cloud"),
    };
    return kb_fail(err, KB_BAD_INPUT,
                   _("the address leads to %s (%s), where koubo does not go unless it is started "
                     "with --allow-address %s"),
                   text, _(whose[place]), text);
}
