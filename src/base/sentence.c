#include "base/sentence.h"

#include "base/text.h"
#include "base/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ASCII's separators, and "shift out". Values have them taken out.
#define RS '\x1e'
#define US '\x1f'
#define SO '\x0e'

#define LOOKUPS    16
#define VALUES_MAX 16

static _Atomic enum kb_language process_language;
static _Thread_local enum kb_language thread_language;

// What _() gave lately, so that a sentence which is reported in any language can be kept in the
// sources' one: kb_fail() is called with what _() has just returned.
static _Thread_local struct {
    const char *said, *source;
} lookups[LOOKUPS];
static _Thread_local unsigned n_lookups;

// --- languages

void kb_language_set_process(enum kb_language language)
{
    process_language = language;
}

enum kb_language kb_language_process(void)
{
    return process_language;
}

enum kb_language kb_language_set_thread(enum kb_language language)
{
    enum kb_language before = thread_language;
    thread_language = language;
    return before;
}

enum kb_language kb_language_of(const char *name)
{
    return name && strcmp(name, "en") == 0 ? KB_LANGUAGE_SOURCE : KB_LANGUAGE_CATALOGUE;
}

const char *kb_language_name(enum kb_language language)
{
    return language == KB_LANGUAGE_SOURCE ? "en" : "zh";
}

static bool speaks_source(void)
{
    return (thread_language ? thread_language : process_language) == KB_LANGUAGE_SOURCE;
}

static const char *remember(const char *said, const char *source)
{
    lookups[n_lookups % LOOKUPS].said = said;
    lookups[n_lookups++ % LOOKUPS].source = source;
    return said;
}

// NULL: not one of the program's texts, as far as is remembered.
static const char *source_of(const char *said)
{
    for (unsigned i = 1; i <= LOOKUPS; i++)
        if (lookups[(n_lookups - i) % LOOKUPS].said == said)
            return lookups[(n_lookups - i) % LOOKUPS].source;
    return NULL;
}

// Without remembering: for texts that do not last.
static const char *translate(const char *text)
{
    return speaks_source() || !*text ? text : gettext(text); // gettext("") is the catalogue's head
}

const char *kb_text(const char *text)
{
    return remember(translate(text), text);
}

const char *kb_strerror(int number)
{
    const char *source = strerrordesc_np(number);
    if (!source)
        source = "?";
    return remember(speaks_source() ? source : strerror(number), source);
}

// --- keeping

struct packing {
    char *at, *end; // *end takes the NUL
    bool full;
};

static void add_char(struct packing *p, char c)
{
    if (p->at == p->end)
        p->full = true;
    else
        *p->at++ = c;
}

static void add_value(struct packing *p, const char *value)
{
    for (; *value; value++)
        add_char(p, *value == RS || *value == US || *value == SO ? ' ' : *value);
}

static void add_text(struct packing *p, const char *said)
{
    const char *source = source_of(said);
    if (source)
        add_char(p, SO);
    add_value(p, source ? source : said);
}

// va_list is an array on some machines and would be a pointer as a parameter.
struct values {
    va_list list;
};

struct conversion {
    char flags[8];
    int width, precision; // -1 = none
    char length;          // as in printf, 'H' for hh and 'q' for ll; 0 = none
    char type;            // 0: the format ends here
};

static const char *read_number(const char *s, int *ret, struct values *v)
{
    if (*s == '*') {
        *ret = v ? va_arg(v->list, int) : -1;
        return s + 1;
    }
    char *end;
    long n = strtol(s, &end, 10);
    *ret = end == s ? -1 : (int)n;
    return end;
}

