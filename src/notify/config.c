// What a user may configure as targets of messages, and hiding the secrets in it.
#include "base/utf8.h"
#include "notify/internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MASK    "********"
#define MAX_URL 2048

static const char *const known_events[] = {"batch_ended", "job_failed", NULL};
const char *const notify_kinds[] = {"webhook", "email", "wecom", "dingtalk", "feishu", NULL};

static bool is_one_of(const char *word, const char *const *list)
{
    while (*list && strcmp(*list, word) != 0)
        list++;
    return *list;
}

static const char *field(const json_t *target, const char *name)
{
    const char *value = json_string_value(json_object_get(target, name));
    return value ? value : "";
}

bool notify_target_is_set(const char *kind, const json_t *target)
{
    return *field(target, strcmp(kind, "email") == 0 ? "smtp" : "url");
}

// Printable ASCII without spaces: what an address of a server or a mailbox is made of.
static bool is_plain(const char *s)
{
    while (*s > ' ' && *s < 0x7f)
        s++;
    return *s == '\0';
}

// Stars count as the one letter that they hide at least, so what is shown of an address is as good
// as it.
static size_t url_length(const char *url)
{
    size_t n = strlen(url);
    for (const char *at = url; (at = strstr(at, MASK)); at += strlen(MASK))
        n -= strlen(MASK) - 1;
    return n;
}

static enum kb_code check_url(const char *kind, const char *url, const char *plain,
                              const char *secure, struct kb_error *err)
{
    size_t n = strlen(secure);
    if (strncasecmp(url, secure, n) != 0)
        n = strncasecmp(url, plain, strlen(plain)) == 0 ? strlen(plain) : 0;
    if (n == 0 || !url[n] || strchr("/?#:", url[n]))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the address of '%s' must begin with %s or %s and name a server"), kind,
                       secure, plain);
    if (!is_plain(url) || url_length(url) > MAX_URL)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the address of '%s' contains spaces or letters that addresses cannot "
                         "have, or is too long; copy it again"),
                       kind);
    return KB_OK;
}

// The mailbox itself, without a name around it: it goes into headers and to the server as it is.
static enum kb_code check_mailbox(const char *address, struct kb_error *err)
{
    const char *at = strrchr(address, '@');
    if (!at || at == address || !at[1] || !is_plain(address) || strpbrk(address, "<>,;:\"()\\") ||
        strlen(address) > 254)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%.*s' is not a mail address; write it like name@example.com"),
                       utf8_fit(address, 80), address);
    return KB_OK;
}

static enum kb_code check_email(const json_t *target, struct kb_error *err)
{
    const json_t *to = json_object_get(target, "to"), *tls = json_object_get(target, "tls");
    size_t n = json_array_size(to);
    enum kb_code code = check_url("email", field(target, "smtp"), "smtp://", "smtps://", err);
    if (code == KB_OK)
        code = check_mailbox(field(target, "from"), err);
    if (code == KB_OK && (n == 0 || n > NOTIFY_MAX_RECIPIENTS))
        code = kb_fail(err, KB_BAD_INPUT,
                       _("\"to\" of 'email' must be a list of 1 to %d mail addresses"),
                       NOTIFY_MAX_RECIPIENTS);
    for (size_t i = 0; code == KB_OK && i < n; i++) {
        const char *address = json_string_value(json_array_get(to, i));
        code = check_mailbox(address ? address : "", err);
    }
    if (code == KB_OK && tls && !json_is_boolean(tls))
        code = kb_fail(err, KB_BAD_INPUT, _("\"tls\" of 'email' must be true or false"));
    return code;
}

static enum kb_code check_target(const char *kind, const json_t *target, struct kb_error *err)
{
    static const char *const texts[] = {"url", "secret", "smtp", "user", "password", "from"};
    if (json_is_null(target))
        return KB_OK;
    if (!json_is_object(target))
        return kb_fail(err, KB_BAD_INPUT, _("'%s' must be an object"), kind);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const json_t *value = json_object_get(target, texts[i]);
        if (value && !json_is_null(value) && !json_is_string(value))
            return kb_fail(err, KB_BAD_INPUT, _("\"%s\" of '%s' must be a text"), texts[i], kind);
    }
    if (!notify_target_is_set(kind, target)) // a form that was left empty
        return KB_OK;
    if (strcmp(kind, "email") == 0)
        return check_email(target, err);
    return check_url(kind, field(target, "url"), "http://", "https://", err);
}

