// Moments are 25 ms. The lips of the frames around a moment are mixed for it, less the mean over a
// second on either side, so that neither the face's own mouth nor a mesh that drifts counts. Both
// networks say a vector of each moment; blocks of half a window collect the products for all lags.
#include "lipsync/sync.h"

#include "lipsync/motion.h"
#include "lipsync/network.h"
#include "lipsync/vad.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MODEL     "koubo-sync"
#define N_POINTS  (2 * TRACK_N_LIPS + 1) // and the chin
#define N_INPUTS  (2 * N_POINTS)
#define CHIN      152
#define MOMENT_US (1000000 / SYNC_RATE_HZ)
#define STEP      (MEL_PER_S / SYNC_RATE_HZ) // columns of the mel in a moment
#define MAX_LAG   (SYNC_MAX_LAG_MS * 1000 / MOMENT_US)
#define N_LAGS    (2 * MAX_LAG + 1)
#define BLOCK     (SYNC_WINDOW_MS * 1000 / MOMENT_US / 2) // moments
#define MEAN      40     // moments on either side whose mean is taken off
#define NEAR      1.6    // moments: 40 ms, within which an offset counts as right
#define GAP_US    130000 // two frames further apart are not one motion
#define STILL     0.002  // canonical units: a mouth whose opening deviates less does not move
#define MAX_SIZE  256    // of a vector

struct sync_judge {
    char name[64];
    int size;      // of a vector
    int stretch;   // moments in a run
    int lips_lead; // moments from a run's first moment to where its window of lips begins, <= 0
    int mel_lead;  // the same in columns of the mel
    double weight; // what a product counts, as the logarithm of odds
    double none;   // the agreement from which on a sound rather belongs to the lips
    double most;   // moments that count at most
    int lips, mel; // which input is which
    int of_lips, of_mel;
    struct session *session;
};

// --- out of a file ---

bool sync_recognize(const struct tensor_set *set)
{
    const char *format = tensor_set_meta(set, "format");
    return format && strcmp(format, "koubo-sync") == 0;
}

static enum kb_code bad_meta(struct kb_error *err, const char *key)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the model's metadata has no usable '%s'; it is not a judge of sync of this "
                     "version (docs/models.md)"),
                   key);
}

// The i-th point that the network sees, as the track numbers it.
static int point_of(int i)
{
    return i < 2 * TRACK_N_LIPS ? TRACK_OUTER_FIRST + i : track_point_of(CHIN);
}

static bool points_are_ours(const struct tensor_set *set)
{
    const char *text = tensor_set_meta(set, "points");
    json_auto_t *ids = text ? json_loads(text, 0, NULL) : NULL;
    bool good = json_array_size(ids) == N_POINTS;
    for (int i = 0; good && i < N_POINTS; i++)
        good = json_integer_value(json_array_get(ids, (size_t)i)) == track_point_ids[point_of(i)];
    return good;
}

static enum kb_code read_contract(void *owner, const struct tensor_set *set, struct kb_error *err)
{
    struct sync_judge *j = owner;
    const char *name = tensor_set_meta(set, "name");
    double lips_lead, mel_lead;
    const struct {
        const char *key;
        double low, high, *ret;
    } numbers[] = {
        {"version", 1, 1, &(double){0}},
        {"rate", SYNC_RATE_HZ, SYNC_RATE_HZ, &(double){0}},
        {"lips_lead", -200, 0, &lips_lead},
        {"mel_lead", -400, 0, &mel_lead},
        {"sureness_weight", 1e-6, 1e6, &j->weight},
        {"sureness_none", -1, 1, &j->none},
        {"sureness_most", 1, 1e9, &j->most},
    };
    if (!sync_recognize(set))
        return bad_meta(err, "format");
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (!network_number(set, numbers[i].key, numbers[i].low, numbers[i].high, numbers[i].ret))
            return bad_meta(err, numbers[i].key);
    if (!points_are_ours(set))
        return bad_meta(err, "points");
    snprintf(j->name, sizeof(j->name), "%s", name ? name : "koubo");
    j->lips_lead = (int)lround(lips_lead);
    j->mel_lead = (int)lround(mel_lead);
    return KB_OK;
}

static int place_of(const struct graph *g, const int *values, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (g->values[values[i]].name && strcmp(g->values[values[i]].name, name) == 0)
            return i;
    return -1;
}

