// The file of voices: read, checked, shown, written.
#include "voices/internal.h"

#include "base/file.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES (1 << 20)
#define TEXT_BYTES 4000
#define TIMEOUT_S  120

const char *const voices_kinds[] = {"openai", "duix", "gpt-sovits", "cosyvoice", "command", NULL};

enum { OPENAI = 1, DUIX = 2, SOVITS = 4, COSY = 8, COMMAND = 16, HTTP = 15, ALL = 31 };

// What a voice may have: which kinds, and of which type. required: of which kinds it must be there.
static const struct field {
    const char *name;
    int kinds, required;
    json_type type;
    bool local; // names a file or a program of this machine
} fields[] = {
    {"name", ALL, ALL, JSON_STRING, false},
    {"kind", ALL, ALL, JSON_STRING, false},
    {"title", ALL, 0, JSON_STRING, false},
    {"languages", ALL, 0, JSON_ARRAY, false},
    {"timeout_s", ALL, 0, JSON_INTEGER, false},
    {"page", ALL, 0, JSON_TRUE, false},
    {"url", HTTP, HTTP, JSON_STRING, false},
    {"key", HTTP, 0, JSON_STRING, false},
    {"voice", ALL, 0, JSON_STRING, false},
    {"options", OPENAI | DUIX | SOVITS, 0, JSON_OBJECT, false},
    {"model", OPENAI, 0, JSON_STRING, false},
    {"reference_audio", DUIX | SOVITS, SOVITS, JSON_STRING, false}, // on the service's machine
    {"reference_text", DUIX | SOVITS | COSY, 0, JSON_STRING, false},
    {"reference_lang", SOVITS, 0, JSON_STRING, false},
    {"lang", SOVITS, 0, JSON_STRING, false},
    {"mode", COSY, 0, JSON_STRING, false},
    {"reference_file", COSY, 0, JSON_STRING, true}, // on this machine: it is sent
    {"instruct", COSY, 0, JSON_STRING, false},
    {"rate_hz", COSY, 0, JSON_INTEGER, false},
    {"command", COMMAND, COMMAND, JSON_ARRAY, true},
};

const char *voice_text(const json_t *voice, const char *name)
{
    const char *text = json_string_value(json_object_get(voice, name));
    return text ? text : "";
}

int voice_timeout_s(const json_t *voice)
{
    const json_t *s = json_object_get(voice, "timeout_s");
    return s ? (int)json_integer_value(s) : TIMEOUT_S;
}

// --- checking

static int kind_of(const char *kind)
{
    for (int i = 0; voices_kinds[i]; i++)
        if (strcmp(kind, voices_kinds[i]) == 0)
            return 1 << i;
    return 0;
}

static enum kb_code check_name(const char *name, struct kb_error *err)
{
    size_t n = strlen(name);
    if (n > 0 && n < VOICES_NAME_BYTES &&
        n == strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_"))
        return KB_OK;
    return kb_fail(err, KB_BAD_INPUT,
                   _("a voice is called by up to %d of the letters a-z, 0-9, - and _; not '%.*s'"),
                   VOICES_NAME_BYTES - 1, utf8_fit(name, 60), name);
}

static bool is_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return true;
    return false;
}

static enum kb_code check_value(const char *voice, const struct field *f, const json_t *value,
                                struct kb_error *err)
{
    const char *text = json_string_value(value);
    bool ok = json_typeof(value) == f->type;
    if (ok && text)
        ok = strlen(text) <= TEXT_BYTES && !is_control(text);
    if (ok && f->type == JSON_ARRAY) {
        ok = json_array_size(value) <= 64;
        for (size_t i = 0; ok && i < json_array_size(value); i++) {
            const char *one = json_string_value(json_array_get(value, i));
            ok = one && strlen(one) <= TEXT_BYTES && !is_control(one);
        }
    }
    if (ok && f->type == JSON_OBJECT) {
        const char *name;
        json_t *one;
        ok = json_object_size(value) <= 64;
        json_object_foreach((json_t *)value, name, one) ok =
            ok && !json_is_object(one) && json_dumpb(one, NULL, 0, JSON_ENCODE_ANY) <= TEXT_BYTES;
    }
    return ok ? KB_OK
              : kb_fail(
                    err, KB_BAD_INPUT,
                    _("\"%s\" of the voice '%s' has a value that it cannot have; docs/voices.md "
                      "tells which it may have"),
                    f->name, voice);
}

