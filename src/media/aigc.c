#include "media/aigc.h"

#include "base/utf8.h"
#include "media/demux.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT 16384 // of an object that is looked at; one by the standard has some 500 bytes
#define ID_SIZE  33

const char *const aigc_names[N_AIGC_FIELDS] = {"Label",         "ContentProducer",   "ProduceID",
                                               "ReservedCode1", "ContentPropagator", "PropagateID",
                                               "ReservedCode2"};

char *aigc_make(const char *producer, const char *produce_id)
{
    char made[ID_SIZE];
    if (!producer)
        producer = AIGC_PRODUCER;
    if (!produce_id) {
        kb_random_hex(made, sizeof(made) - 1);
        produce_id = made;
    }
    const char *const values[N_AIGC_FIELDS] = {"1",      producer,   produce_id, "",
                                               producer, produce_id, ""};
    json_auto_t *object = json_object();
    for (int i = 0; i < N_AIGC_FIELDS; i++) {
        CLEANUP(kb_freep) char *clean = utf8_clean(values[i]);
        json_object_set_new(object, aigc_names[i], json_string(clean));
    }
    return json_dumps(object, JSON_COMPACT);
}

// --- reading one

static int find_name(const char *name)
{
    for (int i = 0; i < N_AIGC_FIELDS; i++)
        if (strcmp(name, aigc_names[i]) == 0)
            return i;
    return -1;
}

bool aigc_parse(const char *text, struct aigc *ret)
{
    *ret = (struct aigc){0};
    size_t n = strnlen(text, MAX_TEXT + 1);
    json_auto_t *json = n <= MAX_TEXT ? json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    // Some write the object with its name around it, as other formats have it.
    json_t *object = json_object_get(json, AIGC_KEY);
    if (!object)
        object = json;
    bool good = json_is_object(object);
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        int i = find_name(name);
        const char *string = json_string_value(value);
        if (i < 0)
            ret->unknown = true;
        else if (!string || strlen(string) != json_string_length(value))
            good = false;
        else
            ret->value[i] = kb_strdup(string);
    }
    if (!good)
        aigc_clear(ret);
    return good;
}

void aigc_clear(struct aigc *a)
{
    for (int i = 0; i < N_AIGC_FIELDS; i++)
        free(a->value[i]);
    *a = (struct aigc){0};
}

// --- what the standard wants

bool aigc_is_plain(const char *value)
{
    for (; *value; value++)
        if (*value < 0x21 || *value > 0x7e || *value == '"' || *value == '\\')
            return false;
    return true;
}

static bool may_be_empty(int i)
{
    return i == AIGC_RESERVED_CODE_1 || i == AIGC_RESERVED_CODE_2;
}

int aigc_check(const struct aigc *a, char *ret[AIGC_MAX_PROBLEMS], bool *ret_broken)
{
    int n = 0;
    *ret_broken = false;
    for (int i = 0; i < N_AIGC_FIELDS; i++) {
        const char *value = a->value[i];
        // Who passes it on fills in the later fields; without the others it is no label.
        bool needed = i <= AIGC_PRODUCE_ID;
        if (!value || (!*value && !may_be_empty(i))) {
            ret[n++] = kb_printf(value ? _("%s is empty") : _("%s is missing"), aigc_names[i]);
            *ret_broken |= needed;
        } else if (i == AIGC_LABEL && (strlen(value) != 1 || *value < '1' || *value > '3')) {
            ret[n++] = kb_printf(_("%s is '%.*s', but must be 1, 2 or 3"), aigc_names[i],
                                 utf8_fit(value, 20), value);
            *ret_broken = true;
        } else if (!aigc_is_plain(value)) {
            ret[n++] = kb_printf(_("%s has other signs than letters, digits and signs of ASCII; "
                                   "platforms may not take it: a code is better than a name"),
                                 aigc_names[i]);
        }
    }
    if (a->unknown)
        ret[n++] = kb_strdup(_("it has fields that the standard does not know"));
    return n;
}

enum kb_code aigc_producer_check(const char *option, const char *producer, struct kb_error *err)
{
    int length;
    bool good = *producer && strlen(producer) <= AIGC_MAX && utf8_valid(producer);
    for (const char *c = producer; good && *c; c += length)
        good = !utf8_is_hidden(utf8_next(c, &length));
    return good ? KB_OK
                : kb_fail(err, KB_BAD_INPUT,
                          _("%s takes a name or a code of at most %d bytes in one line"), option,
                          AIGC_MAX);
}

// --- of a file

static char *tag(const AVDictionary *tags, const char *name)
{
    const AVDictionaryEntry *e = av_dict_get(tags, name, NULL, 0);
    return e ? utf8_clean(e->value) : NULL;
}

enum kb_code aigc_read(const char *path, const struct cancel *cancel, struct aigc_tags *ret,
                       struct kb_error *err)
{
    struct demux d = {0};
    struct kb_error as_film = {0};
    *ret = (struct aigc_tags){0};
    enum kb_code code = demux_open(&d, path, AVMEDIA_TYPE_VIDEO, cancel, &as_film);
    if (code == KB_BAD_INPUT) // a sound, then
        code = demux_open(&d, path, AVMEDIA_TYPE_AUDIO, cancel, err);
    else if (code != KB_OK && err)
        *err = as_film;
    if (code != KB_OK) {
        if (err && code == KB_BAD_INPUT)
            *err = as_film;
        return code;
    }
    ret->aigc = tag(d.demux->metadata, AIGC_KEY);
    ret->mark = tag(d.demux->metadata, AIGC_MARK_KEY);
    ret->comment = tag(d.demux->metadata, "comment");
    demux_close(&d);
    return KB_OK;
}

void aigc_tags_clear(struct aigc_tags *t)
{
    free(t->aigc);
    free(t->mark);
    free(t->comment);
    *t = (struct aigc_tags){0};
}
