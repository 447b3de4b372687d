// Proxies that are trusted to say whom they speak for.
//
// Each proxy on the way adds the address that it was called from to the end of X-Forwarded-For. So
// the list is read from its end: what a trusted proxy wrote is believed, and the first address that
// is not one of a trusted proxy is the client. What stands before it, the client may have made up.
#include "http/internal.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NETWORKS 64

struct network {
    unsigned char bytes[16]; // IPv4 as ::ffff:a.b.c.d
    int bits;
};

struct proxies {
    int n;
    struct network networks[MAX_NETWORKS];
};

// n letters as an address; IPv4 is mapped into IPv6.
static bool parse_address(const char *text, size_t n, unsigned char ret[16], bool *ret_v4)
{
    char copy[INET6_ADDRSTRLEN];
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (n == 0 || n >= sizeof(copy))
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    memcpy(ret, mapped, sizeof(mapped));
    bool v4 = inet_pton(AF_INET, copy, ret + 12) == 1;
    if (ret_v4)
        *ret_v4 = v4;
    return v4 || inet_pton(AF_INET6, copy, ret) == 1;
}

static bool parse_network(const char *text, size_t n, struct network *ret)
{
    const char *slash = memchr(text, '/', n);
    size_t n_address = slash ? (size_t)(slash - text) : n;
    bool v4;
    if (!parse_address(text, n_address, ret->bytes, &v4))
        return false;
    int most = v4 ? 32 : 128, bits = most;
    if (slash) {
        char *end;
        size_t digits = n - n_address - 1;
        if (digits < 1 || digits > 3 || strspn(slash + 1, "0123456789") < digits)
            return false;
        bits = (int)strtol(slash + 1, &end, 10);
    }
    ret->bits = bits + 128 - most;
    return bits <= most;
}

enum kb_code proxies_parse(struct proxies **ret, const char *list, struct kb_error *err)
{
    CLEANUP(proxies_free) struct proxies *p = kb_alloc(sizeof(*p));
    for (const char *at = list; at && *at;) {
        size_t n = strcspn(at, ",");
        if (p->n == MAX_NETWORKS)
            return kb_fail(err, KB_BAD_INPUT, _("--trusted-proxy: more than %d networks"),
                           MAX_NETWORKS);
        if (!parse_network(at, n, &p->networks[p->n++]))
            return kb_fail(err, KB_BAD_INPUT,
                           _("--trusted-proxy takes an address or a network, such as 10.0.0.1 or "
                             "10.0.0.0/8, not '%.*s'"),
                           (int)KB_MIN(n, 100), at);
        at += n + (at[n] == ',');
    }
    *ret = TAKE(p);
    return KB_OK;
}

void proxies_free(struct proxies **p)
{
    free(*p);
    *p = NULL;
}

static bool holds(const struct network *net, const unsigned char address[16])
{
    int whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->bytes, address, (size_t)whole) != 0)
        return false;
    return rest == 0 || ((net->bytes[whole] ^ address[whole]) >> (8 - rest)) == 0;
}

static bool have(const struct proxies *p, const unsigned char address[16])
{
    for (int i = 0; p && i < p->n; i++)
        if (holds(&p->networks[i], address))
            return true;
    return false;
}

bool proxies_have(const struct proxies *p, const char *address)
{
    unsigned char bytes[16];
    return parse_address(address, strlen(address), bytes, NULL) && have(p, bytes);
}

static void write_address(char ret[INET6_ADDRSTRLEN], const unsigned char bytes[16])
{
    const struct in6_addr *v6 = (const struct in6_addr *)bytes;
    if (IN6_IS_ADDR_V4MAPPED(v6))
        inet_ntop(AF_INET, bytes + 12, ret, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, bytes, ret, INET6_ADDRSTRLEN);
}

// "1.2.3.4", "1.2.3.4:567", "::1", "[::1]", "[::1]:567"
static bool parse_hop(const char *text, size_t n, unsigned char ret[16])
{
    if (n > 0 && *text == '[') {
        const char *end = memchr(text, ']', n);
        return end && parse_address(text + 1, (size_t)(end - text) - 1, ret, NULL);
    }
    const char *colon = memchr(text, ':', n);
    if (colon && !memchr(colon + 1, ':', n - (size_t)(colon + 1 - text)))
        n = (size_t)(colon - text);
    return parse_address(text, n, ret, NULL);
}

void proxies_client(const struct proxies *p, const char *forwarded, char ret[INET6_ADDRSTRLEN])
{
    const char *end = forwarded + strlen(forwarded);
    ret[0] = '\0';
    while (end > forwarded) {
        const char *start = end;
        while (start > forwarded && start[-1] != ',')
            start--;
        const char *hop = start + strspn(start, " \t");
        const char *stop = end;
        while (stop > hop && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        unsigned char bytes[16];
        if (stop < hop || !parse_hop(hop, (size_t)(stop - hop), bytes))
            return;
        write_address(ret, bytes);
        if (!have(p, bytes))
            return;
        end = start > forwarded ? start - 1 : start;
    }
}

void client_key(char ret[INET6_ADDRSTRLEN], const char *address)
{
    struct in6_addr v6;
    snprintf(ret, INET6_ADDRSTRLEN, "%s", address);
    if (inet_pton(AF_INET6, address, &v6) != 1 || IN6_IS_ADDR_V4MAPPED(&v6))
        return;
    memset(v6.s6_addr + 8, 0, 8);
    inet_ntop(AF_INET6, &v6, ret, INET6_ADDRSTRLEN);
}