static enum kb_code check_fields(const json_t *voice, int kind, bool by_page, struct kb_error *err)
{
    const char *name = voice_text(voice, "name"), *key;
    json_t *value;
    json_object_foreach((json_t *)voice, key, value)
    {
        const struct field *f = fields;
        while (f < fields + ARRAY_LEN(fields) && strcmp(f->name, key) != 0)
            f++;
        if (f == fields + ARRAY_LEN(fields) || !(f->kinds & kind))
            return kb_fail(err, KB_BAD_INPUT, _("a voice of the kind '%s' has no \"%.*s\""),
                           voice_text(voice, "kind"), utf8_fit(key, 40), key);
        if (f->local && by_page)
            return kb_fail(err, KB_BAD_INPUT,
                           _("a voice with \"%s\" is added at the machine itself, with koubo voice "
                             "add: it names a file or a program there"),
                           f->name);
        enum kb_code code = check_value(name, f, value, err);
        if (code != KB_OK)
            return code;
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        value = json_object_get(voice, fields[i].name);
        bool empty = !value || (json_is_string(value) && !*json_string_value(value)) ||
                     (json_is_array(value) && json_array_size(value) == 0);
        if ((fields[i].required & kind) && empty)
            return kb_fail(err, KB_BAD_INPUT, _("the voice '%s' needs \"%s\""), name,
                           fields[i].name);
    }
    return KB_OK;
}

static enum kb_code check_url(const char *name, const char *url, struct kb_error *err)
{
    size_t n = strncasecmp(url, "http://", 7) == 0    ? 7
               : strncasecmp(url, "https://", 8) == 0 ? 8
                                                      : 0;
    bool plain = n > 0 && url[n] && !strchr("/?#:@", url[n]);
    for (const char *c = url; *c; c++)
        plain = plain && *c > ' ' && *c < 0x7f;
    // A key belongs into "key": addresses stand in sentences.
    if (plain && !strpbrk(url, "?#@"))
        return KB_OK;
    return kb_fail(err, KB_BAD_INPUT,
                   _("the address of the voice '%s' must be like http://127.0.0.1:9880, without "
                     "user, '?' or '#'"),
                   name);
}

static enum kb_code check_cosyvoice(const json_t *voice, struct kb_error *err)
{
    static const struct {
        const char *mode, *needs;
    } modes[] = {{"sft", "voice"},
                 {"instruct", "instruct"},
                 {"zero_shot", "reference_file"},
                 {"cross_lingual", "reference_file"},
                 {"instruct2", "reference_file"}};
    const char *mode = voice_text(voice, "mode");
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcmp(*mode ? mode : "sft", modes[i].mode) != 0)
            continue;
        if (*voice_text(voice, modes[i].needs))
            return KB_OK;
        return kb_fail(err, KB_BAD_INPUT, _("the voice '%s' needs \"%s\""),
                       voice_text(voice, "name"), modes[i].needs);
    }
    return kb_fail(err, KB_BAD_INPUT, _("%s takes one of %s, not '%s'"), "mode",
                   "sft, instruct, zero_shot, cross_lingual, instruct2", mode);
}

static bool number_is_in(const json_t *voice, const char *name, json_int_t low, json_int_t high)
{
    const json_t *n = json_object_get(voice, name);
    return !n || (json_integer_value(n) >= low && json_integer_value(n) <= high);
}

enum kb_code voice_check(json_t *voice, bool by_page, struct kb_error *err)
{
    if (!json_is_object(voice))
        return kb_fail(err, KB_BAD_INPUT, _("a voice must be a JSON object"));
    const char *name = voice_text(voice, "name"), *kind = voice_text(voice, "kind");
    enum kb_code code = check_name(name, err);
    if (code != KB_OK)
        return code;
    if (!kind_of(kind))
        return kb_fail(err, KB_BAD_INPUT, _("%s takes one of %s, not '%s'"), "kind",
                       "openai, duix, gpt-sovits, cosyvoice, command", kind);
    code = check_fields(voice, kind_of(kind), by_page, err);
    if (code == KB_OK && (kind_of(kind) & HTTP))
        code = check_url(name, voice_text(voice, "url"), err);
    if (code == KB_OK && kind_of(kind) == COSY)
        code = check_cosyvoice(voice, err);
    if (code == KB_OK && (!number_is_in(voice, "timeout_s", 1, 600) ||
                          !number_is_in(voice, "rate_hz", 8000, 192000)))
        code = kb_fail(err, KB_BAD_INPUT,
                       _("the voice '%s': \"timeout_s\" is from 1 to 600, \"rate_hz\" from 8000 to "
                         "192000"),
                       name);
    if (code == KB_OK && by_page)
        json_object_set_new(voice, "page", json_true());
    return code;
}

bool voice_has_speed(const json_t *voice)
{
    int kind = kind_of(voice_text(voice, "kind"));
    const json_t *command = json_object_get(voice, "command");
    for (size_t i = 0; i < json_array_size(command); i++)
        if (strstr(json_string_value(json_array_get(command, i)), "{speed}"))
            return true;
    return kind == OPENAI || kind == SOVITS;
}

// --- the file

char *voices_user_path(void)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (config && *config == '/')
        return kb_printf("%s/koubo/voices.json", config);
    return home && *home == '/' ? kb_printf("%s/.config/koubo/voices.json", home) : NULL;
}

