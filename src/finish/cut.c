#include "finish/cut.h"

#include "base/text.h"
#include "base/utf8.h"
#include "finish/breaks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_HAN     17.0 // of a line
#define MOST_LATIN   42.0
#define PART_OF_SIDE 0.88 // of the picture's width, that a line may take
#define LATIN_EM     0.52 // mean width of a Latin letter against a Han one
#define TWO_LINES    1.85 // lines that fill two, as they can seldom be broken in the middle
#define SHORTEST_US  800000
#define LONGEST_US   7000000
#define LINGER_US    300000 // that a subtitle stays after the last word
#define CLOSE_US     400000 // a gap that would only flicker
#define LOOK_BACK    60     // units that a subtitle has at most
#define PAUSE_US     250000

struct cut_limits cut_limits_of(int width, int height, double size)
{
    double letters = PART_OF_SIDE * width / (size * KB_MIN(width, height));
    return (struct cut_limits){.han = KB_MAX(KB_MIN(letters, MOST_HAN), 4),
                               .latin = KB_MAX(KB_MIN(letters / LATIN_EM, MOST_LATIN), 8)};
}

// --- what both need

static double cost_of_break(enum break_kind kind)
{
    static const double costs[] = {
        [BREAK_INSIDE] = 1.2, [BREAK_WORD] = 0.4, [BREAK_LIST] = 0.1, [BREAK_LINE] = 0};
    return costs[kind];
}

// --- lines

// Where a line may begin and end.
struct place {
    size_t at, begin; // behind the blanks there
    double end_width; // of all up to it, without what is left out at a line's end
    double begin_width;
    double cost; // of breaking there
};

static size_t skip_blank(const char *text, size_t at)
{
    return at + strspn(text + at, " \t\r\n");
}

static struct place *find_places(const char *text, const struct letters *l, int *ret_n)
{
    size_t n = strlen(text), passed = 0;
    CLEANUP(kb_freep) uint8_t *breaks = breaks_find(text);
    struct place *places = kb_calloc_checked(n + 2, sizeof(*places));
    double width = 0;
    if (!breaks || !places) {
        free(places);
        return NULL;
    }
    *ret_n = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i > 0 && i < n && breaks[i] == BREAK_NEVER)
            continue;
        struct place *p = &places[(*ret_n)++];
        size_t trimmed = breaks_trim(text + passed, i - passed);
        p->at = i;
        p->begin = skip_blank(text, i);
        p->end_width = width + breaks_width(text + passed, trimmed, l);
        width += breaks_width(text + passed, i - passed, l);
        p->begin_width = width + breaks_width(text + i, p->begin - i, l);
        p->cost = i == n ? 0 : cost_of_break(breaks[i]);
        passed = i;
    }
    return places;
}

// Break into n_lines lines as equal as can be; ret: the places where they end. False: they do not
// fit into so many.
static bool choose(const struct place *places, int n, int n_lines, int *ret)
{
    size_t cells = (size_t)n * (size_t)(n_lines + 1);
    CLEANUP(kb_freep) double *best = kb_calloc_checked(cells, sizeof(*best));
    CLEANUP(kb_freep) int *from = kb_calloc_checked(cells, sizeof(*from));
    double aim = places[n - 1].end_width / n_lines;
    if (!best || !from)
        return false;
    for (size_t i = 1; i < cells; i++)
        best[i] = INFINITY; // line 0 ends at place 0 alone
    for (int line = 1; line <= n_lines; line++)
        for (int i = line; i < n; i++)
            for (int k = i - 1; k >= 0; k--) {
                double width = places[i].end_width - places[k].begin_width;
                if (width > 1.0001 && k < i - 1)
                    break; // what cannot be broken is let through
                double off = width - aim;
                double cost = best[(line - 1) * n + k] + off * off * 2 + places[i].cost +
                              (width > 1.0001 ? 100 : 0);
                if (cost < best[line * n + i]) {
                    best[line * n + i] = cost;
                    from[line * n + i] = k;
                }
            }
    if (isinf(best[n_lines * n + n - 1]))
        return false;
    for (int line = n_lines, at = n - 1; line > 0; line--) {
        ret[line - 1] = at;
        at = from[line * n + at];
    }
    return true;
}

static void add_line(struct text *ret, const char *from, size_t n)
{
    n = breaks_trim(from, n);
    if (n == 0)
        return;
    if (ret->size > 0)
        text_add(ret, "\n");
    text_add_bytes(ret, from, n);
}

// One line of what may be several: nothing between Chinese letters, else a blank.
static char *join(const char *text)
{
    CLEANUP(text_free) struct text one = {0};
    int32_t last = 0;
    for (int length; *text; text += length) {
        int32_t c = utf8_next(text, &length), next;
        if (c != '\n' && c != '\r') {
            text_add_bytes(&one, text, (size_t)length);
            last = c;
            continue;
        }
        next = utf8_next(skip_blank(text, 0) + text, &(int){0});
        if (last && next > 0 && !(is_han(last) && is_han(next)) && last != ' ')
            text_add(&one, " ");
        last = ' ';
    }
    return one.data ? TAKE(one.data) : kb_strdup("");
}

