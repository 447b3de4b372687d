#include "cli/help.h"

#include "base/base.h"
#include "cli/screen.h"

#include <stdlib.h>
#include <string.h>

#define WIDEST    80
#define NARROWEST 40
#define TEXT_FROM 29 // column of the options' texts
#define NARROW    56 // columns below which they stand on lines of their own
#define LOOSE     10 // from there

// Options of all tables of a command, in the order of their groups.
struct entries {
    const struct argp_option **items;
    size_t n;
};

static bool is_end(const struct argp_option *o)
{
    return !o->name && !o->key && !o->doc && !o->group;
}

static void gather(struct entries *e, const struct argp *argp)
{
    for (const struct argp_option *o = argp->options; o && !is_end(o); o++) {
        const struct argp_option **items = realloc(e->items, (e->n + 1) * sizeof(*items));
        if (!items)
            abort();
        e->items = items;
        // Groups are few and the tables short: each goes behind the last of its own.
        size_t at = e->n++;
        for (; at > 0 && items[at - 1]->group > o->group; at--)
            items[at] = items[at - 1];
        items[at] = o;
    }
    for (const struct argp_child *c = argp->children; c && c->argp; c++)
        gather(e, c->argp);
}

static int columns(void)
{
    return KB_MAX(NARROWEST, KB_MIN(screen_columns(stdout), WIDEST)) - 1;
}

static const char *say(const char *text)
{
    return text && *text ? _(text) : ""; // of "" the catalogue tells its own head
}

void help_row(const char *left, int column, const char *text)
{
    CLEANUP(text_free) struct text row = {0};
    int n = (int)strlen(left);
    while (n > 0 && left[n - 1] == ' ')
        n--;
    text_addf(&row, "  %.*s", n, left);
    int width = columns(), at = screen_width(text_get(&row));
    if (width < NARROW)
        column = LOOSE;
    if (*text) {
        if (at + 1 > column)
            text_add(&row, "\n");
        text_addf(&row, "%*s", at + 1 > column ? column : column - at, "");
        screen_wrap(&row, text, column, column, width);
    }
    printf("%s\n", text_get(&row));
}

void help_paragraph(const char *text)
{
    CLEANUP(text_free) struct text lines = {0};
    screen_wrap(&lines, text, 0, 0, columns());
    printf("%s\n", text_get(&lines));
}

static bool has_letter(const struct argp_option *o)
{
    return o->key > ' ' && o->key < 0x7f;
}

// "-a, --audio=FILE" or "    --text=TEXT"; an alias is added to what it is another name of.
static void add_names(struct text *t, const struct argp_option *o, const char *arg)
{
    if (t->size)
        text_add(t, ", ");
    else if (!has_letter(o))
        text_add(t, "    ");
    if (has_letter(o))
        text_addf(t, "-%c%s", o->key, o->name ? ", " : "");
    if (o->name)
        text_addf(t, "--%s", o->name);
    if (arg && o->flags & OPTION_ARG_OPTIONAL)
        text_addf(t, "[=%s]", arg);
    else if (arg)
        text_addf(t, o->name ? "=%s" : " %s", arg);
}

static void print_options(const struct entries *e)
{
    for (size_t i = 0; i < e->n;) {
        const struct argp_option *o = e->items[i++];
        if (!o->name && !o->key) { // the head of a group
            printf("\n %s\n", say(o->doc));
            continue;
        }
        CLEANUP(text_free) struct text names = {0};
        add_names(&names, o, o->arg);
        for (; i < e->n && e->items[i]->flags & OPTION_ALIAS; i++)
            add_names(&names, e->items[i], o->arg);
        help_row(text_get(&names), TEXT_FROM, say(o->doc));
    }
}

// A line of words that are kept in one piece, such as "[-o FILE]".
struct line {
    struct text text;
    int at; // columns of its last line
};

static void line_add(struct line *l, const char *word)
{
    int width = screen_width(word);
    bool fits = l->at + 1 + width <= columns();
    text_addf(&l->text, "%s%s", fits ? " " : "\n        ", word);
    l->at = (fits ? l->at + 1 : 8) + width;
}

// Each word of a way to call the command; what stands in brackets is one.
static void line_add_way(struct line *l, const char *way, size_t n)
{
    int depth = 0;
    for (size_t i = 0, begin = 0; i <= n; i++) {
        if (i < n && (depth > 0 || way[i] != ' ')) {
            depth += (way[i] == '[') - (way[i] == ']');
            continue;
        }
        CLEANUP(kb_freep) char *word = kb_printf("%.*s", (int)(i - begin), way + begin);
        if (*word)
            line_add(l, word);
        begin = i + 1;
    }
}

static struct line line_begin(const char *first, const struct argp_state *state)
{
    struct line l = {0};
    text_addf(&l.text, "%s%s", first, state->name);
    l.at = screen_width(text_get(&l.text));
    return l;
}

static void line_print(struct line *l)
{
    printf("%s\n", text_get(&l->text));
    text_free(&l->text);
}

// "Usage: koubo eval [OPTION...] --truth TRUE.mp4 OUT.mp4", and a line for each other way.
static void print_ways(const struct argp_state *state)
{
    const char *way = state->root_argp->args_doc ? state->root_argp->args_doc : "";
    for (const char *first = _("Usage: "); way; first = _("   or: ")) {
        size_t n = strcspn(way, "\n");
        struct line l = line_begin(first, state);
        line_add(&l, _("[OPTION...]"));
        line_add_way(&l, way, n);
        line_print(&l);
        way = way[n] ? way + n + 1 : NULL;
    }
}

void help_print(const struct argp_state *state)
{
    struct entries e = {0};
    gather(&e, state->root_argp);
    print_ways(state);
    help_paragraph(say(state->root_argp->doc));
    if (e.n > 0 && e.items[0]->name)
        putchar('\n');
    print_options(&e);
    free(e.items);
}

void help_print_usage(const struct argp_state *state)
{
    struct entries e = {0};
    gather(&e, state->root_argp);
    struct line l = line_begin(_("Usage: "), state);
    for (size_t i = 0; i < e.n; i++) {
        const struct argp_option *o = e.items[i];
        if (!o->name || o->flags & OPTION_ALIAS)
            continue;
        const char *arg = o->arg ? o->arg : "";
        CLEANUP(kb_freep)
        char *word = has_letter(o) ? kb_printf("[-%c%s%s]", o->key, *arg ? " " : "", arg)
                                   : kb_printf("[--%s%s%s]", o->name, *arg ? "=" : "", arg);
        line_add(&l, word);
    }
    const char *way = state->root_argp->args_doc ? state->root_argp->args_doc : "";
    line_add_way(&l, way, strcspn(way, "\n"));
    line_print(&l);
    free(e.items);
}
