#include "lipsync/spoken.h"

#include "base/utf8.h"
#include "finish/breaks.h"
#include "lipsync/vad.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VAD_STEP      2
#define SMOOTH        2         // columns on either side in a level
#define QUIET_DB      26.0f     // below the loud parts, what lies between words
#define SHORTEST_GAP  5         // columns: 60 ms; what is shorter is a consonant
#define SHORTEST_LOUD 4         // columns of a sound that is no click
#define PAST_CLAUSES  8         // that may lie between two pauses that are matched
#define PAST_PAUSES   12        // that may lie in between
#define MOST_CELLS    (4 << 20) // 48 MB, and a second or two
#define BAND_S        20.0 // how far a clause may lie from where it would be by its place alone

// --- the recording

struct stretch {
    double begin, end; // seconds in which a voice is heard
    double before;     // seconds of voice before it
};

struct heard {
    struct stretch *list;
    int n, capacity;
    double whole; // seconds of voice
};

static void measure(float *ret, const struct mel *mel, int n)
{
    for (int c = 0; c < n; c++) {
        float sum = 0;
        for (int k = -SMOOTH; k <= SMOOTH; k++) {
            const float *column = mel_column(mel, c + k);
            for (int b = 0; b < MEL_BANDS; b++)
                sum += column[b];
        }
        // The mel's -4..4 are 100 dB.
        ret[c] = (sum / (MEL_BANDS * (2 * SMOOTH + 1)) + 4) * 12.5f;
    }
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// The level that a tenth of the columns exceed.
static float loud_of(const float *levels, int n)
{
    CLEANUP(kb_freep) float *sorted = kb_calloc_checked((size_t)n, sizeof(*sorted));
    if (!sorted)
        return 100;
    memcpy(sorted, levels, (size_t)n * sizeof(*sorted));
    qsort(sorted, (size_t)n, sizeof(*sorted), by_value);
    return sorted[n - 1 - n / 10];
}

// Runs of one kind that are shorter than least become the other.
static void drop_short(bool *voiced, int n, bool kind, int least)
{
    for (int i = 0, k; i < n; i = k) {
        for (k = i; k < n && voiced[k] == voiced[i]; k++) {
        }
        if (voiced[i] == kind && k - i < least && i > 0 && k < n)
            memset(voiced + i, !kind, (size_t)(k - i));
    }
}

static enum kb_code listen(struct heard *ret, const struct mel *mel, struct kb_error *err)
{
    int n = mel_columns(mel), n_voice = n / VAD_STEP + 1;
    CLEANUP(kb_freep) float *voice = kb_calloc_checked((size_t)n_voice, sizeof(*voice));
    CLEANUP(kb_freep) float *levels = kb_calloc_checked((size_t)n, sizeof(*levels));
    CLEANUP(kb_freep) bool *voiced = kb_calloc_checked((size_t)n, sizeof(*voiced));
    if (!voice || !levels || !voiced)
        return kb_no_memory(err);
    enum kb_code code = vad_find(voice, n_voice, VAD_STEP, mel, err);
    if (code != KB_OK)
        return code;
    measure(levels, mel, n);
    float least = loud_of(levels, n) - QUIET_DB;
    for (int c = 0; c < n; c++)
        voiced[c] = voice[c / VAD_STEP] > 0.5f && levels[c] > least;
    drop_short(voiced, n, false, SHORTEST_GAP);
    drop_short(voiced, n, true, SHORTEST_LOUD);
    for (int i = 0, k; i < n; i = k) {
        for (k = i; k < n && voiced[k] == voiced[i]; k++) {
        }
        if (!voiced[i])
            continue;
        if (!kb_grow(&ret->list, ret->n, &ret->capacity, sizeof(*ret->list)))
            return kb_no_memory(err);
        struct stretch s = {(double)i / MEL_PER_S, (double)k / MEL_PER_S, ret->whole};
        ret->list[ret->n++] = s;
        ret->whole += s.end - s.begin;
    }
    return KB_OK;
}

// The time at which so much voice was heard; of the two ends of a pause the one that is asked for.
static double time_of(const struct heard *h, double voice, bool end)
{
    int low = 0, high = h->n - 1; // the last stretch that begins before it
    while (low < high) {
        int middle = (low + high + 1) / 2;
        double begins = h->list[middle].before;
        if (end ? begins < voice - 1e-6 : begins <= voice + 1e-6)
            low = middle;
        else
            high = middle - 1;
    }
    const struct stretch *s = &h->list[low];
    return fmin(s->begin + fmax(voice - s->before, 0), s->end);
}

// --- the text

struct clause {
    double weight; // syllables up to its end, from the beginning of the text
    int words;     // up to its end
    enum break_kind kind;
};

struct said {
    struct words *words;
    double *weights; // of each word
    struct clause *clauses;
    int n, n_weights, capacity, clause_capacity;
    double whole;
};

static bool is_vowel(int32_t c)
{
    return c > 0 && c < 0x250 && strchr("aeiouyAEIOUY", c < 0x80 ? (int)c : 'a');
}

static bool is_of_word(int32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= 0xc0 && c < 0x2000 && c != 0xd7 && c != 0xf7) || (c >= 0xac00 && c <= 0xd7a3);
}