static bool fits_as_it_is(const char *text, const struct letters *l)
{
    int lines = 0;
    for (const char *line = text; *line; lines++) {
        size_t n = strcspn(line, "\n");
        if (breaks_width(line, n, l) > 1.0001)
            return false;
        line += n + (line[n] == '\n');
    }
    return lines <= 2;
}

#define MOST_LINES 12

char *cut_lines(const char *text, const struct cut_limits *limits)
{
    const struct letters l = {limits->han, limits->latin};
    CLEANUP(text_free) struct text ret = {0};
    if (fits_as_it_is(text, &l)) {
        for (const char *line = text; *line;) {
            size_t n = strcspn(line, "\n");
            add_line(&ret, line, n);
            line += n + (line[n] == '\n');
        }
        return ret.data ? TAKE(ret.data) : kb_strdup("");
    }
    CLEANUP(kb_freep) char *one = join(text);
    int n = 0, ends[MOST_LINES], n_lines;
    CLEANUP(kb_freep) struct place *places = find_places(one, &l, &n);
    if (!places)
        return NULL;
    n_lines = (int)fmin(fmax(ceil(places[n - 1].end_width - 1e-4), 1), MOST_LINES);
    while (n_lines <= MOST_LINES && !choose(places, n, n_lines, ends))
        n_lines++;
    if (n_lines > MOST_LINES)
        return TAKE(one); // as it is: the renderer breaks it
    for (int i = 0; i < n_lines; i++) {
        size_t begin = i > 0 ? places[ends[i - 1]].begin : 0;
        if (places[ends[i]].at > begin)
            add_line(&ret, one + begin, places[ends[i]].at - begin);
    }
    return ret.data ? TAKE(ret.data) : kb_strdup("");
}

// --- subtitles

// What is never parted: a Latin word, or a Han letter, with what stands behind it up to the next.
struct unit {
    int64_t begin_us, end_us;
    size_t first, end;    // bytes
    double width;         // with what stands behind it
    enum break_kind kind; // of the break behind it
};

struct units {
    struct unit *list;
    int n, capacity;
    bool full; // memory is out
};

static void add_unit(struct units *u, int64_t begin_us, int64_t end_us, size_t first, size_t end)
{
    if (!kb_grow(&u->list, u->n, &u->capacity, sizeof(*u->list))) {
        u->full = true;
        return;
    }
    u->list[u->n++] = (struct unit){begin_us, end_us, first, end, 0, BREAK_NEVER};
}

// A word, or what the voice tells no more of than as a whole: its time is shared out by width.
static void add_word(struct units *u, const struct words *w, int i, const uint8_t *breaks,
                     const struct letters *l)
{
    const struct word *word = &w->list[i];
    size_t end = word->first + word->n;
    double whole = breaks_width(w->text + word->first, word->n, l), passed = 0;
    for (size_t first = word->first, at = first; first < end; first = at) {
        int length;
        do {
            utf8_next(w->text + at, &length);
            at += (size_t)length;
        } while (at < end && breaks[at] == BREAK_NEVER);
        at = KB_MIN(at, end);
        double width = breaks_width(w->text + first, at - first, l);
        double spans = (double)(word->end_us - word->begin_us);
        double from = whole > 0 ? passed / whole : 0;
        passed += width;
        double to = whole > 0 ? passed / whole : 1;
        add_unit(u, word->begin_us + (int64_t)(spans * from),
                 word->begin_us + (int64_t)(spans * to), first, at);
    }
}

// The first place behind a unit at which the text may be broken; what lies before it is the unit's.
static void end_units(struct units *u, const char *text, const uint8_t *breaks,
                      const struct letters *l)
{
    size_t n = strlen(text);
    for (int i = 0; i < u->n; i++) {
        struct unit *unit = &u->list[i];
        size_t next = i + 1 < u->n ? u->list[i + 1].first : n, at = unit->end;
        if (i == 0)
            unit->first = skip_blank(text, 0); // an opening quote
        while (at < next && breaks[at] == BREAK_NEVER)
            at++;
        enum break_kind kind = breaks[at];
        // A line end behind it counts whatever else may be there.
        for (size_t k = at; k <= next; k++)
            if (breaks[k] == BREAK_LINE || (k < next && breaks[k] > kind))
                kind = breaks[k];
        unit->end = i + 1 < u->n ? at : n;
        unit->kind = i + 1 < u->n ? kind : BREAK_LINE;
        if (i + 1 < u->n && at < next) // what opens belongs to the next
            u->list[i + 1].first = skip_blank(text, at);
        unit->width = breaks_width(text + unit->first, unit->end - unit->first, l);
    }
}

