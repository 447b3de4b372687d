// One message to one target: a webhook, a mail server, or the robot of a group chat. The formats of
// the robots are those of their makers' pages for "group robot" ("群机器人", "自定义机器人").
//
// Addresses of robots hold their key, so no address is ever part of a sentence.
#include "base/bytes.h"
#include "base/utf8.h"
#include "notify/gate.h"
#include "notify/internal.h"
#include "notify/reason.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_SECONDS 5L
#define TOTAL_SECONDS   15L
#define MAX_ANSWER      65536 // bytes of an answer that are kept
#define HMAC_BYTES      32

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_set_up(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void curl_done(CURL **c)
{
    curl_easy_cleanup(*c);
}

static void headers_free(struct curl_slist **l)
{
    curl_slist_free_all(*l);
}

static void add_header(struct curl_slist **list, const char *header)
{
    struct curl_slist *longer = curl_slist_append(*list, header);
    if (!longer)
        abort(); // memory is out
    *list = longer;
}

static const char *field(const json_t *target, const char *name)
{
    const char *value = json_string_value(json_object_get(target, name));
    return value ? value : "";
}

// HMAC-SHA256, RFC 2104.
static enum kb_code hmac(unsigned char ret[HMAC_BYTES], const char *key, const char *data,
                         struct kb_error *err)
{
    size_t n = 0;
    if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, strlen(key),
                   (const unsigned char *)data, strlen(data), ret, HMAC_BYTES, &n) ||
        n != HMAC_BYTES)
        return kb_fail(err, KB_INTERNAL, "HMAC-SHA256 failed");
    return KB_OK;
}

// --- the transfer

// What all kinds of targets need beside their configuration.
struct way {
    struct gate *gate;
    const struct cancel *cancel;
};

static size_t keep_answer(char *data, size_t size, size_t n, void *opaque)
{
    struct text *answer = opaque;
    size_t room = MAX_ANSWER - KB_MIN(answer->size, (size_t)MAX_ANSWER);
    text_add_bytes(answer, data, KB_MIN(size * n, room));
    return size * n;
}

static int check_cancel(void *opaque, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                        curl_off_t up)
{
    (void)down_total, (void)down, (void)up_total, (void)up;
    return cancel_requested(opaque);
}

// What is the same for every transfer.
static CURL *transfer(const char *url, const char *protocols, struct text *answer,
                      const struct way *way)
{
    pthread_once(&curl_once, curl_set_up);
    CURL *c = curl_easy_init();
    if (!c)
        abort(); // memory is out
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L); // a thread that looks a name up ends alone
    curl_easy_setopt(c, CURLOPT_TIMEOUT, TOTAL_SECONDS);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep_answer);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, check_cancel);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, (void *)way->cancel);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "koubo");
    gate_set(c, way->gate);
    return c;
}

static enum kb_code perform(CURL *c, const struct way *way, struct kb_error *err)
{
    CURLcode result = curl_easy_perform(c);
    if (result == CURLE_OK)
        return KB_OK;
    if (result == CURLE_ABORTED_BY_CALLBACK)
        return kb_fail(err, KB_CANCELLED, _("cancelled"));
    if (gate_check(way->gate, err) != KB_OK)
        return KB_UNAVAILABLE; // an owner who allows it later will still have the message sent
    long answer = 0;           // of a mail server, to whatever it refused
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &answer);
    if (answer >= 400)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the message could not be delivered: the server answered %ld"), answer);
    return kb_fail(err, KB_UNAVAILABLE, _("the message could not be delivered: %s"),
                   transfer_reason(result));
}

static enum kb_code post(const char *url, struct curl_slist **headers, const char *body,
                         struct text *answer, const struct way *way, struct kb_error *err)
{
    CLEANUP(curl_done) CURL *c = transfer(url, "http,https", answer, way);
    add_header(headers, "Content-Type: application/json; charset=utf-8");
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, *headers);
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    enum kb_code code = perform(c, way, err);
    if (code != KB_OK)
        return code;
    long status = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    bool this_one = status == 400 || status == 413 || status == 415 || status == 422;
    if (status < 200 || status > 299)
        return kb_fail(err, this_one ? KB_BAD_INPUT : KB_UNAVAILABLE,
                       _("the server of the address answered with HTTP status %ld; check the "
                         "address"),
                       status);
    return KB_OK;
}

// --- webhook

