// Where a depot is, and who we are there.
#include "cluster/depot_internal.h"
#include "cluster/wire.h"

#include "base/file.h"
#include "base/uri.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CREDENTIALS_BYTES 16384
#define PREFIX_BYTES      512

// --- credentials

enum { KEY_ID, KEY_SECRET, SESSION_TOKEN, REGION, ENDPOINT, N_SETTINGS };
static const char *const setting_names[N_SETTINGS] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                                                      "AWS_SESSION_TOKEN", "AWS_REGION",
                                                      "AWS_ENDPOINT_URL"};
struct settings {
    char *values[N_SETTINGS]; // NULL: not there
};

static void secret_free(char **s)
{
    if (*s)
        explicit_bzero(*s, strlen(*s));
    kb_freep(s);
}

static void settings_free(struct settings *s)
{
    for (int i = 0; i < N_SETTINGS; i++)
        secret_free(&s->values[i]);
}

static void set(struct settings *s, const char *name, size_t name_bytes, const char *value)
{
    for (int i = 0; i < N_SETTINGS; i++)
        if (strlen(setting_names[i]) == name_bytes &&
            memcmp(setting_names[i], name, name_bytes) == 0 && *value) {
            secret_free(&s->values[i]);
            s->values[i] = kb_strdup(value);
        }
}

// The file's text in ret, which holds CREDENTIALS_BYTES.
static enum kb_code read_private(const char *path, char *ret, struct kb_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    ssize_t n = -1;
    if (fd < 0)
        return kb_fail(err, errno == ENOENT ? KB_NOT_FOUND : KB_BAD_INPUT,
                       _("cannot open the file of the credentials '%s': %s"), path,
                       kb_strerror(errno));
    bool fits = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < CREDENTIALS_BYTES;
    bool is_private = fits && (st.st_mode & (S_IRWXG | S_IRWXO)) == 0;
    if (is_private)
        n = read(fd, ret, CREDENTIALS_BYTES - 1);
    close(fd);
    if (fits && !is_private)
        return kb_fail(err, KB_BAD_INPUT,
                       _("others may read the file of the credentials '%s'; run: chmod 600 %s"),
                       path, path);
    if (n < 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the file of the credentials '%s' must be a file of lines KEY=VALUE"),
                       path);
    ret[n] = '\0';
    return KB_OK;
}

// "export" ahead of a line and quotes around a value are what people have in such files.
static void read_line(struct settings *s, char *line)
{
    line += strspn(line, " \t");
    if (text_begins(line, "export "))
        line += strlen("export ");
    char *value = strchr(line, '=');
    if (*line == '#' || !value)
        return;
    size_t name_bytes = (size_t)(value++ - line);
    size_t n = strcspn(value, "\r");
    value[n] = '\0';
    bool quoted = n >= 2 && (*value == '"' || *value == '\'') && value[n - 1] == *value;
    if (quoted)
        value[n - 1] = '\0';
    set(s, line, name_bytes, value + quoted);
}

static enum kb_code read_settings(struct settings *s, const char *path, struct kb_error *err)
{
    for (int i = 0; !path && i < N_SETTINGS; i++) {
        const char *value = getenv(setting_names[i]);
        set(s, setting_names[i], strlen(setting_names[i]), value ? value : "");
    }
    if (!path)
        return KB_OK;
    char text[CREDENTIALS_BYTES] = "", *rest = text;
    enum kb_code code = read_private(path, text, err);
    for (char *line; code == KB_OK && (line = strsep(&rest, "\n"));)
        read_line(s, line);
    explicit_bzero(text, sizeof(text));
    return code;
}

// They become part of headers.
static bool is_plain(const char *s)
{
    for (; *s; s++)
        if (*s <= ' ' || *s > '~')
            return false;
    return true;
}

static enum kb_code take_credentials(struct depot *d, struct settings *s, struct kb_error *err)
{
    for (int i = 0; i <= SESSION_TOKEN; i++) {
        if (!s->values[i] && i != SESSION_TOKEN)
            return kb_fail(err, KB_BAD_INPUT,
                           _("the depot '%s' needs %s, in the environment or in the file of the "
                             "credentials"),
                           d->place, setting_names[i]);
        if (s->values[i] && !is_plain(s->values[i]))
            return kb_fail(err, KB_BAD_INPUT, _("%s holds characters that no key has"),
                           setting_names[i]);
    }
    d->key_id = TAKE(s->values[KEY_ID]);
    d->key_secret = TAKE(s->values[KEY_SECRET]);
    d->session_token = TAKE(s->values[SESSION_TOKEN]);
    return KB_OK;
}