// How good it is that these units are a subtitle; lower is better.
static double cost_of(const struct units *u, int from, int to, double width, double han)
{
    const struct unit *a = &u->list[from], *z = &u->list[to];
    bool last = to + 1 == u->n;
    int64_t pause_us = last ? PAUSE_US : u->list[to + 1].begin_us - z->end_us;
    double seconds = (double)(z->end_us - a->begin_us) / 1e6;
    static const double ends[] = {[BREAK_NEVER] = 1e6, [BREAK_INSIDE] = 14, [BREAK_WORD] = 7,
                                  [BREAK_LIST] = 4,    [BREAK_CLAUSE] = 1,  [BREAK_LINE] = 0};
    double cost = 1.2 + ends[z->kind] * (pause_us >= PAUSE_US ? 0.5 : 1);
    if (width > 1.0001) // Chinese subtitles are one line where that will do
        cost += 0.5 + 2.0 * han;
    if (width > TWO_LINES)
        cost += 1e4 * (width - TWO_LINES);
    if (seconds < SHORTEST_US / 1e6)
        cost += 8 * (SHORTEST_US / 1e6 - seconds);
    if (seconds > LONGEST_US / 1e6)
        cost += 10 * (seconds - LONGEST_US / 1e6);
    if (width < 0.25)
        cost += 6 * (0.25 - width);
    for (int i = from; i < to; i++) { // what it goes over
        if (u->list[i].kind == BREAK_SENTENCE)
            cost += 5;
        else if (u->list[i].kind == BREAK_CLAUSE)
            cost += 0.4;
        if (u->list[i].kind == BREAK_LINE)
            cost += 1e5;
        if (u->list[i + 1].begin_us - u->list[i].end_us > 2 * PAUSE_US)
            cost += 3;
    }
    return cost;
}

static char *unit_text(const struct units *u, const char *text, int from, int to)
{
    size_t first = u->list[from].first, end = u->list[to].end;
    return kb_printf("%.*s", (int)KB_MIN(end - first, (size_t)SUBTITLE_BYTES - 8), text + first);
}

// from[i]: the first unit of the best subtitle that ends with unit i.
static bool choose_subtitles(const struct units *u, const char *text, int *ret_from)
{
    CLEANUP(kb_freep) double *best = kb_calloc_checked((size_t)u->n + 1, sizeof(*best));
    if (!best)
        return false;
    for (int i = 0; i < u->n; i++) {
        double width = 0, han = 0, n = 0;
        best[i + 1] = INFINITY;
        for (int k = i; k >= 0 && i - k < LOOK_BACK; k--) {
            width += u->list[k].width;
            han += is_han(utf8_next(text + u->list[k].first, &(int){0}));
            n++;
            if (width > TWO_LINES + 0.3 && k < i)
                break;
            double cost = best[k] + cost_of(u, k, i, width, han / n);
            if (cost < best[i + 1]) {
                best[i + 1] = cost;
                ret_from[i] = k;
            }
        }
    }
    return true;
}

static enum kb_code add_subtitles(struct subtitle_track *ret, const struct units *u,
                                  const char *text, const struct cut_limits *l,
                                  struct kb_error *err)
{
    CLEANUP(kb_freep) int *from = kb_calloc_checked((size_t)u->n, sizeof(*from));
    CLEANUP(kb_freep) bool *begins = kb_calloc_checked((size_t)u->n + 1, sizeof(*begins));
    if (!from || !begins || !choose_subtitles(u, text, from))
        return kb_no_memory(err);
    for (int i = u->n - 1; i >= 0; i = from[i] - 1)
        begins[from[i]] = true;
    for (int i = 0, k; i < u->n; i = k + 1) {
        for (k = i; k + 1 < u->n && !begins[k + 1]; k++) {
        }
        CLEANUP(kb_freep) char *part = unit_text(u, text, i, k);
        CLEANUP(kb_freep) char *lines = cut_lines(part, l);
        if (!lines)
            return kb_no_memory(err);
        int64_t begin = u->list[i].begin_us, end = u->list[k].end_us;
        int64_t next = k + 1 < u->n ? u->list[k + 1].begin_us : INT64_MAX;
        int64_t wanted = KB_MAX(end + LINGER_US, begin + SHORTEST_US);
        if (next - wanted < CLOSE_US)
            wanted = next;
        end = KB_MIN(KB_MIN(wanted, next), begin + LONGEST_US + LINGER_US);
        if (*lines && end > begin && !subtitle_add(ret, begin, end, lines))
            break; // as many as there may be
    }
    return KB_OK;
}

enum kb_code cut_words(struct subtitle_track *ret, const struct words *words,
                       const struct cut_limits *limits, struct kb_error *err)
{
    const struct letters l = {limits->han, limits->latin};
    CLEANUP(kb_freep) uint8_t *breaks = breaks_find(words->text);
    struct units u = {0};
    if (!breaks)
        return kb_no_memory(err);
    for (int i = 0; i < words->n; i++)
        add_word(&u, words, i, breaks, &l);
    enum kb_code code = u.full ? kb_no_memory(err) : KB_OK;
    if (code == KB_OK && u.n > 0) {
        end_units(&u, words->text, breaks, &l);
        code = add_subtitles(ret, &u, words->text, limits, err);
    }
    free(u.list);
    return code;
}
