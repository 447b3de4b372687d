// Addresses of Redis. No sentence quotes anything of one: with a "/" or an "@" that was not
// encoded, any part of it may be a piece of the password.
#include "base/uri.h"
#include "cluster/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS  "0123456789"

static void forget(char **secret)
{
    if (*secret)
        explicit_bzero(*secret, strlen(*secret));
    free(TAKE(*secret));
}

void redis_address_free(struct redis_address *a)
{
    forget(&a->user);
    forget(&a->password);
    free(TAKE(a->ca));
    free(TAKE(a->cert));
    free(TAKE(a->key));
}

static bool is_of(const char *s, size_t min, size_t max, const char *set)
{
    size_t n = strlen(s);
    return n >= min && n <= max && strspn(s, set) == n;
}

static bool parse_number(const char *s, int min, int max, int *ret)
{
    if (!is_of(s, 1, 5, DIGITS))
        return false;
    int n = atoi(s);
    if (n < min || n > max)
        return false;
    *ret = n;
    return true;
}

// "user:password", ":password" or "password".
static enum kb_code parse_user(struct redis_address *ret, char *text, struct kb_error *err)
{
    char *password = strchr(text, ':');
    if (password)
        *password++ = '\0';
    else
        password = text;
    if (password != text && *text)
        ret->user = kb_strdup(text);
    ret->password = kb_strdup(password);
    if ((ret->user && !uri_decode(ret->user, false)) || !uri_decode(ret->password, false) ||
        !*ret->password)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the address of Redis: before the @ stands user:password, special "
                         "characters as %%XX"));
    return KB_OK;
}

static enum kb_code parse_place(struct redis_address *ret, char *text, struct kb_error *err)
{
    static const char *const sentence =
        N_("the address of Redis: behind // stands host or host:port, an IPv6 address in []; "
           "special characters of a password are written as %%XX");
    char *host = text, *end = text, *port = NULL;
    bool is_v6 = *text == '[';
    if (is_v6) {
        host = text + 1;
        end = strchr(host, ']');
        if (!end)
            return kb_fail(err, KB_BAD_INPUT, _(sentence));
        *end++ = '\0';
    } else {
        end = strchrnul(text, ':');
    }
    if (*end == ':')
        port = end + 1;
    else if (*end)
        return kb_fail(err, KB_BAD_INPUT, _(sentence));
    *end = '\0';
    const char *set = is_v6 ? DIGITS ":.abcdefABCDEF" : LETTERS DIGITS "-._";
    if (!is_of(host, 1, sizeof(ret->host) - 1, set) ||
        (port && !parse_number(port, 1, 65535, &ret->port)))
        return kb_fail(err, KB_BAD_INPUT, _(sentence));
    snprintf(ret->host, sizeof(ret->host), "%s", host);
    return KB_OK;
}

static enum kb_code parse_query(struct redis_address *ret, char *text, struct kb_error *err)
{
    char *prefix = NULL, *rest = text;
    const struct {
        const char *name;
        char **value;
        bool tls;
    } keys[] = {{"prefix", &prefix, false},
                {"ca", &ret->ca, true},
                {"cert", &ret->cert, true},
                {"key", &ret->key, true}};
    bool is_good = true;
    for (char *part = strsep(&rest, "&"); is_good && part; part = strsep(&rest, "&")) {
        char *value = strchr(part, '=');
        is_good = value != NULL;
        if (!is_good)
            break;
        *value++ = '\0';
        size_t i = 0;
        while (i < ARRAY_LEN(keys) && strcmp(keys[i].name, part) != 0)
            i++;
        is_good = i < ARRAY_LEN(keys) && !*keys[i].value && *value && uri_decode(value, false) &&
                  (ret->tls || !keys[i].tls);
        if (is_good)
            *keys[i].value = kb_strdup(value);
    }
    is_good = is_good && (!ret->key || ret->cert) &&
              (!prefix || is_of(prefix, 1, sizeof(ret->prefix) - 1, LETTERS DIGITS "-_."));
    if (is_good && prefix)
        snprintf(ret->prefix, sizeof(ret->prefix), "%s", prefix);
    free(prefix);
    if (!is_good)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the address of Redis: behind the ? stand, each once, prefix=NAME (32 "
                         "letters, digits, - _ .), and with rediss:// ca=FILE, cert=FILE and "
                         "key=FILE, joined by &"));
    return KB_OK;
}

enum kb_code redis_address_parse(struct redis_address *ret, const char *url, struct kb_error *err)
{
    *ret = (struct redis_address){.port = 6379, .prefix = "koubo"};
    size_t n = strncasecmp(url, "redis://", 8) == 0 ? 8 : 0;
    if (strncasecmp(url, "rediss://", 9) == 0) {
        n = 9;
        ret->tls = true;
    }
    if (n == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the address of Redis begins with redis:// or, encrypted, rediss://"));
    if (strlen(url) > 4000 || strchr(url, '#'))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the address of Redis is too long, or has a # in it (write %%23)"));

    char *copy = kb_strdup(url), *text = copy + n, *path = NULL;
    char *query = strchr(text, '?');
    if (query)
        *query++ = '\0';
    path = strchr(text, '/');
    if (path)
        *path++ = '\0';
    char *user = strrchr(text, '@') ? text : NULL;
    if (user) {
        text = strrchr(text, '@');
        *text++ = '\0';
    }
    enum kb_code code = user ? parse_user(ret, user, err) : KB_OK;
    if (code == KB_OK)
        code = parse_place(ret, text, err);
    if (code == KB_OK && path && *path && !parse_number(path, 0, 99999, &ret->database))
        code = kb_fail(err, KB_BAD_INPUT,
                       _("the address of Redis: behind the host stands the number of the "
                         "database, such as /0; special characters of a password are written as "
                         "%%XX"));
    if (code == KB_OK && query)
        code = parse_query(ret, query, err);
    explicit_bzero(copy, strlen(url));
    free(copy);
    snprintf(ret->place, sizeof(ret->place), "redis%s://%s%s%s:%d/%d", ret->tls ? "s" : "",
             strchr(ret->host, ':') ? "[" : "", ret->host, strchr(ret->host, ':') ? "]" : "",
             ret->port, ret->database);
    return code;
}