// Bytes of the word that stands here, and its syllables. 0: there is none.
static size_t word_at(const char *text, double *ret_weight)
{
    int length;
    int32_t c = utf8_next(text, &length);
    if (is_han(c)) {
        *ret_weight = 1;
        return (size_t)length;
    }
    size_t n = 0;
    bool vowel = false, capitals = true;
    double groups = 0, digits = 0, letters = 0;
    while (c > 0 && (is_of_word(c) || (n > 0 && (c == '\'' || c == 0x2019 || c == '.') &&
                                       is_of_word(utf8_next(text + n + length, &(int){0}))))) {
        if (c >= 0xac00) { // Korean writes syllables
            groups++;
        } else if (c >= '0' && c <= '9') {
            digits++;
        } else {
            groups += is_vowel(c) && !vowel;
            letters++;
            capitals &= c >= 'A' && c <= 'Z';
        }
        vowel = is_vowel(c);
        n += (size_t)length;
        c = utf8_next(text + n, &length);
    }
    if (letters > 2 && n > 1 && text[n - 1] == 'e' && groups > 1) // mute
        groups--;
    // "GPT" is spelled.
    *ret_weight =
        fmax(capitals && letters > 1 && letters < 6 ? letters : groups, letters > 0) + digits * 1.2;
    return n;
}

static bool end_clause(struct said *s, enum break_kind kind)
{
    if (s->words->n == (s->n ? s->clauses[s->n - 1].words : 0))
        return true; // nothing in it
    if (!kb_grow(&s->clauses, s->n, &s->clause_capacity, sizeof(*s->clauses)))
        return false;
    s->clauses[s->n++] = (struct clause){s->whole, s->words->n, kind};
    return true;
}

static enum kb_code read_text(struct said *s, const char *text, struct kb_error *err)
{
    CLEANUP(kb_freep) uint8_t *breaks = breaks_find(text);
    size_t n = strlen(text);
    bool ok = breaks != NULL;
    for (size_t i = 0; ok && i < n;) {
        int length;
        double weight = 0;
        if (breaks[i] >= BREAK_LIST)
            ok = end_clause(s, breaks[i]);
        size_t bytes = word_at(text + i, &weight);
        utf8_next(text + i, &length);
        if (ok && bytes > 0) {
            ok = kb_grow(&s->weights, s->n_weights, &s->capacity, sizeof(*s->weights)) &&
                 words_add(s->words, (struct word){0, 0, i, bytes});
            s->whole += weight;
            if (ok)
                s->weights[s->n_weights++] = weight;
        }
        i += bytes > 0 ? bytes : (size_t)length;
    }
    ok = ok && end_clause(s, BREAK_LINE);
    return ok ? KB_OK : kb_no_memory(err);
}

// --- both together

// Ends of clauses (row i, 0 = the beginning) on pauses (column k, 0 = before all voice). Of each
// row only the columns near where it would be by its place alone are kept.
struct row {
    int first, n; // columns
    int at;       // of the first, in the table's cells
};

