#include "store/names.h"

#include <stdlib.h>
#include <string.h>

// Job numbers that JSON readers can hold (2^53). A longer row of digits is somebody's date.
#define JOB_DIGITS     15
#define ATTEMPT_DIGITS 6
#define PID_DIGITS     10

enum stem { STEM_JOB, STEM_32, STEM_64 };

// The digit # stands for one or more: the process that writes the file (file_write_atomic).
static const struct pattern {
    const char *folder;
    enum stem stem;
    const char *tail;
    bool half, picture;
} patterns[] = {
    {"results", STEM_JOB, ".mp4", false, false},
    {"results", STEM_JOB, ".jpg", false, true},
    {"results", STEM_JOB, ".mp4.part", true, false},
    {"results", STEM_JOB, ".jpg.#.part", true, true},
    {"files", STEM_64, "", false, false},
    {"files", STEM_64, ".part", true, false},
    {"thumbs", STEM_64, ".jpg", false, false},
    {"thumbs", STEM_64, ".jpg.#.part", true, false},
    {"uploads", STEM_32, ".part", false, false},
    {"uploads", STEM_32, ".part.copy", true, false},
    {"tracks", STEM_32, ".kbt", false, false},
    {"tracks", STEM_32, ".kbt.#.part", true, false},
    {"tracks", STEM_32, "-deep.kbt", false, false},
    {"tracks", STEM_32, "-deep.kbt.#.part", true, false},
    {"work", STEM_32, ".wav", false, false},
    {"work", STEM_32, ".wav.#.part", true, false},
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
        size_t n = *pattern == '#' ? number_length(tail, PID_DIGITS) : *pattern == *tail;
        if (n == 0)
            return false;
        tail += n;
    }
    return *tail == '\0';
}

bool file_name_parse(struct file_name *ret, const char *folder, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        const struct pattern *p = &patterns[i];
        size_t n = strcmp(folder, p->folder) == 0 ? stem_length(p->stem, name) : 0;
        if (n == 0 || !tail_matches(p->tail, name + n))
            continue;
        if (!ret)
            return true;
        *ret = (struct file_name){.half = p->half, .picture = p->picture};
        memcpy(ret->stem, name, n);
        if (p->stem == STEM_JOB) {
            ret->job = strtoll(name, NULL, 10);
            ret->attempt = (int)strtol(strchr(name, '-') + 1, NULL, 10);
        }
        return true;
    }
    return false;
}
