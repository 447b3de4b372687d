// One rule for every connection that the server makes because somebody asked it to: fetched
// addresses, webhooks, robots, mail. It is judged by the address that is connected to, so after
// names were resolved and after every redirect.
// Thread-safe as long as nobody allows anything meanwhile.
#ifndef BASE_GUARD_H
#define BASE_GUARD_H

#include "base/base.h"

#include <netinet/in.h>

// Whose an address is; where several fit, the last one counts.
enum guard_place {
    GUARD_PUBLIC,
    GUARD_LAN,      // private networks: 10/8, 172.16/12, 192.168/16, 100.64/10, 198.18/15, fc00::/7
    GUARD_SELF,     // this machine: loopback, and what its interfaces have
    GUARD_NOWHERE,  // unspecified, link-local, multicast, reserved
    GUARD_METADATA, // where clouds hand the secrets of a machine to whoever asks from it
};

#define GUARD_RULES      64
#define GUARD_TEXT_BYTES 64 // "[ffff:…:255.255.255.255]:65535" and a NUL

// Addresses that the owner allows. IPv4 is kept as ::ffff:a.b.c.d.
struct guard_rule {
    uint8_t ip[16];
    int bits; // of 128
    int port; // 0 = any
};

// Zero = only public addresses.
struct guard {
    bool trusting; // whoever asks is a program of this machine (no token, no proxy): its own
                   // addresses and private networks are no news to it
    bool lan;      // all private networks are allowed
    int n_rules;
    struct guard_rule rules[GUARD_RULES];
};

// What --allow-address takes: "192.168.1.5", "192.168.1.0/24", "127.0.0.1:9000", "fd00::/8",
// "[::1]:9000", "[fd00::]/8:9000", or "lan". KB_BAD_INPUT with a sentence.
enum kb_code guard_allow(struct guard *g, const char *text, struct kb_error *err);

// May it be connected to? *ret_place: whose it is, the machine's interfaces asked. An IPv4 address
// in an IPv6 one (mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP) counts as what it
// is; another family than these two is GUARD_NOWHERE. An address of this machine other than
// loopback, and one of GUARD_METADATA, is let through by a rule for this very address only, not by
// one for its network.
struct ifaddrs;
bool guard_lets(const struct guard *g, const struct sockaddr *address, enum guard_place *ret_place);
// The same with given interfaces (getifaddrs()), NULL = none; for tests.
bool guard_lets_among(const struct guard *g, const struct sockaddr *address,
                      const struct ifaddrs *own, enum guard_place *ret_place);

// "127.0.0.1:9000" or "[::1]:9000", as guard_allow() takes it.
void guard_text(char ret[GUARD_TEXT_BYTES], const struct sockaddr *address);
// Fail with the sentence of an address that was not let through; text is guard_text()'s.
enum kb_code guard_refuse(enum guard_place place, const char *text, struct kb_error *err);

#endif