struct table {
    const struct heard *heard;
    const struct said *said;
    int rows, columns;
    struct row *row;
    double *best;
    int *from;         // cell
    double *skip_ends; // costs of the ends up to a row that are on no pause
    double *skip_pauses;
};

static double voice_at(const struct table *t, int column)
{
    return column + 1 < t->columns ? t->heard->list[column].before : t->heard->whole;
}

static double weight_at(const struct table *t, int row)
{
    return row > 0 ? t->said->clauses[row - 1].weight : 0;
}

static void sum_costs(struct table *t)
{
    for (int i = 1; i < t->rows; i++) {
        enum break_kind kind = t->said->clauses[i - 1].kind;
        t->skip_ends[i] = t->skip_ends[i - 1] + (kind >= BREAK_SENTENCE ? 5
                                                 : kind == BREAK_CLAUSE ? 1.5
                                                                        : 0.3);
    }
    for (int k = 1; k < t->columns; k++) {
        double pause = k + 1 < t->columns ? t->heard->list[k].begin - t->heard->list[k - 1].end : 0;
        t->skip_pauses[k] = t->skip_pauses[k - 1] + fmin(pause * pause * 40, 8);
    }
}

static double rate_of(const struct table *t) // seconds a syllable
{
    return t->heard->whole / fmax(t->said->whole, 1);
}

// The columns of every row. Both ends are where they are, whatever is in between. The number of
// cells, at most MOST_CELLS + 1.
static int lay_out(struct table *t)
{
    double rate = rate_of(t);
    int cells = 0, low = 1, high = 1;
    for (int i = 0; i < t->rows && cells <= MOST_CELLS; i++) {
        struct row *r = &t->row[i];
        double place = weight_at(t, i) * rate;
        while (low + 1 < t->columns && voice_at(t, low) < place - BAND_S)
            low++;
        while (high + 1 < t->columns && voice_at(t, high) <= place + BAND_S)
            high++;
        *r = i == 0             ? (struct row){0, 1, cells}
             : i + 1 == t->rows ? (struct row){t->columns - 1, 1, cells}
                                : (struct row){low, high - low, cells};
        cells = r->n > MOST_CELLS - cells ? MOST_CELLS + 1 : cells + r->n;
    }
    return cells;
}

// The best way to put the end of clause i on pause k, over all before it.
static void fill_cell(struct table *t, int i, int k)
{
    double rate = rate_of(t), here = voice_at(t, k), weight = weight_at(t, i);
    int cell = t->row[i].at + k - t->row[i].first;
    for (int a = i - 1; a >= 0 && i - a <= PAST_CLAUSES; a--) {
        const struct row *r = &t->row[a];
        for (int b = KB_MIN(k, r->first + r->n) - 1; b >= r->first && k - b <= PAST_PAUSES; b--) {
            int before = r->at + b - r->first;
            double so_far = t->best[before];
            if (isinf(so_far))
                continue;
            double wanted = rate * (weight - weight_at(t, a));
            double off = here - voice_at(t, b) - wanted;
            double cost = so_far + off * off / (0.03 * wanted * wanted + 0.04) +
                          t->skip_ends[i - 1] - t->skip_ends[a] + t->skip_pauses[k - 1] -
                          t->skip_pauses[b];
            if (cost < t->best[cell]) {
                t->best[cell] = cost;
                t->from[cell] = before;
            }
        }
    }
}

static enum kb_code fill(struct table *t, int cells, const struct cancel *cancel,
                         struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; i < cells; i++)
        t->best[i] = INFINITY;
    t->best[0] = 0;
    for (int i = 1; code == KB_OK && i < t->rows; i++) {
        code = cancel_check(cancel, err);
        for (int k = 0; code == KB_OK && k < t->row[i].n; k++)
            fill_cell(t, i, t->row[i].first + k);
    }
    return code;
}