static enum kb_code read_shape(void *owner, const struct graph *g, struct kb_error *err)
{
    struct sync_judge *j = owner;
    j->lips = place_of(g, g->inputs, g->n_inputs, "lips");
    j->mel = place_of(g, g->inputs, g->n_inputs, "mel");
    j->of_lips = place_of(g, g->outputs, g->n_outputs, "of_lips");
    j->of_mel = place_of(g, g->outputs, g->n_outputs, "of_mel");
    bool good = g->n_inputs == 2 && g->n_outputs == 2 && j->lips >= 0 && j->mel >= 0 &&
                j->of_lips >= 0 && j->of_mel >= 0;
    if (good) {
        const struct value *lips = &g->values[g->inputs[j->lips]];
        const struct value *mel = &g->values[g->inputs[j->mel]];
        const struct value *a = &g->values[g->outputs[j->of_lips]];
        const struct value *b = &g->values[g->outputs[j->of_mel]];
        j->size = a->c;
        j->stretch = a->w;
        good = lips->c == N_INPUTS && lips->h == 1 && lips->w >= a->w && mel->c == 1 &&
               mel->h == MEL_BANDS && mel->w >= STEP * (a->w - 1) + 1 && a->h == 1 && b->h == 1 &&
               a->w == b->w && a->c == b->c && a->c <= MAX_SIZE;
    }
    if (!good)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("this is not a judge of sync: it must take 'lips' (%d numbers) and a 'mel' "
              "(%d bands) and give a vector of each for every second column"),
            N_INPUTS, MEL_BANDS);
    return KB_OK;
}

enum kb_code sync_judge_load(struct sync_judge **ret, const char *model, int threads,
                             struct kb_error *err)
{
    CLEANUP(sync_judge_free) struct sync_judge *j = kb_alloc(sizeof(*j));
    static const struct network_owner us = {read_contract, read_shape};
    enum kb_code code =
        network_load(&j->session, NULL, model ? model : MODEL, threads, &us, j, err);
    if (code == KB_OK)
        *ret = TAKE(j);
    return code;
}

void sync_judge_free(struct sync_judge **j)
{
    if (!*j)
        return;
    session_free(&(*j)->session);
    free(*j);
    *j = NULL;
}

// --- the film in moments ---

// Moment i lies i * MOMENT_US after the first picture.
struct film {
    int n;                   // moments
    int n_seen;              // of them with a face
    int first_column;        // of the mel, at moment 0
    float (*lips)[N_INPUTS]; // displacements, canonical units; where there is no face, any
    bool *seen;              // the face, at this moment
    float *voice;            // as vad_find() has it
    float *of_lips, *of_mel; // judge->size numbers of length 1 a moment
};

static void film_clear(struct film *f)
{
    free(f->lips);
    free(f->seen);
    free(f->voice);
    free(f->of_lips);
    free(f->of_mel);
}

static enum kb_code film_create(struct film *f, const struct track *t, int size,
                                struct kb_error *err)
{
    int n_frames = track_info(t)->n_frames;
    int64_t n = n_frames > 0 ? track_pts_us(t, n_frames - 1) / MOMENT_US + 1 : 0;
    if (n > INT32_MAX / MAX_SIZE)
        return kb_no_memory(err);
    f->n = (int)KB_MAX(n, 1);
    f->lips = kb_calloc_checked((size_t)f->n, sizeof(*f->lips));
    f->seen = kb_calloc_checked((size_t)f->n, sizeof(*f->seen));
    f->voice = kb_calloc_checked((size_t)f->n, sizeof(*f->voice));
    f->of_lips = kb_calloc_checked((size_t)f->n, (size_t)size * sizeof(float));
    f->of_mel = kb_calloc_checked((size_t)f->n, (size_t)size * sizeof(float));
    bool whole = f->lips && f->seen && f->voice && f->of_lips && f->of_mel;
    return whole ? KB_OK : kb_no_memory(err);
}

// One frame whose face is seen.
struct look {
    int64_t pts_us;
    float lips[N_INPUTS];
};

static bool look_at(struct look *ret, const struct person *person, const struct track *t, int face,
                    int frame)
{
    struct posed posed;
    if (!person_at(person, t, face, frame, &posed))
        return false;
    ret->pts_us = track_pts_us(t, frame);
    for (int i = 0; i < N_INPUTS; i++)
        ret->lips[i] = posed.canonical[point_of(i / 2)][i % 2];
    return true;
}