static enum kb_code send_webhook(const json_t *target, const struct message *m,
                                 const struct way *way, struct kb_error *err)
{
    CLEANUP(headers_free) struct curl_slist *headers = NULL;
    CLEANUP(text_free) struct text answer = {0};
    CLEANUP(kb_freep) char *event = kb_printf("X-Koubo-Event: %s", m->event);
    CLEANUP(kb_freep) char *delivery = kb_printf("X-Koubo-Delivery: %s", m->delivery);
    add_header(&headers, event);
    add_header(&headers, delivery);
    const char *secret = field(target, "secret");
    if (*secret) {
        unsigned char digest[HMAC_BYTES];
        char hex[2 * HMAC_BYTES + 1];
        enum kb_code code = hmac(digest, secret, m->body, err);
        if (code != KB_OK)
            return code;
        bytes_hex(hex, digest, sizeof(digest));
        CLEANUP(kb_freep) char *signature = kb_printf("X-Koubo-Signature: sha256=%s", hex);
        add_header(&headers, signature);
    }
    return post(field(target, "url"), &headers, m->body, &answer, way, err);
}

// --- robots of group chats

// The answer's words without the parts of the address that may be its key, should the other side
// have repeated them: a sentence goes into logs. A new string.
static char *without_key(const char *words, const char *url)
{
    static const char ends[] = "/?&=#";
    char *ret = kb_strdup(words);
    for (size_t at = 0, n; url[at]; at += n) {
        at += strspn(url + at, ends);
        n = strcspn(url + at, ends);
        for (char *word = ret; n >= KEY_BYTES && *word; word++)
            if (strncmp(word, url + at, n) == 0)
                memset(word, '*', n);
    }
    return ret;
}

// They answer 200 whatever happens; what really happened is a number in the answer.
static enum kb_code check_robot(const char *url, const struct text *answer, struct kb_error *err)
{
    static const char *const numbers[] = {"errcode", "code", "StatusCode"};
    static const char *const texts[] = {"errmsg", "msg", "StatusMessage"};
    json_auto_t *root = json_loadb(text_get(answer), answer->size, 0, NULL);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const json_t *number = json_object_get(root, numbers[i]);
        if (!json_is_integer(number))
            continue;
        if (json_integer_value(number) == 0)
            return KB_OK;
        CLEANUP(kb_freep) char *text = without_key(field(root, texts[i]), url);
        return kb_fail(err, KB_BAD_INPUT, _("the robot refused the message: %.*s (code %lld)"),
                       utf8_fit(text, 300), text, (long long)json_integer_value(number));
    }
    return kb_fail(err, KB_UNAVAILABLE,
                   _("the address answered something else than a robot does; check the address"));
}

// A user's file name must not become a link or a mention in a group. The letters' full-width
// brothers look alike and mean nothing to Markdown.
static char *harmless(const char *s)
{
    static const char narrow[] = "[]<>";
    static const char *const wide[] = {"［", "］", "＜", "＞"};
    struct text ret = {0};
    for (; *s; s++) {
        const char *found = strchr(narrow, *s);
        if (found)
            text_add(&ret, wide[found - narrow]);
        else
            text_add_bytes(&ret, s, 1);
    }
    return ret.data ? ret.data : kb_strdup("");
}

// Title in bold, the lines as paragraphs, the link.
static char *markdown(const struct message *m)
{
    CLEANUP(kb_freep) char *title = harmless(m->title);
    CLEANUP(kb_freep) char *text = harmless(m->text);
    struct text ret = {0};
    text_addf(&ret, "**%s**", title);
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        if (n > 0)
            text_addf(&ret, "\n\n%.*s", (int)n, line);
        line += n + (line[n] == '\n');
    }
    if (m->url)
        text_addf(&ret, "\n\n[%s](%s)", _("open the page"), m->url);
    return ret.data;
}

// Sends body (taken) and looks at the robot's answer.
static enum kb_code post_robot(const char *url, json_t *body, const struct way *way,
                               struct kb_error *err)
{
    CLEANUP(headers_free) struct curl_slist *headers = NULL;
    CLEANUP(text_free) struct text answer = {0};
    CLEANUP(kb_freep) char *json = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (!json)
        return kb_fail(err, KB_INTERNAL, "a message could not be written as JSON");
    enum kb_code code = post(url, &headers, json, &answer, way, err);
    return code == KB_OK ? check_robot(url, &answer, err) : code;
}

static enum kb_code send_wecom(const json_t *target, const struct message *m, const struct way *way,
                               struct kb_error *err)
{
    CLEANUP(kb_freep) char *content = markdown(m);
    json_t *body =
        json_pack("{s:s, s:{s:s}}", "msgtype", "markdown", "markdown", "content", content);
    return post_robot(field(target, "url"), body, way, err);
}