// What stands behind a '%'. v: where a '*' takes its number from; NULL = nowhere.
static const char *read_conversion(const char *s, struct conversion *ret, struct values *v)
{
    size_t n = strspn(s, "-+ #0'");
    *ret = (struct conversion){.width = -1, .precision = -1};
    memcpy(ret->flags, s, KB_MIN(n, sizeof(ret->flags) - 1));
    s += n;
    if ((*s >= '0' && *s <= '9') || *s == '*')
        s = read_number(s, &ret->width, v);
    if (*s == '.') {
        s = read_number(s + 1, &ret->precision, v);
        ret->precision = KB_MAX(ret->precision, 0);
    }
    if (*s && strchr("hlzjtL", *s)) {
        ret->length = *s++;
        if (*s == ret->length && (*s == 'h' || *s == 'l'))
            ret->length = *s++ == 'h' ? 'H' : 'q';
    }
    int length; // what is no conversion may be a letter of several bytes: none of them is left
    utf8_next(s, &length);
    ret->type = *s;
    return *s ? s + length : s;
}

static intmax_t take_integer(const struct conversion *c, struct values *v)
{
    bool is_unsigned = c->type != 'd' && c->type != 'i';
    switch (c->length) {
    case 'l':
        return is_unsigned ? (intmax_t)va_arg(v->list, unsigned long) : va_arg(v->list, long);
    case 'q':
        return is_unsigned ? (intmax_t)va_arg(v->list, unsigned long long)
                           : va_arg(v->list, long long);
    case 'z':
        return (intmax_t)va_arg(v->list, size_t);
    case 'j':
    case 't': // ptrdiff_t is as wide
        return va_arg(v->list, intmax_t);
    default:
        return is_unsigned ? (intmax_t)va_arg(v->list, unsigned) : va_arg(v->list, int);
    }
}

// The next value as printf writes it.
static void pack_value(struct packing *p, const struct conversion *c, struct values *v)
{
    char buffer[512], format[32];
    snprintf(format, sizeof(format), "%%%s*.*%s%c", c->flags,
             strchr("aAeEfFgG", c->type) || c->type == 's' ? "" : "j", c->type);
    if (c->type == 's') {
        const char *s = va_arg(v->list, const char *);
        s = s ? s : "(null)";
        if (c->width < 0 && c->precision < 0) {
            add_text(p, s);
            return;
        }
        snprintf(buffer, sizeof(buffer), format, KB_MAX(c->width, 0), c->precision, s);
    } else if (c->type == 'c') {
        snprintf(buffer, sizeof(buffer), "%c", va_arg(v->list, int));
    } else if (c->type == 'p') {
        snprintf(buffer, sizeof(buffer), "%p", va_arg(v->list, void *));
    } else if (strchr("diouxX", c->type)) {
        snprintf(buffer, sizeof(buffer), format, KB_MAX(c->width, 0), c->precision,
                 take_integer(c, v));
    } else {
        assert(strchr("aAeEfFgG", c->type) && c->length != 'L');
        snprintf(buffer, sizeof(buffer), format, KB_MAX(c->width, 0), c->precision,
                 va_arg(v->list, double));
    }
    add_value(p, buffer);
}

void sentence_pack(char *ret, size_t size, const char *fmt, va_list args)
{
    struct packing p = {.at = ret, .end = ret + size - 1};
    struct values v;
    const char *source = source_of(fmt);
    va_copy(v.list, args);
    add_char(&p, RS);
    add_value(&p, source ? source : fmt);
    for (const char *s = source ? source : fmt; (s = strchr(s, '%'));) {
        struct conversion c;
        s = read_conversion(s + 1, &c, &v);
        if (c.type == '%' || !c.type)
            continue;
        add_char(&p, US);
        pack_value(&p, &c, &v);
    }
    va_end(v.list);
    *p.at = '\0';
    if (p.full)
        *ret = '\0';
}

char *sentence_keep(const char *text)
{
    const char *source = source_of(text);
    assert(!strchr(text, '%'));
    return kb_printf("%c%s", RS, source ? source : text);
}

enum kb_code sentence_fail(struct kb_error *err, enum kb_code code, const char *kept)
{
    CLEANUP(kb_freep) char *text = sentence_say(kept);
    if (!err)
        return code;
    kb_fail(err, code, "%s", text);
    if (*kept == RS && strlen(kept) < sizeof(err->kept))
        memcpy(err->kept, kept, strlen(kept) + 1);
    return code;
}