// The moments from one frame to another, both included.
static void fill_between(struct film *f, const struct look *a, const struct look *b)
{
    int64_t first = (a->pts_us + MOMENT_US - 1) / MOMENT_US;
    for (int64_t i = KB_MAX(first, 0); i < f->n && i * MOMENT_US <= b->pts_us; i++) {
        float part = (float)(i * MOMENT_US - a->pts_us) / (float)(b->pts_us - a->pts_us);
        for (int k = 0; k < N_INPUTS; k++)
            f->lips[i][k] = a->lips[k] + part * (b->lips[k] - a->lips[k]);
        f->seen[i] = true;
    }
}

static enum kb_code see_lips(struct film *f, const struct track *t, int face,
                             const struct person *person, const struct cancel *cancel,
                             struct kb_error *err)
{
    struct look looks[2];
    bool has_last = false;
    for (int i = 0; i < track_info(t)->n_frames; i++) {
        struct look *last = &looks[i % 2], *now = &looks[(i + 1) % 2];
        enum kb_code code = i % 256 ? KB_OK : cancel_check(cancel, err);
        if (code != KB_OK)
            return code;
        bool has_now = look_at(now, person, t, face, i);
        if (has_last && has_now && now->pts_us > last->pts_us &&
            now->pts_us - last->pts_us <= GAP_US)
            fill_between(f, last, now);
        has_last = has_now;
    }
    for (int i = 0; i < f->n; i++)
        f->n_seen += f->seen[i];
    return KB_OK;
}

static void add_lips(double *sums, int *n, const float *lips, int sign)
{
    for (int k = 0; k < N_INPUTS; k++)
        sums[k] += sign * (double)lips[k];
    *n += sign;
}

// Takes the mean over the seen moments around each off it; where no face is, the lips stay as they
// were last (at the begin: are first).
static void centre_lips(struct film *f)
{
    float before[MEAN + 1][N_INPUTS]; // as they were, by moment modulo MEAN + 1
    double sums[N_INPUTS] = {0};
    int n = 0;
    for (int i = 0; i < KB_MIN(MEAN, f->n); i++)
        if (f->seen[i])
            add_lips(sums, &n, f->lips[i], 1);
    int last = -1;
    for (int i = 0; i < f->n; i++) {
        float *slot = before[i % (MEAN + 1)];
        if (i + MEAN < f->n && f->seen[i + MEAN])
            add_lips(sums, &n, f->lips[i + MEAN], 1);
        if (i > MEAN && f->seen[i - MEAN - 1])
            add_lips(sums, &n, slot, -1);
        memcpy(slot, f->lips[i], sizeof(f->lips[i]));
        for (int k = 0; f->seen[i] && k < N_INPUTS; k++)
            f->lips[i][k] = (float)((double)f->lips[i][k] - sums[k] / n);
        if (!f->seen[i] && last >= 0)
            memcpy(f->lips[i], f->lips[last], sizeof(f->lips[i]));
        for (int j = 0; f->seen[i] && last < 0 && j < i; j++)
            memcpy(f->lips[j], f->lips[i], sizeof(f->lips[i]));
        last = f->seen[i] || last >= 0 ? i : -1;
    }
}

static bool mouth_moves(const struct film *f)
{
    double squares = 0;
    for (int i = 0; i < f->n; i++)
        if (f->seen[i]) {
            double opening = (double)motion_opening((const float(*)[2])f->lips[i]);
            squares += opening * opening;
        }
    return sqrt(squares / KB_MAX(f->n_seen, 1)) > STILL;
}

static enum kb_code hear_voice(struct film *f, const struct mel *mel, struct kb_error *err)
{
    int n = (mel_columns(mel) - 1) / STEP + 1;
    CLEANUP(kb_freep) float *voice = kb_calloc_checked((size_t)n, sizeof(*voice));
    if (!voice)
        return kb_no_memory(err);
    enum kb_code code = vad_find(voice, n, STEP, mel, err);
    for (int i = 0; code == KB_OK && i < f->n; i++) {
        int64_t at = ((int64_t)f->first_column + STEP * (int64_t)i) / STEP;
        f->voice[i] = at >= 0 && at < n ? voice[at] : 0;
    }
    return code;
}

// --- the networks ---

