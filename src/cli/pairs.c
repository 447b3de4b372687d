#include "cli/pairs.h"

#include "cli/cli.h"

#include "base/file.h"
#include "base/log.h"
#include "queue/options.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct pair *pairs_add(struct pairs *p, const char *audio, const char *video)
{
    if (!kb_grow(&p->items, p->n, &p->capacity, sizeof(*p->items)))
        abort();
    p->items[p->n] = (struct pair){.audio = kb_strdup(audio), .video = kb_strdup(video)};
    return &p->items[p->n++];
}

void pairs_each(struct pairs *p, const struct inputs *speeches, const struct inputs *videos)
{
    for (size_t i = 0; i < speeches->n; i++)
        for (size_t k = 0; k < videos->n; k++)
            pairs_add(p, speeches->paths[i], videos->paths[k]);
}

void pairs_say(struct pairs *p, const char *text, const char *voice, const struct inputs *videos)
{
    for (size_t k = 0; k < videos->n; k++) {
        struct pair *pair = pairs_add(p, NULL, videos->paths[k]);
        pair->text = kb_strdup(text);
        pair->voice = kb_strdup(voice);
    }
}

// --- by name

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Is name a part of stem, small and capital letters alike? A number at its rim is not part of a
// longer one: 1 is not in 10.
static bool is_part(const char *stem, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = stem; n > 0 && (at = strcasestr(at, name)); at++) {
        bool before = at > stem && is_digit(at[-1]) && is_digit(name[0]);
        bool behind = is_digit(at[n]) && is_digit(name[n - 1]);
        if (!before && !behind)
            return true;
    }
    return false;
}

// The speech that fits best, or -1.
static int speech_of(const char *video, const struct inputs *speeches)
{
    CLEANUP(kb_freep) char *film = path_stem(video);
    size_t longest = 0;
    int best = -1;
    for (size_t i = 0; i < speeches->n; i++) {
        CLEANUP(kb_freep) char *name = path_stem(speeches->paths[i]);
        if (strcasecmp(name, film) == 0)
            return (int)i;
        if (strlen(name) > longest && is_part(film, name)) {
            longest = strlen(name);
            best = (int)i;
        }
    }
    return best;
}

enum kb_code pairs_by_name(struct pairs *p, const struct inputs *speeches,
                           const struct inputs *videos, struct kb_error *err)
{
    CLEANUP(kb_freep) bool *used = kb_alloc((speeches->n + 1) * sizeof(*used));
    for (size_t k = 0; k < videos->n; k++) {
        int i = speech_of(videos->paths[k], speeches);
        if (i < 0) {
            log_warn(_("no speech fits the video '%s' by its name; it is left out"),
                     path_name(videos->paths[k]));
            continue;
        }
        used[i] = true;
        pairs_add(p, speeches->paths[i], videos->paths[k]);
        log_info(_("'%s' says '%s'"), path_name(videos->paths[k]), path_name(speeches->paths[i]));
    }
    for (size_t i = 0; i < speeches->n; i++)
        if (!used[i])
            log_warn(_("no video fits the speech '%s' by its name; it is left out"),
                     path_name(speeches->paths[i]));
    if (p->n == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("no speech and no video have names that fit; call them alike (01.wav and "
                         "teacher_01.mp4), or write a list (koubo batch --list-template)"));
    return KB_OK;
}

// --- names

static const char *speech_name(const struct pair *pair)
{
    return pair->audio ? pair->audio : pair->text ? pair->text : "";
}

bool pairs_differ(const struct pairs *p)
{
    for (int i = 1; i < p->n; i++)
        if (strcmp(speech_name(&p->items[i]), speech_name(&p->items[0])) != 0)
            return true;
    return false;
}

// The same for all ways to write a path, as far as its folder is there. A new string.
static char *place_of(const char *path)
{
    CLEANUP(kb_freep) char *folder = path_folder(path);
    CLEANUP(kb_freep) char *real = realpath(folder, NULL);
    if (real)
        return path_join(real, path_name(path));
    CLEANUP(kb_freep)
    char *above =
        strcmp(folder, ".") == 0 || strcmp(folder, "/") == 0 ? kb_strdup(folder) : place_of(folder);
    const char *name = path_name(path);
    return strcmp(name, ".") == 0 || !*name ? TAKE(above) : path_join(above, name);
}

// Two results in one file would leave one of them.
static void refuse_doubles(struct pairs *p)
{
    CLEANUP(inputs_free) struct inputs places = {0};
    for (int i = 0; i < p->n; i++) {
        struct pair *pair = &p->items[i];
        inputs_append(&places, place_of(pair->output ? pair->output : ""));
        for (int k = 0; k < i && pair->output && pair->why.code == KB_OK; k++)
            if (p->items[k].output && strcmp(places.paths[k], places.paths[i]) == 0) {
                kb_fail(&pair->why, KB_BAD_INPUT, _("its output is that of line %d"),
                        p->items[k].line);
                kb_wrap(&pair->why, _("line %d of the list"), pair->line);
            }
    }
}

const char *pair_ending(const struct pair *pair, const char *ending)
{
    json_auto_t *options = pair->options ? json_loads(pair->options, 0, NULL) : NULL;
    bool says = json_is_string(json_object_get(options, "alpha")); // null: as if not there
    return says ? batch_options_ending(pair->options) : ending;
}

// path, which ends in ending, with another one.
static char *with_ending(const char *path, const char *ending, const char *other)
{
    return kb_printf("%.*s%s", (int)(strlen(path) - strlen(ending)), path, other);
}

void pairs_name_outputs(struct pairs *p, const char *folder, const char *ending)
{
    struct inputs names = {0};
    bool both = pairs_differ(p);
    for (int i = 0; i < p->n; i++) {
        const struct pair *pair = &p->items[i];
        if (pair->output || pair->why.code != KB_OK)
            continue;
        CLEANUP(kb_freep) char *film = path_stem(pair->video);
        CLEANUP(kb_freep) char *speech = pair->audio ? path_stem(pair->audio) : NULL;
        CLEANUP(kb_freep) char *line = kb_printf("%d", pair->line);
        inputs_append(&names, both ? kb_printf("%s_%s.x", film, speech ? speech : line)
                                   : kb_printf("%s.x", film));
    }
    CLEANUP(inputs_free) struct inputs outputs = inputs_outputs(&names, folder, ending);
    size_t next = 0;
    for (int i = 0; i < p->n; i++)
        if (!p->items[i].output && p->items[i].why.code == KB_OK)
            p->items[i].output =
                with_ending(outputs.paths[next++], ending, pair_ending(&p->items[i], ending));
    inputs_free(&names);
    refuse_doubles(p);
}

char *pair_title(const struct pair *pair, bool with_speech)
{
    if (!pair->video)
        return kb_printf(_("line %d"), pair->line);
    const char *video = path_name(pair->video);
    return with_speech && pair->audio ? kb_printf("%s + %s", video, path_name(pair->audio))
                                      : kb_strdup(video);
}

void pairs_free(struct pairs *p)
{
    for (int i = 0; i < p->n; i++) {
        struct pair *pair = &p->items[i];
        free(pair->audio);
        free(pair->text);
        free(pair->voice);
        free(pair->video);
        free(pair->output);
        free(pair->options);
        free(pair->base);
    }
    free(p->items);
    *p = (struct pairs){0};
}