// The words of clauses from..to lie in a stretch of voice.
static void share_out(const struct said *s, const struct heard *h, int from, int to, double begin,
                      double end)
{
    int first = from > 0 ? s->clauses[from - 1].words : 0, last = s->clauses[to - 1].words;
    double start = from > 0 ? s->clauses[from - 1].weight : 0;
    double weight = fmax(s->clauses[to - 1].weight - start, 1e-6), passed = 0;
    for (int i = first; i < last; i++) {
        double a = begin + (end - begin) * passed / weight;
        passed += s->weights[i];
        double b = begin + (end - begin) * fmin(passed / weight, 1);
        double from_s = time_of(h, a, false), to_s = fmax(time_of(h, b, true), from_s);
        s->words->list[i].begin_us = (int64_t)(from_s * 1e6);
        s->words->list[i].end_us = (int64_t)(to_s * 1e6);
    }
}

// From the last cell back to the first, row by row.
static void share_out_all(const struct table *t, int cell)
{
    int row = t->rows - 1;
    while (cell > 0) {
        int before = t->from[cell], earlier = row;
        while (t->row[earlier].at > before)
            earlier--;
        double begin = voice_at(t, t->row[earlier].first + before - t->row[earlier].at);
        double end = voice_at(t, t->row[row].first + cell - t->row[row].at);
        share_out(t->said, t->heard, earlier, row, begin, end);
        cell = before;
        row = earlier;
    }
}

static enum kb_code match(const struct said *s, const struct heard *h, const struct cancel *cancel,
                          struct kb_error *err)
{
    struct table t = {.heard = h, .said = s, .rows = s->n + 1, .columns = h->n + 1};
    CLEANUP(kb_freep) struct row *rows = kb_calloc_checked((size_t)t.rows, sizeof(*rows));
    CLEANUP(kb_freep) double *ends = kb_calloc_checked((size_t)t.rows, sizeof(*ends));
    CLEANUP(kb_freep) double *pauses = kb_calloc_checked((size_t)t.columns, sizeof(*pauses));
    if (!rows || !ends || !pauses)
        return kb_no_memory(err);
    t.row = rows;
    t.skip_ends = ends;
    t.skip_pauses = pauses;
    sum_costs(&t);
    int cells = lay_out(&t);
    bool fits = cells <= MOST_CELLS;
    CLEANUP(kb_freep) double *best = fits ? kb_calloc_checked((size_t)cells, sizeof(*best)) : NULL;
    CLEANUP(kb_freep) int *from = fits ? kb_calloc_checked((size_t)cells, sizeof(*from)) : NULL;
    if (fits && (!best || !from))
        return kb_no_memory(err);
    t.best = best;
    t.from = from;
    enum kb_code code = fits ? fill(&t, cells, cancel, err) : KB_OK;
    if (code != KB_OK)
        return code;
    if (!fits || isinf(t.best[cells - 1])) // many hours, or nothing fits: by length alone
        share_out(s, h, 0, s->n, 0, h->whole);
    else
        share_out_all(&t, cells - 1);
    return KB_OK;
}

enum kb_code spoken_align(struct words *ret, const char *text, const struct mel *mel,
                          const struct cancel *cancel, struct kb_error *err)
{
    struct words words = {0};
    struct said said = {.words = &words};
    struct heard heard = {0};
    if (strlen(text) > WORDS_TEXT_BYTES)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the text of the speech is %zu bytes long; %d are the most"), strlen(text),
                       WORDS_TEXT_BYTES);
    words.text = utf8_clean(text);
    enum kb_code code = read_text(&said, words.text, err);
    if (code == KB_OK && words.n == 0)
        code = kb_fail(err, KB_BAD_INPUT, _("the text of the speech has no words"));
    if (code == KB_OK)
        code = listen(&heard, mel, err);
    if (code == KB_OK && heard.n == 0)
        code = kb_fail(err, KB_BAD_INPUT,
                       _("no voice is heard in the speech, so its text gives no subtitles"));
    if (code == KB_OK)
        code = match(&said, &heard, cancel, err);
    if (code == KB_OK)
        *ret = words;
    else
        words_free(&words);
    free(said.weights);
    free(said.clauses);
    free(heard.list);
    return code;
}