static void take_vectors(const float *told, int n, int size, float *ret)
{
    for (int i = 0; i < n; i++, told += size, ret += size) {
        double square = 1e-12;
        for (int k = 0; k < size; k++)
            square += (double)(told[k] * told[k]);
        for (int k = 0; k < size; k++)
            ret[k] = (float)(told[k] / sqrt(square));
    }
}

static enum kb_code run_networks(struct film *f, struct sync_judge *j, const struct mel *mel,
                                 const struct cancel *cancel, struct kb_error *err)
{
    int wide = session_input_shape(j->session, j->lips).w;
    int columns = session_input_shape(j->session, j->mel).w;
    for (int first = 0; first < f->n; first += j->stretch) {
        float *lips = session_input(j->session, j->lips);
        for (int i = 0; i < wide; i++) {
            int at = KB_MAX(KB_MIN(first + j->lips_lead + i, f->n - 1), 0);
            memcpy(lips + (ptrdiff_t)i * N_INPUTS, f->lips[at], sizeof(f->lips[at]));
        }
        mel_window(mel, f->first_column + STEP * first + j->mel_lead, columns,
                   session_input(j->session, j->mel));
        enum kb_code code = cancel_check(cancel, err);
        if (code == KB_OK)
            code = session_run(j->session, err);
        if (code != KB_OK)
            return code;
        int n = KB_MIN(j->stretch, f->n - first);
        ptrdiff_t at = (ptrdiff_t)first * j->size;
        take_vectors(session_output(j->session, j->of_lips), n, j->size, f->of_lips + at);
        take_vectors(session_output(j->session, j->of_mel), n, j->size, f->of_mel + at);
    }
    return KB_OK;
}

// --- lags ---

// Of some moments: products summed for each lag, and how many they are.
struct block {
    double sums[N_LAGS];
    int counts[N_LAGS];
    int seen, voiced; // moments; voiced: seen, too
};

static void add_block(struct block *to, const struct block *b)
{
    for (int k = 0; k < N_LAGS; k++) {
        to->sums[k] += b->sums[k];
        to->counts[k] += b->counts[k];
    }
    to->seen += b->seen;
    to->voiced += b->voiced;
}

static void measure_block(struct block *ret, const struct film *f, int size, int n_columns,
                          int first)
{
    *ret = (struct block){.seen = 0};
    for (int i = first; i < KB_MIN(first + BLOCK, f->n); i++) {
        if (!f->seen[i])
            continue;
        ret->seen++;
        ret->voiced += f->voice[i] > 0.5f;
        const float *lips = f->of_lips + (ptrdiff_t)i * size;
        for (int k = 0; k < N_LAGS; k++) {
            int at = i + k - MAX_LAG, column = f->first_column + STEP * at;
            if (at < 0 || at >= f->n || column < 0 || column >= n_columns)
                continue;
            const float *mel = f->of_mel + (ptrdiff_t)at * size;
            float product = 0;
            for (int c = 0; c < size; c++)
                product += lips[c] * mel[c];
            ret->sums[k] += (double)product;
            ret->counts[k]++;
        }
    }
}

// The summit of the parabola through three neighbours, from the middle one, -0.5..0.5.
static double summit(const double *y)
{
    double bend = y[-1] - 2 * y[0] + y[1];
    return bend < 0 ? fmax(fmin((y[-1] - y[1]) / (2 * bend), 0.5), -0.5) : 0;
}

// Every lag's odds are exp(weight * moments * agreement), and so are those of a sound that does not
// belong to these lips at all, of which nothing is known but how much it mostly agrees: `none`.
static struct sync_fit fit_of(const struct sync_judge *j, const struct block *b)
{
    double agreement[N_LAGS];
    int best = -1, most = 0;
    for (int k = 0; k < N_LAGS; k++)
        most = KB_MAX(most, b->counts[k]);
    for (int k = 0; k < N_LAGS; k++) {
        // A lag that leaves half of the moments without a partner is chance.
        agreement[k] = 2 * b->counts[k] > most ? b->sums[k] / b->counts[k] : -1;
        if (best < 0 || agreement[k] > agreement[best])
            best = k;
    }
    if (most == 0)
        return (struct sync_fit){0};
    double by = j->weight * fmin(most, j->most), near = 0;
    double all = exp(by * (j->none - agreement[best]));
    double lag = best - MAX_LAG;
    if (best > 0 && best < N_LAGS - 1 && agreement[best - 1] > -1 && agreement[best + 1] > -1)
        lag += summit(&agreement[best]);
    for (int k = 0; k < N_LAGS; k++) {
        double odds = agreement[k] > -1 ? exp(by * (agreement[k] - agreement[best])) : 0;
        all += odds;
        near += fabs(k - MAX_LAG - lag) <= NEAR ? odds : 0;
    }
    return (struct sync_fit){
        .offset_ms = lag * MOMENT_US / 1000, .sureness = near / all, .agreement = agreement[best]};
}