static enum kb_code check_events(const json_t *events, struct kb_error *err)
{
    bool ok = json_is_array(events) || json_is_null(events);
    for (size_t i = 0; ok && i < json_array_size(events); i++) {
        const char *name = json_string_value(json_array_get(events, i));
        ok = name && is_one_of(name, known_events);
    }
    return ok ? KB_OK
              : kb_fail(err, KB_BAD_INPUT,
                        _("\"events\" must be a list of \"batch_ended\" and \"job_failed\""));
}

enum kb_code notify_parse(const char *json, json_t **ret, struct kb_error *err)
{
    json_error_t where;
    json_auto_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &where);
    const char *name;
    json_t *value;
    if (!root)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the settings of notifications are not valid JSON (line %d: %s)"),
                       where.line, where.text);
    if (!json_is_object(root))
        return kb_fail(err, KB_BAD_INPUT, _("the settings of notifications must be an object"));
    json_object_foreach(root, name, value)
    {
        enum kb_code code = KB_OK;
        if (strcmp(name, "events") == 0)
            code = check_events(value, err);
        else if (is_one_of(name, notify_kinds))
            code = check_target(name, value, err);
        else
            code = kb_fail(err, KB_BAD_INPUT,
                           _("notifications know no '%.*s'; there are events, webhook, email, "
                             "wecom, dingtalk and feishu"),
                           utf8_fit(name, 40), name);
        if (code != KB_OK)
            return code;
    }
    *ret = json_incref(root);
    return KB_OK;
}

enum kb_code notify_check(const char *json, struct kb_error *err)
{
    json_auto_t *root = NULL;
    return notify_parse(json, &root, err);
}

static enum kb_code add_json(struct text *ret, const json_t *root, struct kb_error *err)
{
    CLEANUP(kb_freep) char *json = json_dumps(root, JSON_COMPACT);
    if (!json)
        return kb_no_memory(err);
    text_add(ret, json);
    return KB_OK;
}

static const char *const secrets[] = {"secret", "password"};
static const char *const addresses[] = {"url", "smtp"};

// --- addresses with stars in the place of what may be a key

// Some letters of an address, or stars.
static void add_word(struct text *ret, const char *word, size_t n, bool hidden)
{
    if (hidden && n > 0)
        text_add(ret, MASK);
    else
        text_add_bytes(ret, word, n);
}

// Robots are known by their address alone: the key is a value of its query or a long part of its
// path. So is it of many webhooks. What stays tells which server it is.
static void mask_address(struct text *ret, const char *address)
{
    const char *name = strstr(address, "://");
    name = name ? name + 3 : address;
    size_t n = strcspn(name, "/?#");
    text_add_bytes(ret, address, (size_t)(name - address));
    for (size_t i = n; i > 0; i--) // user and password
        if (name[i - 1] == '@') {
            add_word(ret, name, i - 1, true);
            name += i - 1;
            n -= i - 1;
            break;
        }
    text_add_bytes(ret, name, n);
    bool value = false; // of the query
    for (const char *at = name + n; *at; at += n) {
        if (*at == '?' || *at == '#' || *at == '&' || *at == '/')
            value = false;
        else if (*at == '=')
            value = true;
        text_add_bytes(ret, at++, 1);
        n = strcspn(at, "/?#&=");
        add_word(ret, at, n, value || n >= KEY_BYTES);
    }
}

