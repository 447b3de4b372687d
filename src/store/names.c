#include "store/names.h"

#include "base/file.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Job numbers that JSON readers can hold (2^53). A longer row of digits is somebody's date.
#define JOB_DIGITS     15
#define ATTEMPT_DIGITS 6
#define PID_DIGITS     10

const char *const film_endings[N_FILM_ENDINGS] = {".mp4", ".webm", ".mov"};

// STEM_SHELVED: of results in folders alone; those of before version 3 are mp4.
enum stem { STEM_JOB, STEM_SHELVED, STEM_32, STEM_64 };

// In tails # stands for digits, one or more: the process that writes the file (file_write_atomic),
// or the number of a copy; % for those of a hash.
static const struct pattern {
    const char *folder;
    enum stem stem;
    const char *tail;
    bool half, picture;
} patterns[] = {
    {"results", STEM_JOB, ".mp4", false, false},
    {"results", STEM_SHELVED, ".webm", false, false},
    {"results", STEM_SHELVED, ".mov", false, false},
    {"results", STEM_JOB, ".jpg", false, true},
    {"results", STEM_JOB, ".mp4.part", true, false},
    {"results", STEM_SHELVED, ".webm.part", true, false},
    {"results", STEM_SHELVED, ".mov.part", true, false},
    {"results", STEM_JOB, ".jpg.#.part", true, true},
    {"files", STEM_64, "", false, false},
    {"files", STEM_64, ".part", true, false},
    {"files", STEM_64, ".#.part", true, false},
    {"thumbs", STEM_64, ".jpg", false, false},
    {"thumbs", STEM_64, ".jpg.#.part", true, false},
    {"thumbs", STEM_64, ".jpg.part", true, false}, // from another disk (worker/harvest.c)
    {"uploads", STEM_32, ".part", false, false},
    {"uploads", STEM_32, ".part.copy", true, false},
    {"tracks", STEM_32, ".kbt", false, false},
    {"tracks", STEM_32, ".kbt.#.part", true, false},
    {"tracks", STEM_32, ".kbt.part", true, false},
    {"tracks", STEM_32, "-deep.kbt", false, false},
    {"tracks", STEM_32, "-deep.kbt.#.part", true, false},
    {"tracks", STEM_32, "-deep.kbt.part", true, false},
    {"tracks", STEM_32, "-look.kbt", false, false},
    {"tracks", STEM_32, "-look.kbt.#.part", true, false},
    {"tracks", STEM_32, "-look.kbt.part", true, false},
    {"tracks", STEM_32, "-deep-look.kbt", false, false},
    {"tracks", STEM_32, "-deep-look.kbt.#.part", true, false},
    {"tracks", STEM_32, "-deep-look.kbt.part", true, false},
    {"tracks", STEM_32, ".kbs.part", true, false},
    {"work", STEM_32, ".wav", false, false},
    {"work", STEM_32, ".wav.#.part", true, false},
    {"work", STEM_32, ".mp4", false, false},
    {"work", STEM_32, ".mp4.part", true, false},
    {"work", STEM_32, ".webm", false, false},
    {"work", STEM_32, ".webm.part", true, false},
    {"work", STEM_32, ".mov", false, false},
    {"work", STEM_32, ".mov.part", true, false},
    {"work", STEM_32, ".jpg", false, false},
    {"work", STEM_32, ".jpg.#.part", true, false},
    {"work", STEM_32, ".kbt", false, false},
    {"work", STEM_32, ".kbt.#.part", true, false},
    {"work", STEM_32, "-deep.kbt", false, false},
    {"work", STEM_32, "-deep.kbt.#.part", true, false},
    {"work", STEM_32, "-look.kbt", false, false},
    {"work", STEM_32, "-look.kbt.#.part", true, false},
    {"work", STEM_32, "-deep-look.kbt", false, false},
    {"work", STEM_32, "-deep-look.kbt.#.part", true, false},
    {"work", STEM_32, ".kbs", false, false},
    {"work", STEM_32, ".kbs.#.part", true, false},
    {"work", STEM_32, "-%.kbp", false, false},
    {"work", STEM_32, "-%.kbp.#.part", true, false},
};

// A number without leading zeros, as printf writes it; 0: there is none.
static size_t number_length(const char *s, size_t most)
{
    size_t n = strspn(s, "0123456789");
    return n > most || (n > 0 && s[0] == '0') ? 0 : n;
}

static size_t hex_length(const char *s, size_t wanted)
{
    return strspn(s, "0123456789abcdef") == wanted ? wanted : 0;
}

static size_t stem_length(enum stem stem, const char *name)
{
    if (stem == STEM_SHELVED)
        return 0;
    if (stem != STEM_JOB)
        return hex_length(name, stem == STEM_32 ? 32 : 64);
    size_t job = number_length(name, JOB_DIGITS);
    if (job == 0 || name[job] != '-')
        return 0;
    size_t attempt = number_length(name + job + 1, ATTEMPT_DIGITS);
    return attempt ? job + 1 + attempt : 0;
}

static bool tail_matches(const char *pattern, const char *tail)
{
    for (; *pattern; pattern++) {
        size_t n = *pattern == '#'   ? number_length(tail, PID_DIGITS)
                   : *pattern == '%' ? strspn(tail, "0123456789abcdef")
                                     : *pattern == *tail;
        if (n == 0)
            return false;
        tail += n;
    }
    return *tail == '\0';
}

