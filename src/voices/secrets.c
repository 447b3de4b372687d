// What of a voice nobody may see: its key, options of its service and arguments of its program that
// are called as secrets are.
#include "voices/internal.h"

#include "base/utf8.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MASK  "********"
#define SHORT 4 // letters of an option: as many are starred in sentences, fewer are words

// --- what is called so

// "X-API-Key" as "xapikey".
static void strip(char *ret, size_t size, const char *name, size_t n)
{
    size_t used = 0;
    for (size_t i = 0; i < n && used + 1 < size; i++)
        if (isalnum((unsigned char)name[i]))
            ret[used++] = (char)tolower((unsigned char)name[i]);
    ret[used] = '\0';
}

static bool smells(const char *name, size_t n)
{
    static const char *const parts[] = {"apikey", "secret",     "token",         "password",
                                        "passwd", "passphrase", "authorization", "credential",
                                        "cookie", "bearer",     "accesskey",     "signature"};
    static const char *const ends[] = {"key", "auth", "pwd"};
    char plain[100];
    strip(plain, sizeof(plain), name, n);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (strstr(plain, parts[i]))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (strcmp(plain, ends[i]) == 0 || text_ends(plain, ends[i]))
            return true;
    return false;
}

// How much of what is called so is kept: "max_tokens" is a number that anybody may see.
enum { OPEN, TEXTS, ALL };

static int secrecy(const char *name)
{
    char plain[100];
    if (!smells(name, strlen(name)))
        return OPEN;
    strip(plain, sizeof(plain), name, strlen(name));
    return strstr(plain, "tokens") ? TEXTS : ALL;
}

// Of "--token=abc", "TOKEN=abc", "--header=Authorization: Bearer abc" and "https://host/?key=abc"
// the place behind the sign; 0: the argument holds no secret by itself.
static size_t behind_name(const char *argument)
{
    size_t from = 0, first = strcspn(argument, "=:");
    for (size_t n = 0; argument[n]; n++) {
        bool named = strchr("=:", argument[n]) &&
                     (smells(argument + from, n - from) || (n == first && smells(argument, n)));
        if (named)
            return n + 1 + strspn(argument + n + 1, " ");
        if (strchr("?& =,", argument[n]))
            from = n + 1;
    }
    return 0;
}

// --- all of them

// Told each secret and where it stands; what it returns, if anything, a new reference, takes the
// place of the whole value, as whose text the first `from` bytes are no secret.
typedef json_t *secret_fn(void *ctx, const char *where, const json_t *value, const char *text,
                          size_t from);

static void visit(const json_t *value, const char *where, size_t from, secret_fn *fn, void *ctx,
                  json_t **ret)
{
    CLEANUP(kb_freep)
    char *number = json_is_number(value) ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    const char *text = number ? number : json_string_value(value);
    *ret = text && text[from] ? fn(ctx, where, value, text, from) : NULL;
}

// A value and all within.
static void visit_option(json_t *value, const char *where, int kept, secret_fn *fn, void *ctx,
                         json_t **ret)
{
    const char *name;
    void *next;
    json_t *one, *other;
    *ret = NULL;
    if (kept == ALL || (kept == TEXTS && json_is_string(value)))
        visit(value, where, 0, fn, ctx, ret);
    for (size_t i = 0; i < json_array_size(value); i++) {
        CLEANUP(kb_freep) char *there = kb_printf("%s %zu", where, i);
        visit_option(json_array_get(value, i), there, kept, fn, ctx, &other);
        if (other)
            json_array_set_new(value, i, other);
    }
    json_object_foreach_safe(value, next, name, one)
    {
        CLEANUP(kb_freep) char *there = *where ? kb_printf("%s %s", where, name) : kb_strdup(name);
        visit_option(one, there, KB_MAX(kept, secrecy(name)), fn, ctx, &other);
        if (other)
            json_object_set_new(value, name, other);
    }
}

