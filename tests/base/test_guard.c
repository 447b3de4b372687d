// Whose an address is, whatever it is dressed up as, and what the owner's rules let through.
#include "tests/test.h"

#include "base/guard.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <sys/un.h>

// "1.2.3.4" or "::1", with a port.
static struct sockaddr_storage address_of(const char *text, int port)
{
    struct sockaddr_storage ret = {0};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        memcpy(&ret, &v4, sizeof(v4));
    else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
        memcpy(&ret, &v6, sizeof(v6));
    else
        fail_msg("'%s' is no address", text);
    return ret;
}

static void whose_an_address_is(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        enum guard_place place;
    } table[] = {
        {"1.1.1.1", GUARD_PUBLIC},
        {"8.8.8.8", GUARD_PUBLIC},
        {"9.255.255.255", GUARD_PUBLIC},
        {"11.0.0.0", GUARD_PUBLIC},
        {"100.63.255.255", GUARD_PUBLIC},
        {"100.128.0.0", GUARD_PUBLIC},
        {"126.255.255.255", GUARD_PUBLIC},
        {"128.0.0.1", GUARD_PUBLIC},
        {"172.15.255.255", GUARD_PUBLIC},
        {"172.32.0.0", GUARD_PUBLIC},
        {"192.167.255.255", GUARD_PUBLIC},
        {"192.169.0.0", GUARD_PUBLIC},
        {"223.255.255.255", GUARD_PUBLIC},
        {"10.0.0.1", GUARD_LAN},
        {"10.255.255.255", GUARD_LAN},
        {"100.64.0.1", GUARD_LAN},
        {"100.127.255.255", GUARD_LAN},
        {"172.16.0.1", GUARD_LAN},
        {"172.31.255.255", GUARD_LAN},
        {"192.168.0.1", GUARD_LAN},
        {"192.168.255.255", GUARD_LAN},
        {"198.18.0.5", GUARD_LAN}, // what local proxies make up for names
        {"127.0.0.1", GUARD_SELF},
        {"127.1.2.3", GUARD_SELF},
        {"127.255.255.255", GUARD_SELF},
        {"0.0.0.0", GUARD_NOWHERE}, // connects to this machine
        {"0.1.2.3", GUARD_NOWHERE},
        {"169.254.1.1", GUARD_NOWHERE},
        {"192.0.2.1", GUARD_NOWHERE},
        {"224.0.0.1", GUARD_NOWHERE},
        {"239.255.255.250", GUARD_NOWHERE},
        {"240.0.0.1", GUARD_NOWHERE},
        {"255.255.255.255", GUARD_NOWHERE},
        {"169.254.169.254", GUARD_METADATA},
        {"169.254.170.2", GUARD_METADATA},
        {"169.254.0.23", GUARD_METADATA},
        {"100.100.100.200", GUARD_METADATA},
        {"168.63.129.16", GUARD_METADATA},
        {"192.0.0.192", GUARD_METADATA},
        {"2606:4700::1111", GUARD_PUBLIC},
        {"2400:3200::1", GUARD_PUBLIC},
        {"fc00::1", GUARD_LAN},
        {"fd12:3456::1", GUARD_LAN},
        {"fec0::1", GUARD_LAN},
        {"::1", GUARD_SELF},
        {"::", GUARD_NOWHERE},
        {"fe80::1", GUARD_NOWHERE},
        {"febf::1", GUARD_NOWHERE},
        {"ff02::1", GUARD_NOWHERE},
        {"2001:db8::1", GUARD_NOWHERE},
        {"fd00:ec2::254", GUARD_METADATA},
        {"fd00:ec2::23", GUARD_METADATA},
        {"fd20:ce::254", GUARD_METADATA},
        // IPv4 in IPv6: mapped, compatible, translated
        {"::ffff:8.8.8.8", GUARD_PUBLIC},
        {"::ffff:127.0.0.1", GUARD_SELF},
        {"::ffff:7f00:1", GUARD_SELF},
        {"::ffff:10.0.0.1", GUARD_LAN},
        {"::ffff:0.0.0.0", GUARD_NOWHERE},
        {"::ffff:169.254.169.254", GUARD_METADATA},
        {"::127.0.0.1", GUARD_SELF},
        {"::a9fe:a9fe", GUARD_METADATA},
        {"::192.168.1.1", GUARD_LAN},
        {"::ffff:0:127.0.0.1", GUARD_SELF},
        // NAT64, well-known and local
        {"64:ff9b::8.8.8.8", GUARD_PUBLIC},
        {"64:ff9b::127.0.0.1", GUARD_SELF},
        {"64:ff9b::a9fe:a9fe", GUARD_METADATA},
        {"64:ff9b::10.1.2.3", GUARD_LAN},
        {"64:ff9b:1::127.0.0.1", GUARD_SELF},
        {"64:ff9b:1:7f00:0:1::", GUARD_SELF}, // 127.0 . 0.1 on both sides of the byte of zeros
        {"64:ff9b:1::8.8.8.8", GUARD_LAN},
        // 6to4
        {"2002:808:808::1", GUARD_PUBLIC},
        {"2002:7f00:1::1", GUARD_SELF},
        {"2002:a9fe:a9fe::", GUARD_METADATA},
        {"2002:c0a8:101::", GUARD_LAN},
        {"2002::", GUARD_NOWHERE},
        // Teredo: server, and the client with its bits turned over
        {"2001:0:808:808:0:ffff:f7f7:f7f7", GUARD_PUBLIC},
        {"2001:0:808:808:0:ffff:80ff:fffe", GUARD_SELF},
        {"2001:0:7f00:1:0:ffff:f7f7:f7f7", GUARD_SELF},
        {"2001:0:808:808:0:ffff:5601:5601", GUARD_METADATA},
        // ISATAP
        {"2606:4700::5efe:127.0.0.1", GUARD_SELF},
        {"2606:4700::200:5efe:10.0.0.1", GUARD_LAN},
    };
    assert_true(ARRAY_LEN(table) >= 60);
    static const struct guard strict, trusting = {.trusting = true}, lan = {.lan = true};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct sockaddr_storage at = address_of(table[i].address, 80);
        const struct sockaddr *a = (const struct sockaddr *)&at;
        enum guard_place place = table[i].place, said;
        assert_true(guard_lets_among(&strict, a, NULL, &said) == (place == GUARD_PUBLIC));
        if (said != place)
            fail_msg("%s: %d, wanted %d", table[i].address, (int)said, (int)place);
        assert_true(guard_lets_among(&trusting, a, NULL, &said) == (place <= GUARD_SELF));
        assert_true(guard_lets_among(&lan, a, NULL, &said) == (place <= GUARD_LAN));
        assert_int_equal(said, place);
    }
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    enum guard_place nowhere;
    assert_false(guard_lets_among(&trusting, (const struct sockaddr *)&local, NULL, &nowhere));
    assert_int_equal(nowhere, GUARD_NOWHERE);
}