static bool parse_flat(struct file_name *ret, const char *folder, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        const struct pattern *p = &patterns[i];
        size_t n = strcmp(folder, p->folder) == 0 ? stem_length(p->stem, name) : 0;
        if (n == 0 || !tail_matches(p->tail, name + n))
            continue;
        *ret = (struct file_name){.half = p->half, .picture = p->picture};
        memcpy(ret->stem, name, n);
        if (p->stem == STEM_JOB) {
            ret->job = strtoll(name, NULL, 10);
            ret->attempt = strtoll(strchr(name, '-') + 1, NULL, 10);
        }
        return true;
    }
    return false;
}

// --- results in folders

// "film_speech_2026-11-27", and numbers behind it as in "film_speech_2026-11-27-3-2".
static bool is_shelf_stem(const char *stem, size_t n)
{
    static const char form[] = "_dddd-dd-dd";
    size_t length = strlen(form);
    while (n > length + 2) {
        const char *at = stem + n - length;
        bool fits = memchr(stem, '_', n - length) != NULL;
        for (size_t i = 0; fits && i < length; i++)
            fits = form[i] == 'd' ? at[i] >= '0' && at[i] <= '9' : at[i] == form[i];
        if (fits)
            return true;
        size_t tail = 0;
        while (tail < n && stem[n - 1 - tail] >= '0' && stem[n - 1 - tail] <= '9')
            tail++;
        if (tail == 0 || tail == n || stem[n - 1 - tail] != '-')
            return false;
        n -= tail + 1;
    }
    return false;
}

static bool parse_shelved(struct file_name *ret, const char *name)
{
    const char *slash = strchr(name, '/');
    CLEANUP(kb_freep) char *shelf = slash ? kb_printf("%.*s", (int)(slash - name), name) : NULL;
    int64_t batch = shelf ? shelf_parse(shelf) : 0;
    if (!batch || !slash[1] || slash[1] == '.' || strchr(slash + 1, '/') ||
        strlen(name) >= NAME_STEM)
        return false;
    for (const char *dot = strchr(slash + 2, '.'); dot; dot = strchr(dot + 1, '.'))
        for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
            const struct pattern *p = &patterns[i];
            if ((p->stem != STEM_JOB && p->stem != STEM_SHELVED) || !tail_matches(p->tail, dot))
                continue;
            *ret = (struct file_name){.batch = batch, .half = p->half, .picture = p->picture};
            size_t tail = p->picture ? 0 : strcspn(p->tail + 1, ".") + 1; // the ending
            CLEANUP(kb_freep)
            char *film = kb_printf("%.*s", (int)(dot - name + (ptrdiff_t)tail), name);
            CLEANUP(kb_freep) char *mark = p->picture ? TAKE(film) : result_mark(film);
            memcpy(ret->stem, mark, strlen(mark));
            ret->foreign = !is_shelf_stem(slash + 1, (size_t)(dot - slash - 1));
            return true;
        }
    return false;
}

bool file_name_parse(struct file_name *ret, const char *folder, const char *name)
{
    struct file_name parsed;
    bool ours = parse_flat(&parsed, folder, name) ||
                (strcmp(folder, "results") == 0 && parse_shelved(&parsed, name));
    if (ours && ret)
        *ret = parsed;
    return ours;
}

// Some systems take 255 bytes for a name, and shares of theirs show fewer.
#define SHELF_BYTES  120
#define FILM_BYTES   110
#define SPEECH_BYTES 90

char *shelf_name(int64_t batch, const char *name)
{
    CLEANUP(kb_freep) char *safe = path_safe_name(name, SHELF_BYTES);
    return kb_printf("%" PRId64 "_%s", batch, safe);
}

int64_t shelf_parse(const char *name)
{
    size_t n = number_length(name, JOB_DIGITS);
    return n > 0 && name[n] == '_' && name[n + 1] ? strtoll(name, NULL, 10) : 0;
}

char *shelf_stem(const char *film, const char *speech, int64_t time_ms)
{
    CLEANUP(kb_freep) char *safe_film = path_safe_name(film, FILM_BYTES);
    CLEANUP(kb_freep) char *safe_speech = path_safe_name(speech, SPEECH_BYTES);
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm t;
    char date[16] = "0000-00-00";
    if (localtime_r(&seconds, &t))
        strftime(date, sizeof(date), "%Y-%m-%d", &t);
    return kb_printf("%s_%s_%s", safe_film, safe_speech, date);
}

char *result_beside(const char *name, const char *tail)
{
    return kb_printf("%.*s%s", (int)(strlen(name) - strlen(film_ending(name))), name, tail);
}

const char *film_ending(const char *name)
{
    for (size_t i = 0; i < N_FILM_ENDINGS; i++)
        if (text_ends(name, film_endings[i]))
            return film_endings[i];
    return "";
}

char *result_mark(const char *name)
{
    CLEANUP(kb_freep) char *stem = result_beside(name, "");
    bool plain = text_ends(name, ".mp4") && !*film_ending(stem);
    return plain ? TAKE(stem) : kb_strdup(name);
}

char *result_of_mark(const char *mark)
{
    return kb_printf("%s%s", mark, *film_ending(mark) ? "" : ".mp4");
}