// --- all of it ---

#define MIN_SEEN   SYNC_RATE_HZ       // moments of a window
#define MIN_VOICED (SYNC_RATE_HZ / 2) // the same
#define SOME_VOICE (SYNC_RATE_HZ / 5) // moments, of a block that counts for the film

static void judge_windows(struct sync_result *ret, const struct sync_judge *j, const struct film *f,
                          const struct block *blocks, int n_blocks)
{
    struct block film = {.seen = 0};
    for (int i = 0; i < n_blocks; i++)
        if (blocks[i].voiced >= SOME_VOICE)
            add_block(&film, &blocks[i]);
    ret->film = fit_of(j, &film);
    ret->judged_us = (int64_t)film.seen * MOMENT_US;
    for (int i = 0; i < ret->n_windows; i++) {
        struct sync_window *w = &ret->windows[i];
        struct block both = blocks[i];
        if (i + 1 < n_blocks)
            add_block(&both, &blocks[i + 1]);
        w->begin_us = (int64_t)i * BLOCK * MOMENT_US;
        w->end_us = (int64_t)KB_MIN((i + 2) * BLOCK, f->n) * MOMENT_US;
        if (both.seen >= MIN_SEEN && both.voiced >= MIN_VOICED)
            w->fit = fit_of(j, &both);
    }
}

static enum kb_code check_film(const struct film *f, struct kb_error *err)
{
    int voiced = 0;
    for (int i = 0; i < f->n; i++)
        voiced += f->seen[i] && f->voice[i] > 0.5f;
    if (f->n_seen * (MOMENT_US / 1000) < SYNC_MIN_MS)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the face is seen for only %.1f s; at least %.1f s are needed to tell "
                         "whether lips and sound go together"),
                       f->n_seen * MOMENT_US / 1e6, SYNC_MIN_MS / 1e3);
    if (!mouth_moves(f))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the mouth does not move, so no sound can be early or late for it; give a "
                         "film in which the person speaks"));
    if (voiced < MIN_VOICED)
        return kb_fail(err, KB_BAD_INPUT,
                       _("no voice is heard while the face is seen, so there is nothing that could "
                         "be early or late"));
    return KB_OK;
}

enum kb_code sync_measure(struct sync_result *ret, struct sync_judge *j, const struct track *t,
                          int face, const struct person *person, const struct mel *mel,
                          int64_t start_us, const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(film_clear) struct film f = {.n = 0};
    CLEANUP(sync_result_clear) struct sync_result result = {0};
    f.first_column = (int)lround((double)start_us * MEL_PER_S / 1e6);
    enum kb_code code = film_create(&f, t, j->size, err);
    if (code == KB_OK)
        code = see_lips(&f, t, face, person, cancel, err);
    if (code == KB_OK)
        code = hear_voice(&f, mel, err);
    if (code != KB_OK)
        return code;
    centre_lips(&f);
    code = check_film(&f, err);
    if (code == KB_OK)
        code = run_networks(&f, j, mel, cancel, err);
    if (code != KB_OK)
        return code;

    int n_blocks = (f.n + BLOCK - 1) / BLOCK;
    CLEANUP(kb_freep)
    struct block *blocks = kb_calloc_checked((size_t)n_blocks, sizeof(*blocks));
    result.n_windows = KB_MAX(n_blocks - 1, 1);
    result.windows = kb_calloc_checked((size_t)result.n_windows, sizeof(*result.windows));
    if (!blocks || !result.windows)
        return kb_no_memory(err);
    for (int i = 0; i < n_blocks; i++)
        measure_block(&blocks[i], &f, j->size, mel_columns(mel), i * BLOCK);
    judge_windows(&result, j, &f, blocks, n_blocks);
    *ret = result;
    result = (struct sync_result){0};
    return KB_OK;
}

void sync_result_clear(struct sync_result *r)
{
    free(r->windows);
    *r = (struct sync_result){0};
}