static void what_the_owner_allows(void **state)
{
    (void)state;
    static const struct {
        const char *rule, *address;
        int port;
        bool lets;
    } table[] = {
        {"192.168.1.5", "192.168.1.5", 80, true},
        {"192.168.1.5", "192.168.1.6", 80, false},
        {"192.168.1.5", "::ffff:192.168.1.5", 80, true},
        {"192.168.1.0/24", "192.168.1.200", 80, true},
        {"192.168.1.0/24", "192.168.2.1", 80, false},
        {"192.168.1.77/25", "192.168.1.1", 80, true},
        {"10.0.0.0/8", "10.9.8.7", 80, true},
        {"127.0.0.1:9000", "127.0.0.1", 9000, true},
        {"127.0.0.1:9000", "127.0.0.1", 9001, false},
        {"127.0.0.1:9000", "127.0.0.2", 9000, false},
        {"127.0.0.1:9000", "::1", 9000, false},
        {"127.0.0.0/8", "127.3.4.5", 1, true},
        {"[::1]:25", "::1", 25, true},
        {"[::1]:25", "::1", 26, false},
        {"::1", "::1", 26, true},
        {"fd00::/8", "fd12::1", 1, true},
        {"[fd00::]/8:443", "fd12::1", 443, true},
        {"[fd00::]/8:443", "fd12::1", 444, false},
        {"fe80::/10", "fe80::1", 1, true},
        {"192.168.1.0/24:8080", "192.168.1.9", 8080, true},
        {"192.168.1.0/24:8080", "192.168.1.9", 80, false},
        // what has to be meant: metadata and the machine's own addresses (10.7.7.7) by themselves
        {"0.0.0.0/0", "169.254.169.254", 80, false},
        {"169.254.0.0/16", "169.254.169.254", 80, false},
        {"169.254.169.254", "169.254.169.254", 80, true},
        {"169.254.169.254:80", "169.254.169.254", 81, false},
        {"10.0.0.0/8", "10.7.7.7", 80, false},
        {"lan", "10.7.7.7", 80, false},
        {"lan", "10.7.7.8", 80, true},
        {"lan", "127.0.0.1", 80, false},
        {"10.7.7.7", "10.7.7.7", 80, true},
        {"10.7.7.7:81", "10.7.7.7", 80, false},
        // an address inside another is allowed as it stands, not as what is in it
        {"10.0.0.0/8", "64:ff9b::10.1.2.3", 80, false},
        {"64:ff9b::/96", "64:ff9b::10.1.2.3", 80, true},
    };
    struct sockaddr_storage mine = address_of("10.7.7.7", 0);
    struct ifaddrs own = {.ifa_addr = (struct sockaddr *)&mine}, none = {.ifa_next = &own};
    struct kb_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct guard g = {0};
        enum guard_place place;
        struct sockaddr_storage at = address_of(table[i].address, table[i].port);
        assert_ok(err, guard_allow(&g, table[i].rule, &err));
        if (guard_lets_among(&g, (struct sockaddr *)&at, &none, &place) != table[i].lets)
            fail_msg("rule %s, address %s port %d", table[i].rule, table[i].address, table[i].port);
    }
    static const char *const bad[] = {
        "",          "nas.local",      "1.2.3",         "1.2.3.4/33",    "1.2.3.4/",
        "1.2.3.4:0", "1.2.3.4:",       "1.2.3.4:65536", "::1/129",       "[::1",
        "[::1]x",    "[1.2.3.4]:80",   "1.2.3.4/-1",    "1.2.3.4/8:99 ", " 1.2.3.4",
        "LAN",       "http://1.2.3.4", "1.2.3.4/+8",    "fd00::/8:80",   "0x7f.0.0.1",
        "127.1",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct guard g = {0};
        assert_fails(err, KB_BAD_INPUT, "192.168.1.0/24", guard_allow(&g, bad[i], &err));
        assert_true(g.n_rules == 0 && !g.lan);
    }
    struct guard full = {0};
    for (int i = 0; i < GUARD_RULES; i++)
        assert_ok(err, guard_allow(&full, "10.0.0.1", &err));
    assert_fails(err, KB_BAD_INPUT, "networks", guard_allow(&full, "10.0.0.1", &err));
}

