// koubo voice: the voices beside espeak-ng's, and speaking a text to a file.
#include "cli/cli.h"

#include "base/file.h"
#include "base/log.h"
#include "base/place.h"
#include "cli/group.h"
#include "cli/options.h"
#include "cli/outputs.h"
#include "cli/screen.h"
#include "cli/speech.h"
#include "media/recital.h"
#include "media/voice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define KEY_BYTES 4000

enum {
    OPT_FOLDER = 800,
    OPT_KIND,
    OPT_URL,
    OPT_KEY_FILE,
    OPT_ASK_KEY,
    OPT_SET,
    OPT_OPTION,
    OPT_SAY_VOICE,
    OPT_SAY_SPEED,
    OPT_SAY_PAUSE,
    OPT_WORDS,
};

struct voice_options {
    struct common_options common;
    const char *data; // whose voices.json; NULL = the user's
    json_t *voice;    // of add, as its options say
    const char *key_file;
    bool ask_key, overwrite;
    const char *name, *text, *output, *words;
    struct speech_wish wish;
};

// --- options

static const struct argp_option list_options[] = {
    {"data", OPT_FOLDER, "FOLDER", 0,
     N_("the voices of the server with this data folder (default: this user's own, which speak in "
        "all of koubo)"),
     10},
    {0},
};

static const struct argp_option add_options[] = {
    {"kind", OPT_KIND, "KIND", 0, N_("openai, duix, gpt-sovits, cosyvoice or command"), 10},
    {"url", OPT_URL, "ADDRESS", 0, N_("where its service is: http://127.0.0.1:9880"), 10},
    {"key-file", OPT_KEY_FILE, "FILE", 0,
     N_("the first line is the service's key; - reads the standard input"), 10},
    {"ask-key", OPT_ASK_KEY, NULL, 0, N_("ask for the key on the terminal, unseen"), 10},
    {"set", OPT_SET, "NAME=VALUE", 0,
     N_("another field, such as title, model, voice, languages (zh,en), reference_audio, "
        "reference_text, timeout_s; docs/voices.md lists them"),
     10},
    {"option", OPT_OPTION, "NAME=VALUE", 0,
     N_("a field of the service's own, sent as it is: top_k=5"), 10},
    {"data", OPT_FOLDER, "FOLDER", 0,
     N_("the voices of the server with this data folder (default: this user's own, which speak in "
        "all of koubo)"),
     10},
    {0},
};

static const struct argp_option say_options[] = {
    {"output", 'o', "FILE", 0, N_("the WAV file"), 10},
    {"voice", OPT_SAY_VOICE, "NAME", 0,
     N_("one that koubo voice list shows, or a name of espeak-ng (default: by the text)"), 10},
    {"speed", OPT_SAY_SPEED, "X", 0, N_("how fast, 0.5 to 2 (default: 1, as the voice speaks)"),
     10},
    {"pause", OPT_SAY_PAUSE, "SECONDS", 0,
     N_("silence between sentences, 0 to 5; twice as long between lines (default: 0.35)"), 10},
    {"words", OPT_WORDS, "FILE", 0, N_("also write what is said when, as JSON"), 10},
    {0},
};

// NAME=VALUE; a number and true or false become what they are where as_json is set.
static void set_field(struct argp_state *state, json_t *object, char *arg, bool as_json)
{
    char *is = strchr(arg, '=');
    if (!is || is == arg)
        argp_error(state, _("'%s' is not NAME=VALUE"), arg);
    CLEANUP(kb_freep) char *name = strndup(arg, (size_t)(is - arg));
    json_t *value = NULL;
    if (strcmp(name, "languages") == 0 && !as_json) {
        value = json_array();
        CLEANUP(kb_freep) char *list = kb_strdup(is + 1);
        char *save = NULL;
        for (char *one = strtok_r(list, ", ", &save); one; one = strtok_r(NULL, ", ", &save))
            json_array_append_new(value, json_string(one));
    } else if (as_json || strcmp(name, "timeout_s") == 0 || strcmp(name, "rate_hz") == 0) {
        value = json_loads(is + 1, JSON_DECODE_ANY, NULL);
    }
    if (!value)
        value = json_string(is + 1);
    if (!value || json_object_set_new(object, name, value) != 0)
        argp_error(state, _("'%s' is not NAME=VALUE"), arg);
}