static void visit_all(json_t *voice, secret_fn *fn, void *ctx)
{
    json_t *command = json_object_get(voice, "command"), *other;
    visit(json_object_get(voice, "key"), "", 0, fn, ctx, &other);
    if (other)
        json_object_set_new(voice, "key", other);
    visit_option(json_object_get(voice, "options"), "", OPEN, fn, ctx, &other);
    bool follows = false; // "--token" "abc"
    for (size_t i = 0; i < json_array_size(command); i++) {
        const char *text = json_string_value(json_array_get(command, i));
        size_t from = follows ? 0 : behind_name(text);
        if (follows || from > 0) {
            visit(json_array_get(command, i), "", from, fn, ctx, &other);
            if (other)
                json_array_set_new(command, i, other);
        }
        follows = !follows && from == 0 && text[0] == '-' && smells(text, strlen(text));
    }
}

// --- shown

static json_t *mask(void *ctx, const char *where, const json_t *value, const char *text,
                    size_t from)
{
    CLEANUP(kb_freep) char *masked = kb_printf("%.*s" MASK, (int)from, text);
    return json_string(masked);
}

json_t *voice_shown(const json_t *voice)
{
    json_t *ret = json_deep_copy(voice);
    visit_all(ret, mask, NULL);
    return ret;
}

// --- with the stars back

struct filling {
    json_t *known;
    const char *where;
    const json_t *found;
    bool missing;
};

static json_t *take(void *ctx, const char *where, const json_t *value, const char *text,
                    size_t from)
{
    struct filling *f = ctx;
    if (strcmp(f->where, where) == 0)
        f->found = value;
    return NULL;
}

static json_t *fill(void *ctx, const char *where, const json_t *value, const char *text,
                    size_t from)
{
    struct filling *f = ctx;
    if (strcmp(text + from, MASK) != 0)
        return NULL;
    f->where = where;
    f->found = NULL;
    visit_all(f->known, take, f);
    f->missing = f->missing || !f->found;
    return json_incref((json_t *)f->found);
}

static json_t *note_stars(void *ctx, const char *where, const json_t *value, const char *text,
                          size_t from)
{
    *(bool *)ctx = *(bool *)ctx || strcmp(text + from, MASK) == 0;
    return NULL;
}

// Whoever may change a voice could otherwise have its key sent to a server of his own.
enum kb_code voice_fill_key(json_t *voice, const json_t *known, struct kb_error *err)
{
    bool stars = false;
    visit_all(voice, note_stars, &stars);
    if (!stars)
        return KB_OK;
    const char *name = voice_text(voice, "name");
    if (known && strcmp(voice_text(voice, "url"), voice_text(known, "url")) != 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the address of the voice '%s' has changed: give its key again"), name);
    json_auto_t *copy = json_deep_copy(known);
    struct filling f = {.known = copy, .missing = !known};
    if (known)
        visit_all(voice, fill, &f);
    return f.missing
               ? kb_fail(err, KB_BAD_INPUT,
                         _("the voice '%s' has stars where a secret belongs, and none is kept "
                           "for that name: write the secret itself"),
                         name)
               : KB_OK;
}

// --- in what others said

static json_t *star(void *ctx, const char *where, const json_t *value, const char *text,
                    size_t from)
{
    const char *secret = text + from;
    size_t n = strlen(secret);
    bool is_key = !*where && from == 0; // or an argument of its own: in any case
    for (char *at = ctx; (is_key || n >= SHORT) && (at = strstr(at, secret)); at += n)
        memset(at, '*', n);
    return NULL;
}

char *voice_words(const json_t *voice, const char *said, size_t n)
{
    CLEANUP(kb_freep) char *raw = strndup(said, KB_MIN(n, (size_t)4000));
    CLEANUP(kb_freep) char *ret = utf8_clean(raw ? raw : "");
    visit_all((json_t *)voice, star, ret); // changes nothing
    for (char *c = ret; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    ret[utf8_fit(ret, 300)] = '\0';
    return TAKE(ret);
}