enum kb_code notify_mask(const char *json, struct text *ret, struct kb_error *err)
{
    json_auto_t *root = NULL;
    enum kb_code code = notify_parse(json, &root, err);
    if (code != KB_OK)
        return code;
    for (size_t i = 0; notify_kinds[i]; i++) {
        json_t *target = json_object_get(root, notify_kinds[i]);
        for (size_t j = 0; j < ARRAY_LEN(secrets); j++)
            if (*field(target, secrets[j]))
                json_object_set_new(target, secrets[j], json_string(MASK));
        for (size_t j = 0; j < ARRAY_LEN(addresses); j++) {
            CLEANUP(text_free) struct text shown = {0};
            mask_address(&shown, field(target, addresses[j]));
            if (shown.size > 0)
                json_object_set_new(target, addresses[j], json_string(text_get(&shown)));
        }
    }
    return add_json(ret, root, err);
}

// A secret is filled in only where it went before: whoever may write the configuration could
// otherwise have it sent to a server of his own. Addresses are compared letter by letter, so that
// no two readings of one can differ. From and to may change: the secret does not go there.
static enum kb_code check_same_mail(const json_t *target, const json_t *known, struct kb_error *err)
{
    static const char secure[] = "smtps://";
    const char *address = field(target, "smtp"), *before = field(known, "smtp");
    if (text_begins(address, secure) != text_begins(before, secure) ||
        json_is_false(json_object_get(target, "tls")) !=
            json_is_false(json_object_get(known, "tls")))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the TLS of 'email' has changed: give the password again"));
    if (strcmp(address, before) != 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the server or port of 'email' has changed: give the password again"));
    if (strcmp(field(target, "user"), field(known, "user")) != 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the user of 'email' has changed: give the password again"));
    return KB_OK;
}

// May the secret of known, which has one if is_known, be filled in to target?
static enum kb_code check_same(const char *kind, const json_t *target, const json_t *known,
                               bool is_known, struct kb_error *err)
{
    bool mail = strcmp(kind, "email") == 0;
    if (!is_known)
        return mail ? kb_fail(err, KB_BAD_INPUT,
                              _("no password of 'email' is stored: give the password"))
                    : kb_fail(err, KB_BAD_INPUT, _("no secret of '%s' is stored: give the secret"),
                              kind);
    if (mail)
        return check_same_mail(target, known, err);
    if (strcmp(field(target, "url"), field(known, "url")) != 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the address of '%s' has changed: give the secret again"), kind);
    return KB_OK;
}

// An address with stars is the stored one if that one is shown like it.
static enum kb_code unmask_address(const char *kind, const char *name, json_t *target,
                                   const json_t *known, struct kb_error *err)
{
    CLEANUP(text_free) struct text shown = {0};
    const char *given = field(target, name), *before = field(known, name);
    if (!strstr(given, MASK))
        return KB_OK;
    mask_address(&shown, before);
    if (strcmp(given, text_get(&shown)) != 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the address of '%s' has stars in the place of its key and is not the "
                         "stored one: give it whole"),
                       kind);
    json_object_set_new(target, name, json_string(before));
    return KB_OK;
}

static enum kb_code unmask_target(const char *kind, json_t *target, const json_t *known,
                                  struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (size_t i = 0; code == KB_OK && i < ARRAY_LEN(addresses); i++)
        code = unmask_address(kind, addresses[i], target, known, err);
    for (size_t i = 0; code == KB_OK && i < ARRAY_LEN(secrets); i++) {
        if (strcmp(field(target, secrets[i]), MASK) != 0)
            continue;
        const char *secret = field(known, secrets[i]);
        if (!notify_target_is_set(kind, target)) // emptied in a form: there is nobody to know it
            secret = "";
        else
            code = check_same(kind, target, known, *secret, err);
        if (code == KB_OK)
            json_object_set_new(target, secrets[i], json_string(secret));
    }
    return code;
}

enum kb_code notify_unmask(const char *json, const char *old, struct text *ret,
                           struct kb_error *err)
{
    json_auto_t *root = NULL, *before = old && *old ? json_loads(old, 0, NULL) : NULL;
    enum kb_code code = notify_parse(json, &root, err);
    for (size_t i = 0; code == KB_OK && notify_kinds[i]; i++)
        code = unmask_target(notify_kinds[i], json_object_get(root, notify_kinds[i]),
                             json_object_get(before, notify_kinds[i]), err);
    return code == KB_OK ? add_json(ret, root, err) : code;
}