static json_t *own_options(json_t *voice)
{
    if (!json_object_get(voice, "options"))
        json_object_set_new(voice, "options", json_object());
    return json_object_get(voice, "options");
}

// The name, then, of a program, its arguments.
static void take_argument(struct voice_options *o, char *arg)
{
    json_t *command = json_object_get(o->voice, "command");
    if (!o->name) {
        o->name = arg;
        return;
    }
    if (!command) {
        command = json_array();
        json_object_set_new(o->voice, "command", command);
    }
    json_array_append_new(command, json_string(arg));
}

static error_t add_parse(int key, char *arg, struct argp_state *state)
{
    struct voice_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        o->voice = json_object();
        return 0;
    case OPT_KIND:
        json_object_set_new(o->voice, "kind", json_string(arg));
        return 0;
    case OPT_URL:
        json_object_set_new(o->voice, "url", json_string(arg));
        return 0;
    case OPT_KEY_FILE:
        o->key_file = arg;
        return 0;
    case OPT_ASK_KEY:
        o->ask_key = true;
        return 0;
    case OPT_SET:
        if (text_begins(arg, "key="))
            argp_error(state, "%s",
                       _("a key in the command line can be read by everybody on this machine; give "
                         "it with --key-file or --ask-key"));
        set_field(state, o->voice, arg, false);
        return 0;
    case OPT_OPTION:
        set_field(state, own_options(o->voice), arg, true);
        return 0;
    case OPT_FOLDER:
        o->data = option_path(arg);
        return 0;
    case ARGP_KEY_ARG:
        take_argument(o, arg);
        return 0;
    case ARGP_KEY_END:
        if (!o->name || !json_object_get(o->voice, "kind"))
            argp_error(state, "%s", _("give the voice a name, and its --kind"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t list_parse(int key, char *arg, struct argp_state *state)
{
    struct voice_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPT_FOLDER:
        o->data = option_path(arg);
        return 0;
    case ARGP_KEY_ARG:
        if (o->name)
            argp_error(state, _("'%s' is one too many"), arg);
        o->name = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t say_parse(int key, char *arg, struct argp_state *state)
{
    struct voice_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->overwrite;
        state->child_inputs[1] = &o->common;
        return 0;
    case 'o':
        o->output = option_path(arg);
        return 0;
    case OPT_WORDS:
        o->words = option_path(arg);
        return 0;
    case OPT_SAY_VOICE:
        o->wish.voice = arg;
        return 0;
    case OPT_SAY_SPEED:
        o->wish.speed =
            (double)option_float(state, "--speed", arg, VOICE_LEAST_SPEED, VOICE_MOST_SPEED);
        return 0;
    case OPT_SAY_PAUSE:
        o->wish.pause_ms =
            (int)(option_float(state, "--pause", arg, 0, RECITAL_MOST_PAUSE_MS / 1000.0f) * 1000 +
                  0.5f);
        o->wish.has_pause = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->text)
            argp_error(state, "%s", _("give the text as one argument, in quotes"));
        o->text = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->text || !o->output)
            argp_error(state, "%s", _("give a text and, with -o, the file"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child list_children[] = {{&common_argp, 0, NULL, 0}, {0}};
static const struct argp_child say_children[] = {
    {&overwrite_argp, 0, NULL, 0}, {&common_argp, 0, NULL, 0}, {0}};

static const struct argp list_argp = {
    list_options,  list_parse, NULL,   N_("List the voices that were added."),
    list_children, NULL,       "koubo"};
static const struct argp add_argp = {
    add_options,
    add_parse,
    "NAME [-- PROGRAM ARGUMENT...]",
    N_("Add a voice, or change the one of that name. Of a program, {text_file}, {out}, {speed} and "
       "{voice} in its arguments are filled in; without {out} it writes the sound to its standard "
       "output."),
    list_children,
    NULL,
    "koubo"};
static const struct argp remove_argp = {list_options,  list_parse, "NAME", N_("Remove a voice."),
                                        list_children, NULL,       "koubo"};
static const struct argp test_argp = {
    list_options,  list_parse, "NAME", N_("Have a voice speak a sentence, and say how that went."),
    list_children, NULL,       "koubo"};
static const struct argp say_argp = {
    say_options,  say_parse, "TEXT", N_("Speak a text into a WAV file."),
    say_children, NULL,      "koubo"};

// --- what they do

static char *voices_path(const struct voice_options *o, struct kb_error *err)
{
    char *path = o->data ? voices_data_path(o->data) : voices_user_path();
    if (!path)
        kb_fail(err, KB_BAD_INPUT,
                _("there is no home folder; set $HOME, or name a server's folder with --data"));
    return path;
}

static int voice_list(int argc, char **argv)
{
    struct voice_options o = {0};
    struct kb_error err = {0};
    json_auto_t *list = NULL;
    options_parse(&list_argp, argc, argv, &o);
    CLEANUP(kb_freep) char *path = o.data ? voices_data_path(o.data) : NULL;
    enum kb_code code = path ? voices_load(&list, path, &err) : speech_voices(&list, &err);
    if (code != KB_OK)
        return cli_report(code, &err);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_auto_t *v = voice_shown(json_array_get(list, i));
        const json_t *command = json_object_get(v, "command");
        screen_print_padded(stdout, voice_text(v, "name"), 16);
        screen_print_padded(stdout, voice_text(v, "kind"), 12);
        screen_print_padded(stdout, voice_text(v, "title"), 24);
        printf("%s\n",
               command ? json_string_value(json_array_get(command, 0)) : voice_text(v, "url"));
    }
    if (json_array_size(list) == 0)
        printf("%s\n", _("none was added; espeak-ng's voices (zh, en, en-us…) are always there"));
    return cli_close_output(EXIT_OK);
}

static enum kb_code read_key(FILE *from, const char *name, json_t *voice, struct kb_error *err)
{
    char line[KEY_BYTES + 2] = "";
    bool got = fgets(line, sizeof(line), from);
    size_t n = strcspn(line, "\r\n");
    bool whole = got && n > 0 && n <= KEY_BYTES;
    line[n] = '\0';
    if (whole)
        json_object_set_new(voice, "key", json_string(line));
    explicit_bzero(line, sizeof(line));
    return whole ? KB_OK
                 : kb_fail(err, KB_BAD_INPUT, _("'%s' does not begin with a line that is the key"),
                           name);
}

static enum kb_code ask_key(json_t *voice, struct kb_error *err)
{
    struct termios seen, unseen;
    FILE *terminal = fopen("/dev/tty", "r+e");
    if (!terminal || tcgetattr(fileno(terminal), &seen) != 0) {
        if (terminal)
            fclose(terminal);
        return kb_fail(err, KB_BAD_INPUT,
                       _("there is no terminal to ask for the key; give it with --key-file"));
    }
    unseen = seen;
    unseen.c_lflag &= ~(tcflag_t)ECHO;
    fprintf(terminal, "%s ", _("Key:"));
    fflush(terminal);
    tcsetattr(fileno(terminal), TCSAFLUSH, &unseen);
    enum kb_code code = read_key(terminal, "/dev/tty", voice, err);
    tcsetattr(fileno(terminal), TCSAFLUSH, &seen);
    fputc('\n', terminal);
    fclose(terminal);
    return code;
}

static enum kb_code take_key(const struct voice_options *o, struct kb_error *err)
{
    if (o->ask_key)
        return ask_key(o->voice, err);
    if (!o->key_file)
        return KB_OK;
    if (strcmp(o->key_file, "-") == 0)
        return read_key(stdin, "-", o->voice, err);
    FILE *f = fopen(o->key_file, "re");
    if (!f)
        return kb_fail(err, KB_BAD_INPUT, _("cannot open '%s': %s"), o->key_file,
                       kb_strerror(errno));
    enum kb_code code = read_key(f, o->key_file, o->voice, err);
    fclose(f);
    return code;
}

static enum kb_code add(const struct voice_options *o, const char *path, struct kb_error *err)
{
    json_auto_t *list = NULL;
    json_object_set_new(o->voice, "name", json_string(o->name));
    enum kb_code code = take_key(o, err);
    if (code == KB_OK)
        code = voice_check(o->voice, false, err);
    if (code == KB_OK)
        code = voices_load(&list, path, err);
    if (code == KB_OK)
        code = voices_put(list, o->voice, err);
    return code == KB_OK ? voices_save(list, path, err) : code;
}

static int voice_add(int argc, char **argv)
{
    struct voice_options o = {0};
    struct kb_error err = {0};
    options_parse(&add_argp, argc, argv, &o);
    CLEANUP(kb_freep) char *path = voices_path(&o, &err);
    enum kb_code code = path ? add(&o, path, &err) : err.code;
    if (code == KB_OK)
        log_info(_("'%s' is written down in '%s'; koubo voice test %s tries it"), o.name, path,
                 o.name);
    json_decref(o.voice);
    return cli_report(code, &err);
}

static int voice_remove(int argc, char **argv)
{
    struct voice_options o = {0};
    struct kb_error err = {0};
    json_auto_t *list = NULL;
    options_parse(&remove_argp, argc, argv, &o);
    CLEANUP(kb_freep) char *path = voices_path(&o, &err);
    enum kb_code code = path ? voices_load(&list, path, &err) : err.code;
    if (code == KB_OK && (!o.name || !voices_remove(list, o.name)))
        code = kb_fail(&err, KB_NOT_FOUND, _("there is no voice '%s'; koubo voice list shows them"),
                       o.name ? o.name : "");
    if (code == KB_OK)
        code = voices_save(list, path, &err);
    return cli_report(code, &err);
}

static enum kb_code speak(struct speech_wish *w, struct words *ret, struct kb_error *err)
{
    CLEANUP(place_end) char *folder = NULL;
    enum kb_code code = place_make(&folder, "koubo-voice", err);
    w->folder = folder;
    return code == KB_OK ? speech_make(w, ret, err) : code;
}

static int voice_test(int argc, char **argv)
{
    struct voice_options o = {0};
    struct kb_error err = {0};
    CLEANUP(words_free) struct words words = {0};
    CLEANUP(place_end) char *folder = NULL;
    options_parse(&test_argp, argc, argv, &o);
    enum kb_code code = o.name
                            ? place_make(&folder, "koubo-voice", &err)
                            : kb_fail(&err, KB_NOT_FOUND,
                                      _("there is no voice '%s'; koubo voice list shows them"), "");
    CLEANUP(kb_freep) char *path = kb_printf("%s/test.wav", folder ? folder : "");
    o.wish = (struct speech_wish){
        .path = path, .voice = o.name, .text = _("This is how this voice sounds.")};
    int64_t begin_us = kb_now_us();
    if (code == KB_OK)
        code = speak(&o.wish, &words, &err);
    if (code == KB_OK && words.n > 0)
        printf(_("'%s' spoke %.1f s of sound in %.1f s\n"), o.name ? o.name : "-",
               (double)words.list[words.n - 1].end_us / 1e6,
               (double)(kb_now_us() - begin_us) / 1e6);
    return code == KB_OK ? cli_close_output(EXIT_OK) : cli_report(code, &err);
}

static int voice_say(int argc, char **argv)
{
    struct voice_options o = {0};
    struct kb_error err = {0};
    CLEANUP(words_free) struct words words = {0};
    const char *const no_inputs[] = {NULL};
    options_parse(&say_argp, argc, argv, &o);
    cli_catch_signals();
    enum kb_code code = output_check(o.output, o.overwrite, no_inputs, &err);
    if (code == KB_OK && o.words)
        code = output_check(o.words, o.overwrite, no_inputs, &err);
    o.wish.path = o.output;
    o.wish.text = o.text;
    if (code == KB_OK)
        code = speak(&o.wish, &words, &err);
    if (code == KB_OK && o.words) {
        CLEANUP(kb_freep) char *json = words_json(&words);
        code = json ? file_write_atomic(o.words, json, strlen(json), &err) : kb_no_memory(&err);
    }
    return cli_report(code, &err);
}

static const struct {
    struct group_command is;
    int (*run)(int argc, char **argv);
} commands[] = {
    {{"list", "", N_("the voices that were added")}, voice_list},
    {{"add", "NAME --kind KIND --url ADDRESS", N_("add a voice, or change one")}, voice_add},
    {{"test", "NAME", N_("have it speak a sentence")}, voice_test},
    {{"remove", "NAME", N_("remove a voice")}, voice_remove},
    {{"say", "TEXT -o FILE", N_("speak a text into a WAV file")}, voice_say},
};

int cmd_voice(int argc, char **argv)
{
    static const struct group group = {"voice", commands, ARRAY_LEN(commands), sizeof(commands[0]),
                                       7,       42};
    CLEANUP(kb_freep) char *title = NULL;
    int status, i = group_pick(&group, argc, argv, &title, &status);
    return i < 0 ? status : commands[i].run(argc - 1, argv + 1);
}