// --- addresses

struct address {
    CURLU *url;
    char *scheme, *host, *port, *path, *query; // curl's; port and query may be NULL
};

static void address_free(struct address *a)
{
    curl_free(a->scheme);
    curl_free(a->host);
    curl_free(a->port);
    curl_free(a->path);
    curl_free(a->query);
    curl_url_cleanup(a->url);
}

static enum kb_code bad_address(struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT, "%s",
                   _("the address of the depot must be like 's3://bucket/folder' or "
                     "'http://head:7860'"));
}

static enum kb_code address_read(struct address *a, const char *text, struct kb_error *err)
{
    a->url = curl_url();
    char *user = NULL, *password = NULL, *fragment = NULL;
    bool good = a->url &&
                curl_url_set(a->url, CURLUPART_URL, text,
                             CURLU_NON_SUPPORT_SCHEME | CURLU_PATH_AS_IS) == CURLUE_OK &&
                curl_url_get(a->url, CURLUPART_SCHEME, &a->scheme, 0) == CURLUE_OK &&
                curl_url_get(a->url, CURLUPART_HOST, &a->host, 0) == CURLUE_OK && *a->host &&
                curl_url_get(a->url, CURLUPART_PATH, &a->path, 0) == CURLUE_OK;
    if (good) { // these need not be there
        curl_url_get(a->url, CURLUPART_PORT, &a->port, 0);
        curl_url_get(a->url, CURLUPART_QUERY, &a->query, 0);
        good = curl_url_get(a->url, CURLUPART_USER, &user, 0) != CURLUE_OK &&
               curl_url_get(a->url, CURLUPART_PASSWORD, &password, 0) != CURLUE_OK &&
               curl_url_get(a->url, CURLUPART_FRAGMENT, &fragment, 0) != CURLUE_OK;
    }
    curl_free(user);
    curl_free(password);
    curl_free(fragment);
    return good ? KB_OK : bad_address(err);
}

// Behind the "?" of an address.
struct query {
    char *endpoint, *region, *style, *ca;
};

static void query_free(struct query *q)
{
    free(q->endpoint);
    free(q->region);
    free(q->style);
    free(q->ca);
}

static enum kb_code query_read(struct query *q, const char *text, bool s3, struct kb_error *err)
{
    const struct {
        const char *name;
        char **value;
        bool of_http;
    } known[] = {{"endpoint", &q->endpoint, false},
                 {"region", &q->region, false},
                 {"style", &q->style, false},
                 {"ca", &q->ca, true}};
    CLEANUP(kb_freep) char *copy = kb_strdup(text ? text : "");
    char *rest = copy;
    for (char *name; (name = strsep(&rest, "&"));) {
        char *value = strchr(name, '=');
        if (!*name)
            continue;
        if (value)
            *value++ = '\0';
        size_t i = 0;
        while (i < ARRAY_LEN(known) &&
               (strcmp(known[i].name, name) != 0 || !(s3 || known[i].of_http)))
            i++;
        if (i == ARRAY_LEN(known) || !value || !*value || !uri_decode(value, false))
            return kb_fail(err, KB_BAD_INPUT,
                           _("the address of the depot says '%s', of which nothing is known here, "
                             "or no value for it"),
                           name);
        free(*known[i].value);
        *known[i].value = kb_strdup(value);
    }
    return KB_OK;
}

static bool consists_of(const char *s, size_t min, size_t max, const char *others)
{
    size_t n = 0;
    for (; *s; s++, n++)
        if (!(*s >= 'a' && *s <= 'z') && !(*s >= 'A' && *s <= 'Z') && !(*s >= '0' && *s <= '9') &&
            !strchr(others, *s))
            return false;
    return n >= min && n <= max;
}

// "/a/b/" as "a/b/", "/" as "". Nothing in it needs to be encoded, and no part is "." or "..".
static enum kb_code take_prefix(struct depot *d, const char *path, struct kb_error *err)
{
    CLEANUP(text_free) struct text prefix = {0};
    CLEANUP(kb_freep) char *copy = kb_strdup(path);
    char *rest = copy;
    bool good = consists_of(path, 0, PREFIX_BYTES, "._-/");
    for (char *part; good && (part = strsep(&rest, "/"));) {
        if (*part)
            text_addf(&prefix, "%s/", part);
        good = strcmp(part, ".") != 0 && strcmp(part, "..") != 0;
    }
    if (!good)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the folder in the address of the depot may have letters, digits, '.', "
                         "'-', '_' and '/', at most %d"),
                       PREFIX_BYTES);
    d->prefix = kb_strdup(text_get(&prefix));
    return KB_OK;
}