char *voices_data_path(const char *data)
{
    return path_join(data, "voices.json");
}

// NULL with KB_OK: there is none.
static enum kb_code read_file(char **ret, const char *path, struct kb_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return KB_OK;
    if (fd < 0 || fstat(fd, &st) != 0) {
        int number = errno;
        if (fd >= 0)
            close(fd);
        return kb_fail(err, KB_BAD_INPUT, _("cannot open '%s': %s"), path, kb_strerror(number));
    }
    enum kb_code code = KB_OK;
    CLEANUP(text_free) struct text text = {0};
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_BYTES)
        code = kb_fail(err, KB_BAD_INPUT, _("'%s' is no file of voices"), path);
    else if ((st.st_mode & 077) || (st.st_uid != geteuid() && st.st_uid != 0))
        code =
            kb_fail(err, KB_BAD_INPUT,
                    _("'%s' holds keys and can be read by others: chmod 600 it, and let it belong "
                      "to the user koubo runs as"),
                    path);
    else if (!text_hear(&text, fd, FILE_BYTES, 1000000, NULL))
        code = kb_fail(err, KB_BAD_INPUT, _("cannot read '%s'"), path);
    close(fd);
    if (code == KB_OK)
        *ret = kb_strdup(text_get(&text));
    return code;
}

enum kb_code voices_load(json_t **ret, const char *path, struct kb_error *err)
{
    CLEANUP(kb_freep) char *json = NULL;
    json_error_t where = {0};
    enum kb_code code = read_file(&json, path, err);
    if (code != KB_OK)
        return code;
    json_auto_t *root = json ? json_loads(json, JSON_REJECT_DUPLICATES, &where) : json_pack("[]");
    if (!json_is_array(root) || json_array_size(root) > VOICES_MOST)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not a JSON list of voices (line %d)"), path,
                       root ? 1 : where.line);
    for (size_t i = 0; code == KB_OK && i < json_array_size(root); i++)
        code = voice_check(json_array_get(root, i), false, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", path);
    *ret = json_incref(root);
    return KB_OK;
}

enum kb_code voices_load_all(json_t **ret, const char *data, struct kb_error *err)
{
    json_auto_t *list = json_array(), *more = NULL;
    CLEANUP(kb_freep) char *user = voices_user_path();
    enum kb_code code = KB_OK;
    if (data) {
        CLEANUP(kb_freep) char *path = voices_data_path(data);
        json_decref(list);
        list = NULL;
        code = voices_load(&list, path, err);
    }
    if (code == KB_OK && user)
        code = voices_load(&more, user, err);
    for (size_t i = 0; code == KB_OK && i < json_array_size(more); i++)
        if (!voices_find(list, voice_text(json_array_get(more, i), "name")))
            json_array_append(list, json_array_get(more, i));
    if (code == KB_OK)
        *ret = json_incref(list);
    return code;
}

enum kb_code voices_save(const json_t *list, const char *path, struct kb_error *err)
{
    CLEANUP(kb_freep) char *folder = path_folder(path);
    CLEANUP(kb_freep) char *part = kb_printf("%s.part", path);
    CLEANUP(kb_freep) char *json = json_dumps(list, JSON_INDENT(2));
    if (!json)
        return kb_no_memory(err);
    enum kb_code code = file_make_dirs(folder, err);
    if (code != KB_OK)
        return code;
    unlink(part);
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t n = strlen(json);
    bool ok = fd >= 0 && write(fd, json, n) == (ssize_t)n && fsync(fd) == 0;
    int number = errno;
    if (fd >= 0)
        close(fd);
    if (ok && rename(part, path) != 0) {
        ok = false;
        number = errno;
    }
    if (ok)
        return KB_OK;
    unlink(part);
    return kb_fail(err, number == ENOSPC ? KB_NO_SPACE : KB_BAD_INPUT, _("cannot write '%s': %s"),
                   path, kb_strerror(number));
}

// --- the list

static int place_of(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(voice_text(json_array_get(list, i), "name"), name) == 0)
            return (int)i;
    return -1;
}

json_t *voices_find(const json_t *list, const char *name)
{
    int i = place_of(list, name);
    return i < 0 ? NULL : json_array_get(list, (size_t)i);
}

enum kb_code voices_put(json_t *list, json_t *voice, struct kb_error *err)
{
    int i = place_of(list, voice_text(voice, "name"));
    if (i < 0 && json_array_size(list) >= VOICES_MOST)
        return kb_fail(err, KB_BAD_INPUT, _("there are %d voices already; remove one"),
                       VOICES_MOST);
    int e = i < 0 ? json_array_append(list, voice) : json_array_set(list, (size_t)i, voice);
    return e == 0 ? KB_OK : kb_no_memory(err);
}

bool voices_remove(json_t *list, const char *name)
{
    int i = place_of(list, name);
    return i >= 0 && json_array_remove(list, (size_t)i) == 0;
}