// The addresses of this very machine are found, whatever they are.
static void the_own_machine(void **state)
{
    (void)state;
    static const struct guard strict;
    struct ifaddrs *all = NULL;
    assert_int_equal(getifaddrs(&all), 0);
    for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
        enum guard_place place = GUARD_PUBLIC;
        if (!a->ifa_addr ||
            (a->ifa_addr->sa_family != AF_INET && a->ifa_addr->sa_family != AF_INET6))
            continue;
        assert_false(guard_lets(&strict, a->ifa_addr, &place));
        assert_true(place >= GUARD_SELF);
    }
    freeifaddrs(all);
}

static void what_is_said(void **state)
{
    (void)state;
    struct kb_error err = {0};
    char text[GUARD_TEXT_BYTES];
    struct sockaddr_storage v4 = address_of("::ffff:127.0.0.1", 9000),
                            v6 = address_of("fd00::5", 25);
    guard_text(text, (struct sockaddr *)&v4);
    assert_string_equal(text, "127.0.0.1:9000");
    assert_fails(err, KB_BAD_INPUT, "the server's own machine",
                 guard_refuse(GUARD_SELF, text, &err));
    assert_non_null(strstr(err.text, "--allow-address 127.0.0.1:9000"));
    guard_text(text, (struct sockaddr *)&v6);
    assert_string_equal(text, "[fd00::5]:25");
    struct guard g = {0}; // the sentence names what guard_allow() takes
    assert_ok(err, guard_allow(&g, text, &err));
}

int main(void)
{
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whose_an_address_is),
        cmocka_unit_test(what_the_owner_allows),
        cmocka_unit_test(the_own_machine),
        cmocka_unit_test(what_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