char *sentence_for_log(const struct kb_error *err)
{
    CLEANUP(kb_freep) char *kept = sentence_of(err);
    enum kb_language before = kb_language_set_thread(KB_LANGUAGE_DEFAULT);
    char *ret = sentence_say(kept);
    kb_language_set_thread(before);
    return ret;
}

char *sentence_of(const struct kb_error *err)
{
    return utf8_clean(*err->kept ? err->kept
                                 : err->text); // a value may have been cut in a character
}

const char *sentence_joint(const char *fmt)
{
    const char *source = source_of(fmt);
    size_t n = strlen(source ? source : fmt);
    return n > 0 && (source ? source : fmt)[n - 1] == ' ' ? "" : _(": ");
}

// --- saying

static const char *say_value(const char *value)
{
    if (*value != SO)
        return value;
    const char *text = translate(value + 1);
    return text == value + 1 && !speaks_source() ? dgettext("libc", value + 1) : text;
}

// One part, whose fields are cut apart: what gettext is asked for, then the values.
static void say_part(struct text *ret, const char *const *fields, int n_fields)
{
    const char *s = translate(fields[0]);
    for (int next = 1; *s;) {
        size_t plain = strcspn(s, "%");
        text_add_bytes(ret, s, plain);
        s += plain;
        if (!*s)
            break;
        int place = 0; // "%2$s"
        size_t digits = strspn(s + 1, "0123456789");
        if (digits > 0 && s[1 + digits] == '$') {
            place = atoi(s + 1);
            s += digits + 1;
        }
        struct conversion c;
        s = read_conversion(s + 1, &c, NULL);
        if (c.type == '%') {
            text_add(ret, "%");
            continue;
        }
        place = place ? place : next++;
        if (place > 0 && place < n_fields)
            text_add(ret, say_value(fields[place]));
    }
}

char *sentence_say(const char *kept)
{
    if (!kept || *kept != RS)
        return kb_strdup(kept);
    CLEANUP(kb_freep) char *copy = kb_strdup(kept + 1);
    struct text ret = {0};
    text_add(&ret, "");
    for (char *part = copy, *rest; part; part = rest) {
        const char *fields[1 + VALUES_MAX];
        int n_fields = 0;
        rest = strchr(part, RS);
        if (rest)
            *rest++ = '\0';
        for (char *field = part; field && n_fields < (int)ARRAY_LEN(fields);) {
            fields[n_fields++] = field;
            field = strchr(field, US);
            if (field)
                *field++ = '\0';
        }
        say_part(&ret, fields, n_fields);
        if (rest)
            text_add(&ret, sentence_joint(fields[0]));
    }
    return ret.data;
}

// --- changing

// In place, as much as fits into size bytes. False: not all did.
static bool replace(char *s, size_t size, const char *from, const char *to)
{
    CLEANUP(text_free) struct text t = {0};
    const char *at, *rest = s;
    if (!strstr(s, from))
        return true;
    for (; (at = strstr(rest, from)); rest = at + strlen(from)) {
        text_add_bytes(&t, rest, (size_t)(at - rest));
        text_add(&t, to);
    }
    text_add(&t, rest);
    snprintf(s, size, "%s", text_get(&t));
    utf8_mend(s, size);
    return t.size < size;
}

void sentence_replace(struct kb_error *err, const char *from, const char *to)
{
    if (!from || !*from)
        return;
    CLEANUP(kb_freep) char *clean = kb_strdup(to);
    for (char *c = clean; *c; c++)
        if (*c == RS || *c == US || *c == SO)
            *c = ' ';
    replace(err->text, sizeof(err->text), from, clean);
    if (!replace(err->kept, sizeof(err->kept), from, clean))
        err->kept[0] = '\0'; // then the text is all there is
}