static enum kb_code send_dingtalk(const json_t *target, const struct message *m,
                                  const struct way *way, struct kb_error *err)
{
    const char *plain = field(target, "url"), *secret = field(target, "secret");
    CLEANUP(kb_freep) char *url = NULL;
    if (*secret) {
        // sign = base64(HMAC-SHA256(key = secret, timestamp in ms + "\n" + secret))
        unsigned char digest[HMAC_BYTES];
        long long now = kb_wall_ms();
        CLEANUP(kb_freep) char *what = kb_printf("%lld\n%s", now, secret);
        enum kb_code code = hmac(digest, secret, what, err);
        if (code != KB_OK)
            return code;
        CLEANUP(kb_freep) char *sign = base64_encode(digest, sizeof(digest));
        char *escaped = curl_easy_escape(NULL, sign, 0);
        url = kb_printf("%s%stimestamp=%lld&sign=%s", plain, strchr(plain, '?') ? "&" : "?", now,
                        escaped ? escaped : "");
        curl_free(escaped);
    }
    CLEANUP(kb_freep) char *title = harmless(m->title);
    CLEANUP(kb_freep) char *text = markdown(m);
    json_t *body = json_pack("{s:s, s:{s:s, s:s}}", "msgtype", "markdown", "markdown", "title",
                             title, "text", text);
    return post_robot(url ? url : plain, body, way, err);
}

static enum kb_code send_feishu(const json_t *target, const struct message *m,
                                const struct way *way, struct kb_error *err)
{
    const char *secret = field(target, "secret");
    // "<at user_id=…>" works in texts as well.
    CLEANUP(kb_freep) char *title = harmless(m->title);
    CLEANUP(kb_freep) char *text = harmless(m->text);
    CLEANUP(kb_freep)
    char *content = kb_printf("%s\n%s%s%s", title, text, m->url ? "\n" : "", m->url ? m->url : "");
    json_t *body = json_pack("{s:s, s:{s:s}}", "msg_type", "text", "content", "text", content);
    if (*secret) {
        // sign = base64(HMAC-SHA256(key = timestamp in s + "\n" + secret, nothing))
        unsigned char digest[HMAC_BYTES];
        CLEANUP(kb_freep) char *now = kb_printf("%lld", (long long)(kb_wall_ms() / 1000));
        CLEANUP(kb_freep) char *key = kb_printf("%s\n%s", now, secret);
        enum kb_code code = hmac(digest, key, "", err);
        if (code != KB_OK) {
            json_decref(body);
            return code;
        }
        CLEANUP(kb_freep) char *sign = base64_encode(digest, sizeof(digest));
        json_object_set_new(body, "timestamp", json_string(now));
        json_object_set_new(body, "sign", json_string(sign));
    }
    return post_robot(field(target, "url"), body, way, err);
}

// --- mail

struct mail_source {
    const char *data;
    size_t left;
};

static size_t read_mail(char *buffer, size_t size, size_t n, void *opaque)
{
    struct mail_source *from = opaque;
    size_t take = KB_MIN(size * n, from->left);
    memcpy(buffer, from->data, take);
    from->data += take;
    from->left -= take;
    return take;
}

static enum kb_code send_email(const json_t *target, const struct message *m, const struct way *way,
                               struct kb_error *err)
{
    const json_t *to = json_object_get(target, "to");
    CLEANUP(headers_free) struct curl_slist *recipients = NULL;
    CLEANUP(text_free) struct text mail = {0}, answer = {0};
    mail_write(&mail, field(target, "from"), to, m);
    for (size_t i = 0; i < json_array_size(to); i++)
        add_header(&recipients, json_string_value(json_array_get(to, i)));

    struct mail_source source = {text_get(&mail), mail.size};
    bool plain = json_is_false(json_object_get(target, "tls"));
    CLEANUP(curl_done)
    CURL *c = transfer(field(target, "smtp"), "smtp,smtps", &answer, way);
    // ALL: without STARTTLS there is no mail, and no password either.
    curl_easy_setopt(c, CURLOPT_USE_SSL, (long)(plain ? CURLUSESSL_NONE : CURLUSESSL_ALL));
    curl_easy_setopt(c, CURLOPT_MAIL_FROM, field(target, "from"));
    curl_easy_setopt(c, CURLOPT_MAIL_RCPT, recipients);
    if (*field(target, "user")) {
        curl_easy_setopt(c, CURLOPT_USERNAME, field(target, "user"));
        curl_easy_setopt(c, CURLOPT_PASSWORD, field(target, "password"));
    }
    curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(c, CURLOPT_READFUNCTION, read_mail);
    curl_easy_setopt(c, CURLOPT_READDATA, &source);
    return perform(c, way, err);
}

enum kb_code message_send(const json_t *target, const struct message *m, const struct guard *guard,
                          const struct cancel *cancel, struct kb_error *err)
{
    struct gate gate = {.guard = guard};
    const struct way way = {&gate, cancel};
    static const struct {
        const char *kind;
        enum kb_code (*send)(const json_t *, const struct message *, const struct way *,
                             struct kb_error *);
    } kinds[] = {{"webhook", send_webhook},
                 {"email", send_email},
                 {"wecom", send_wecom},
                 {"dingtalk", send_dingtalk},
                 {"feishu", send_feishu}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(field(target, "kind"), kinds[i].kind) == 0)
            return kinds[i].send(target, m, &way, err);
    return kb_fail(err, KB_INTERNAL, "a message to an unknown kind of target");
}