// http[s]://HOST[:PORT] and nothing else; bucket goes in front of the host, NULL: nothing does.
static enum kb_code take_base(struct depot *d, const struct address *a, const char *bucket,
                              struct kb_error *err)
{
    if (strcmp(a->scheme, "http") != 0 && strcmp(a->scheme, "https") != 0)
        return bad_address(err);
    if (strcmp(a->path, "/") != 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("behind the address of the depot's server '%s' there must be no folder"),
                       a->host);
    d->base = kb_printf("%s://%s%s%s%s%s", a->scheme, bucket ? bucket : "", bucket ? "." : "",
                        a->host, a->port ? ":" : "", a->port ? a->port : "");
    return KB_OK;
}

static enum kb_code read_http(struct depot *d, const struct address *a, struct kb_error *err)
{
    CLEANUP(query_free) struct query q = {0};
    enum kb_code code = query_read(&q, a->query, false, err);
    if (code == KB_OK)
        code = take_base(d, a, NULL, err);
    if (code != KB_OK)
        return code;
    d->place = kb_strdup(d->base);
    d->ca = TAKE(q.ca);
    if (!d->p.node || !d->p.secret || !d->p.pulse || !node_name_is_valid(d->p.node))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the depot '%s' is a head's, and needs the name and the secret of a "
                         "machine"),
                       d->place);
    return KB_OK;
}

static enum kb_code read_s3(struct depot *d, const struct address *a, struct kb_error *err)
{
    CLEANUP(query_free) struct query q = {0};
    CLEANUP(settings_free) struct settings s = {0};
    CLEANUP(address_free) struct address endpoint = {0};
    enum kb_code code = query_read(&q, a->query, true, err);
    if (code != KB_OK)
        return code;
    if (a->port || !consists_of(a->host, 3, 63, ".-_"))
        return bad_address(err);
    code = take_prefix(d, a->path, err);
    if (code != KB_OK)
        return code;
    d->place = kb_printf("s3://%s/%s", a->host, d->prefix);
    d->place[strlen(d->place) - 1] = '\0'; // the last "/"
    d->ca = TAKE(q.ca);
    code = read_settings(&s, d->p.credentials, err);
    if (code == KB_OK)
        code = take_credentials(d, &s, err);
    if (code != KB_OK)
        return code;
    const char *region = q.region ? q.region : s.values[REGION];
    d->region = kb_strdup(region ? region : "us-east-1");
    if (!consists_of(d->region, 1, 64, "-"))
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is no name of a region"), d->region);
    const char *place = q.endpoint ? q.endpoint : s.values[ENDPOINT];
    // Amazon's own wants the bucket in the name of the host, others take it there or in the path.
    bool host_style = q.style ? strcmp(q.style, "host") == 0 : !place;
    if (q.style && !host_style && strcmp(q.style, "path") != 0)
        return kb_fail(err, KB_BAD_INPUT, _("the style of the depot is 'path' or 'host', not '%s'"),
                       q.style);
    CLEANUP(kb_freep) char *amazon = kb_printf("https://s3.%s.amazonaws.com", d->region);
    code = address_read(&endpoint, place ? place : amazon, err);
    if (code == KB_OK)
        code = take_base(d, &endpoint, host_style ? a->host : NULL, err);
    d->bucket = host_style ? kb_strdup("") : kb_printf("/%s", a->host);
    bool is_node = d->p.side == DEPOT_NODE;
    d->gets = is_node ? S3_IN : S3_OUT;
    d->puts = is_node ? S3_OUT : S3_IN;
    return code;
}

bool depot_is_s3(const char *address)
{
    return text_begins(address, "s3://");
}

enum kb_code depot_read_address(struct depot *d, struct kb_error *err)
{
    CLEANUP(address_free) struct address a = {0};
    enum kb_code code = address_read(&a, d->p.address, err);
    d->s3 = depot_is_s3(d->p.address);
    if (code != KB_OK)
        return code;
    code = d->s3 ? read_s3(d, &a, err) : read_http(d, &a, err);
    if (code == KB_OK && d->ca && !file_exists(d->ca))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the certificates that the address of the depot names cannot be read: "
                         "'%s'"),
                       d->ca);
    return code;
}

void depot_forget_address(struct depot *d)
{
    free(d->place);
    free(d->base);
    free(d->ca);
    free(d->bucket);
    free(d->prefix);
    free(d->region);
    secret_free(&d->key_id);
    secret_free(&d->key_secret);
    secret_free(&d->session_token);
}
