// Where messages go: what a configuration may say, and that its secrets stay with their targets.
#include "tests/notify/receiver.h"

static void test_check(void **state)
{
    (void)state;
    struct kb_error err = {0};
    static const char *const good[] = {
        "{}",
        "{\"events\":[\"batch_ended\",\"job_failed\"]}",
        "{\"webhook\":{\"url\":\"https://example.com\"}}",
        "{\"webhook\":{\"url\":\"http://[::1]:80/x\",\"secret\":null}}",
        "{\"webhook\":{\"url\":\"\",\"secret\":\"\"},\"email\":{\"smtp\":\"\",\"to\":[]}}",
        "{\"email\":{\"smtp\":\"smtps://mail.example.com:465\",\"user\":\"u\",\"password\":\"p\","
        "\"from\":\"a@b.c\",\"to\":[\"d@e.f\"]}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_ok(err, notify_check(good[i], &err));
    const struct {
        const char *json, *part;
    } bad[] = {
        {"", "JSON"},
        {"[]", "object"},
        {"{\"webhook\":", "JSON"},
        {"{\"events\":[\"everything\"]}", "events"},
        {"{\"events\":\"job_failed\"}", "events"},
        {"{\"telegram\":{}}", "telegram"},
        {"{\"电报电报电报电报电报电报电报\":{}}", "电报电报电报电报电报电报电'"},
        {"{\"webhook\":\"https://x\"}", "webhook"},
        {"{\"webhook\":{\"url\":7}}", "url"},
        {"{\"webhook\":{\"url\":\"file:///etc/passwd\"}}", "https://"},
        {"{\"webhook\":{\"url\":\"https://\"}}", "name a server"},
        {"{\"webhook\":{\"url\":\"https:///x\"}}", "name a server"},
        {"{\"wecom\":{\"url\":\"https://a b\"}}", "wecom"},
        {"{\"feishu\":{\"url\":\"https://a\\r\\nHost: b\"}}", "feishu"},
        {"{\"dingtalk\":{\"url\":\"https://a\",\"secret\":1}}", "secret"},
        {"{\"email\":{\"smtp\":\"https://a\",\"from\":\"a@b\",\"to\":[\"a@b\"]}}", "smtps://"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a\",\"to\":[\"a@b\"]}}", "mail address"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a@b\"}}", "list"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a@b\",\"to\":[]}}", "list"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a@b\",\"to\":[1]}}", "mail address"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a@b\",\"to\":[\"a@b\\r\\nBcc: c@d\"]}}",
         "mail address"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"N <a@b>\",\"to\":[\"a@b\"]}}",
         "mail address"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a@b\",\"to\":[\"a@b\"],\"tls\":\"no\"}}",
         "tls"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(err, KB_BAD_INPUT, bad[i].part, notify_check(bad[i].json, &err));
}

static void test_mask(void **state)
{
    (void)state;
    struct kb_error err = {0};
    CLEANUP(text_free) struct text masked = {0}, back = {0}, fresh = {0};
    static const char old[] =
        "{\"webhook\":{\"url\":\"https://a\",\"secret\":\"one\"},"
        "\"email\":{\"smtp\":\"smtps://a\",\"user\":\"u\",\"password\":\"two\",\"from\":\"a@b\","
        "\"to\":[\"c@d\"]},\"feishu\":{\"url\":\"https://f\",\"secret\":\"\"}}";
    assert_ok(err, notify_mask(old, &masked, &err));
    assert_null(strstr(masked.data, "one"));
    assert_null(strstr(masked.data, "two"));
    assert_has(masked.data, "\"secret\":\"********\"");
    assert_has(masked.data, "\"password\":\"********\"");
    assert_has(masked.data, "\"secret\":\"\"");
    assert_ok(err, notify_unmask(masked.data, old, &back, &err));
    json_t *a = json_loads(old, 0, NULL), *b = json_loads(back.data, 0, NULL);
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    // a new secret replaces
    assert_ok(err, notify_unmask("{\"webhook\":{\"url\":\"https://b\",\"secret\":\"new\"}}", old,
                                 &fresh, &err));
    assert_has(fresh.data, "\"new\"");
    assert_fails(err, KB_BAD_INPUT, "", notify_unmask("[", old, &fresh, &err));
}

// The key of an address is shown as stars, and taken back as the address that is stored.
static void test_addresses_hide_their_keys(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *url, *shown;
    } table[] = {
        {"wecom", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=693a91f6-7xxx-4bc4-97a0",
         "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=********"},
        {"dingtalk", "https://oapi.dingtalk.com/robot/send?access_token=0a1b&v=2",
         "https://oapi.dingtalk.com/robot/send?access_token=********&v=********"},
        {"feishu", "https://open.feishu.cn/open-apis/bot/v2/hook/0123456789abcdef-0",
         "https://open.feishu.cn/open-apis/bot/v2/hook/********"},
        {"webhook", "https://hooks.slack.com/services/T0/B0/XXXXXXXXXXXXXXXXXXXXXXXX",
         "https://hooks.slack.com/services/T0/B0/********"},
        {"webhook", "https://user:pass@word@example.com:8443/hook#0123456789abcdef",
         "https://********@example.com:8443/hook#********"},
        {"webhook", "https://example.com?0123456789abcdef", "https://example.com?********"},
        {"webhook", "https://example.com/hook?x=&y", "https://example.com/hook?x=&y"},
        {"webhook", "http://[::1]:9/a/b", "http://[::1]:9/a/b"},
        {"webhook", "https://example.com/?a=b=c", "https://example.com/?a=********=********"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct kb_error err = {0};
        CLEANUP(text_free) struct text masked = {0}, back = {0}, other = {0};
        CLEANUP(kb_freep)
        char *json =
            kb_printf("{\"%s\":{\"url\":\"%s\",\"secret\":\"s\"}}", table[i].kind, table[i].url);
        CLEANUP(kb_freep) char *shown = kb_printf("\"url\":\"%s\"", table[i].shown);
        assert_ok(err, notify_mask(json, &masked, &err));
        assert_has(text_get(&masked), shown);
        assert_ok(err, notify_unmask(text_get(&masked), json, &back, &err));
        assert_string_equal(text_get(&back), json);
        if (!strstr(table[i].shown, "***"))
            continue;
        // Nowhere else, and not with another key stored than the one that was shown.
        CLEANUP(kb_freep)
        char *moved = kb_printf("{\"webhook\":{\"url\":\"https://evil/%s\"}}",
                                strstr(table[i].shown, "://") + 3);
        assert_fails(err, KB_BAD_INPUT, "give it whole", notify_unmask(moved, json, &other, &err));
        assert_fails(err, KB_BAD_INPUT, "give it whole",
                     notify_unmask(text_get(&masked), "{}", &other, &err));
        assert_int_equal(other.size, 0);
    }
    struct kb_error err = {0};
    CLEANUP(text_free) struct text mail = {0};
    assert_ok(err, notify_mask("{\"email\":{\"smtp\":\"smtp://u:p@m:25\",\"from\":\"a@b\",\"to\":"
                               "[\"c@d\"]}}",
                               &mail, &err));
    assert_has(text_get(&mail), "smtp://********@m:25");
}

// A masked secret is filled in for the target it was given for, and for no other.
static void test_secrets_stay_with_their_target(void **state)
{
    (void)state;
    static const char old[] =
        "{\"webhook\":{\"url\":\"https://a/x\",\"secret\":\"one\"},"
        "\"email\":{\"smtp\":\"smtp://m:587\",\"user\":\"u\",\"password\":\"two\",\"from\":\"a@b\","
        "\"to\":[\"c@d\"]},\"feishu\":{\"url\":\"https://f\",\"secret\":\"three\"},"
        "\"wecom\":{\"url\":\"https://w\"}}";
#define MAIL(smtp, user, more)                                                                     \
    "{\"email\":{\"smtp\":\"" smtp "\",\"user\":\"" user "\",\"password\":\"********\","           \
    "\"from\":\"e@b\",\"to\":[\"f@d\"]" more "}}"
#define HOOK(kind, url) "{\"" kind "\":{\"url\":\"" url "\",\"secret\":\"********\"}}"
    static const struct {
        const char *json, *part; // part of the sentence, or of what comes out if it is taken
        bool taken;
    } table[] = {
        {MAIL("smtp://m:587", "u", ""), "\"two\"",
         true}, // to others from another: still that server
        {MAIL("smtp://m:587", "u", ",\"tls\":true"), "\"two\"", true},
        {MAIL("smtp://m:587", "u", ",\"tls\":false"), "the TLS of 'email' has changed", false},
        {MAIL("smtps://m:587", "u", ""), "the TLS of 'email' has changed", false},
        {MAIL("smtp://evil:587", "u", ""), "the server or port of 'email' has changed", false},
        {MAIL("smtp://m:25", "u", ""), "the server or port of 'email' has changed", false},
        {MAIL("smtp://m", "u", ""), "give the password again", false},
        {MAIL("smtp://m:587@evil", "u", ""), "the server or port of 'email' has changed", false},
        {MAIL("smtp://m:587", "v", ""), "the user of 'email' has changed", false},
        {MAIL("", "u", ""), "\"password\":\"\"", true}, // emptied in a form
        {HOOK("webhook", "https://a/x"), "\"one\"", true},
        {HOOK("webhook", "https://a/y"), "the address of 'webhook' has changed", false},
        {HOOK("webhook", "http://a/x"), "give the secret again", false},
        {HOOK("webhook", "https://f"), "the address of 'webhook' has changed", false},
        {HOOK("feishu", "https://f"), "\"three\"", true},
        {HOOK("feishu", "https://f/"), "the address of 'feishu' has changed", false},
        {HOOK("dingtalk", "https://f"), "no secret of 'dingtalk' is stored", false},
        {HOOK("wecom", "https://w"), "no secret of 'wecom' is stored", false},
        {"{\"email\":{\"smtp\":\"smtp://m:587\",\"secret\":\"********\",\"from\":\"a@b\","
         "\"to\":[\"c@d\"]}}",
         "no password of 'email' is stored", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct kb_error err = {0};
        CLEANUP(text_free) struct text ret = {0};
        if (table[i].taken) {
            assert_ok(err, notify_unmask(table[i].json, old, &ret, &err));
            assert_has(ret.data, table[i].part);
            continue;
        }
        assert_fails(err, KB_BAD_INPUT, table[i].part,
                     notify_unmask(table[i].json, old, &ret, &err));
        assert_int_equal(ret.size, 0);
        assert_fails(err, KB_BAD_INPUT, "is stored", notify_unmask(table[i].json, "", &ret, &err));
    }
#undef MAIL
#undef HOOK
}

int main(void)
{
    receiver_prepare();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_addresses_hide_their_keys),
        cmocka_unit_test(test_secrets_stay_with_their_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
