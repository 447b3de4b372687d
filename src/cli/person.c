// koubo person: the people of a server's data folder, and files of them.
#include "cli/person.h"

#include "asset/asset.h"
#include "base/file.h"
#include "base/log.h"
#include "base/place.h"
#include "base/text.h"
#include "cli/group.h"
#include "cli/outputs.h"
#include "cli/screen.h"
#include "queue/person.h"
#include "queue/person_file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_DATA = 850, OPT_MOUTH_FROM, OPT_STYLE_FROM, OPT_FACE_AT, OPT_OPTION, OPT_NAME };

struct person_command {
    struct common_options common;
    const char *data, *output, *mouth_from, *style_from, *new_name;
    bool overwrite;
    json_t *options;
    double face_at[3];
    const char *words[2]; // arguments
    int n_words, wanted;
};

// --- options

#define DATA_OPTION                                                                                \
    {                                                                                              \
        "data", OPT_DATA, "FOLDER", 0, N_("the server's data folder (default: as koubo serve)"),   \
            11                                                                                     \
    }

static const struct argp_option plain_options[] = {DATA_OPTION, {0}};

static const struct argp_option add_options[] = {
    DATA_OPTION,
    {"mouth-from", OPT_MOUTH_FROM, "FILE", 0,
     N_("another film of this person, whose open mouth is used"), 11},
    {"style-from", OPT_STYLE_FROM, "FILE", 0, N_("a film of this person who speaks, to learn how"),
     11},
    {"face-at", OPT_FACE_AT, "X,Y[,S]", 0,
     N_("whose face, of several: 0 to 1 from the left and the top, at second S"), 11},
    {"option", OPT_OPTION, "NAME=VALUE", 0,
     N_("an option that this person's videos have unless another is said, as in the API: crf=20"),
     11},
    {0},
};

static const struct argp_option export_options[] = {
    DATA_OPTION,
    {"output", 'o', "FILE", 0, N_("the file to write (default: NAME.koubo)"), 11},
    {0}};

static const struct argp_option import_options[] = {
    DATA_OPTION, {"name", OPT_NAME, "NAME", 0, N_("call the person so"), 11}, {0}};

static void set_option(struct argp_state *state, struct person_command *o, char *arg)
{
    char *is = strchr(arg, '=');
    CLEANUP(kb_freep) char *name = is ? strndup(arg, (size_t)(is - arg)) : NULL;
    json_t *value = is ? json_loads(is + 1, JSON_DECODE_ANY, NULL) : NULL;
    if (is && !value)
        value = json_string(is + 1);
    if (!value || json_object_set_new(o->options, name, value) != 0)
        argp_error(state, _("'%s' is not NAME=VALUE"), arg);
}

static void set_face_at(struct argp_state *state, struct person_command *o, const char *arg)
{
    int n = 0, end = 0;
    o->face_at[2] = -1;
    if (sscanf(arg, "%lf,%lf%n,%lf%n", &o->face_at[0], &o->face_at[1], &end, &o->face_at[2], &n) <
            2 ||
        arg[n > 0 ? n : end] != '\0' || !(o->face_at[0] >= 0 && o->face_at[0] <= 1))
        argp_error(state, _("'%s' is not X,Y or X,Y,SECONDS with X and Y from 0 to 1"), arg);
}

static error_t person_parse(int key, char *arg, struct argp_state *state)
{
    struct person_command *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        if (state->root_argp->children[1].argp) // the one that writes a file
            state->child_inputs[1] = &o->overwrite;
        return 0;
    case OPT_DATA:
        o->data = option_path(arg);
        return 0;
    case OPT_MOUTH_FROM:
        o->mouth_from = option_path(arg);
        return 0;
    case OPT_STYLE_FROM:
        o->style_from = option_path(arg);
        return 0;
    case OPT_FACE_AT:
        set_face_at(state, o, arg);
        return 0;
    case OPT_OPTION:
        set_option(state, o, arg);
        return 0;
    case OPT_NAME:
        o->new_name = arg;
        return 0;
    case 'o':
        o->output = option_path(arg);
        return 0;
    case ARGP_KEY_ARG:
        if (o->n_words >= o->wanted)
            argp_error(state, _("'%s' is one argument too many"), arg);
        o->words[o->n_words++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->n_words < o->wanted)
            argp_error(state, "%s", _("an argument is missing"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&common_argp, 0, NULL, 0}, {0}};
static const struct argp_child export_children[] = {
    {&common_argp, 0, NULL, 0}, {&overwrite_argp, 0, NULL, 0}, {0}};

// --- what they do

static enum kb_code person_list(struct store *s, struct person_command *o, struct kb_error *err)
{
    CLEANUP(text_free) struct text json = {0};
    size_t i;
    json_t *one;
    (void)o;
    enum kb_code code = person_list_json(s, &json, err);
    if (code != KB_OK)
        return code;
    json_auto_t *all = json_loads(text_get(&json), 0, NULL);
    json_t *people = json_object_get(all, "people");
    json_array_foreach(people, i, one)
    {
        char size[TEXT_SIZE_BYTES];
        screen_print_padded(stdout, json_string_value(json_object_get(one, "name")), 24);
        screen_print_padded(
            stdout, text_size(size, (int64_t)json_number_value(json_object_get(one, "bytes"))), 12);
        printf("%s\n", json_string_value(json_object_get(json_object_get(one, "video"), "name")));
    }
    if (json_array_size(people) == 0)
        printf("%s\n", _("there are no people yet; koubo person add makes one"));
    return KB_OK;
}

static enum kb_code add_file(struct store *s, const char *path, char ret_id[33],
                             struct kb_error *err)
{
    struct asset_params p = {.name = path_name(path), .client = "cli"};
    return asset_add_file(s, &p, path, ret_id, err);
}

static enum kb_code add_other(struct store *s, struct person_command *o, const char *role,
                              const char *path, char ret_id[33], struct kb_error *err)
{
    enum kb_code code = path ? add_file(s, path, ret_id, err) : KB_OK;
    if (code == KB_OK && path)
        json_object_set_new(o->options, role, json_string(ret_id));
    return code;
}

static enum kb_code person_add(struct store *s, struct person_command *o, struct kb_error *err)
{
    char id[33], assets[3][33] = {0};
    enum kb_code code = add_file(s, o->words[1], assets[0], err);
    if (code == KB_OK)
        code = add_other(s, o, "mouth_from", o->mouth_from, assets[1], err);
    if (code == KB_OK)
        code = add_other(s, o, "style_from", o->style_from, assets[2], err);
    CLEANUP(kb_freep) char *options = json_dumps(o->options, JSON_COMPACT);
    struct person_params p = {
        .name = o->words[0], .video = assets[0], .options = options, .face_at = o->face_at};
    if (code == KB_OK)
        code = person_create(s, &p, id, err);
    for (size_t i = 0; code != KB_OK && i < ARRAY_LEN(assets); i++)
        if (assets[i][0])
            asset_delete(s, assets[i], NULL);
    return code;
}

static enum kb_code person_show(struct store *s, struct person_command *o, struct kb_error *err)
{
    CLEANUP(person_free) struct person p = {0};
    CLEANUP(text_free) struct text json = {0};
    enum kb_code code = person_find(s, o->words[0], true, &p, err);
    if (code == KB_OK)
        code = person_json(s, p.id, &json, err);
    if (code != KB_OK)
        return code;
    json_auto_t *all = json_loads(text_get(&json), 0, NULL);
    CLEANUP(kb_freep) char *shown = json_dumps(all, JSON_INDENT(2));
    puts(shown ? shown : "");
    return KB_OK;
}

static enum kb_code person_remove(struct store *s, struct person_command *o, struct kb_error *err)
{
    CLEANUP(person_free) struct person p = {0};
    enum kb_code code = person_find(s, o->words[0], true, &p, err);
    return code == KB_OK ? person_delete(s, p.id, err) : code;
}

static enum kb_code person_rename(struct store *s, struct person_command *o, struct kb_error *err)
{
    CLEANUP(person_free) struct person p = {0};
    struct person_params change = {.name = o->words[1]};
    enum kb_code code = person_find(s, o->words[0], true, &p, err);
    return code == KB_OK ? person_change(s, p.id, &change, err) : code;
}

static enum kb_code write_all(struct person_export *e, FILE *to, const char *path,
                              struct kb_error *err)
{
    char piece[65536];
    int64_t n = 0;
    while ((n = person_export_read(e, piece, sizeof(piece))) > 0) {
        if (fwrite(piece, 1, (size_t)n, to) != (size_t)n)
            break;
        if (cancel_check(cli_cancel(), err) != KB_OK)
            return KB_CANCELLED;
    }
    if (n == -2)
        return kb_fail(err, KB_INTERNAL, _("the file '%s' is broken off"), path);
    if (n > 0 || fflush(to) != 0 || fsync(fileno(to)) != 0)
        return kb_fail(err, errno == ENOSPC ? KB_NO_SPACE : KB_BAD_INPUT,
                       _("cannot write '%s': %s"), path, kb_strerror(errno));
    return KB_OK;
}

static enum kb_code person_export_file(struct store *s, struct person_command *o,
                                       struct kb_error *err)
{
    CLEANUP(person_free) struct person p = {0};
    struct person_export *e = NULL;
    const char *const inputs[] = {NULL};
    enum kb_code code = person_find(s, o->words[0], true, &p, err);
    if (code == KB_OK)
        code = person_export_create(s, p.id, &e, err);
    const char *path = o->output ? o->output : e ? person_export_name(e) : "";
    if (code == KB_OK)
        code = output_check(path, o->overwrite, inputs, err);
    if (code != KB_OK) {
        person_export_free(e);
        return code;
    }
    CLEANUP(kb_freep) char *part = file_part_path(path, (int)getpid());
    FILE *to = fopen(part, "wxe");
    if (!to)
        code = kb_fail(err, KB_BAD_INPUT, _("cannot write '%s': %s"), path, kb_strerror(errno));
    if (code == KB_OK)
        code = write_all(e, to, path, err);
    if (to && fclose(to) != 0 && code == KB_OK)
        code = kb_fail(err, KB_NO_SPACE, _("cannot write '%s': %s"), path, kb_strerror(errno));
    if (code == KB_OK && rename(part, path) != 0)
        code = kb_fail(err, KB_BAD_INPUT, _("cannot write '%s': %s"), path, kb_strerror(errno));
    if (to && code != KB_OK)
        unlink(part);
    if (code == KB_OK)
        log_info(_("'%s' is in '%s'"), o->words[0], path);
    person_export_free(e);
    return code;
}

static enum kb_code person_import_file(struct store *s, struct person_command *o,
                                       struct kb_error *err)
{
    char id[33];
    CLEANUP(person_free) struct person p = {0};
    struct asset_care care = {.cancel = cli_cancel()};
    struct person_import import = {
        .path = o->words[0], .name = o->new_name, .client = "cli", .care = &care};
    enum kb_code code = person_import(s, &import, id, err);
    if (code == KB_OK)
        code = person_find(s, id, false, &p, err);
    if (code == KB_OK)
        log_info(_("'%s' is here now"), p.name);
    return code;
}

// --- a person in place of a video

static enum kb_code use_file(struct store *s, struct person_use *u, const char *id,
                             const char **ret_path, struct kb_error *err)
{
    struct asset a = {0};
    enum kb_code code = asset_find(s, id, &a, err);
    if (code == KB_OK)
        *ret_path = u->paths[u->n_paths++] = asset_path(s, a.sha256);
    return code;
}

// Options are parsed after a file was unpacked, and a wrong one ends the process.
static char *unpacked;

static void remove_unpacked(void)
{
    place_end(&unpacked);
}

static enum kb_code make_folder(struct kb_error *err)
{
    enum kb_code code = place_make(&unpacked, "koubo-person", err);
    if (code == KB_OK && atexit(remove_unpacked) != 0) {
        remove_unpacked();
        code = kb_no_memory(err);
    }
    return code;
}

static enum kb_code open_person(const char *word, const char *data, struct store **ret,
                                struct person *p, struct kb_error *err)
{
    char id[33];
    const char *ending = strrchr(word, '.');
    if (!ending || strcmp(ending, PERSON_ENDING) != 0) {
        enum kb_code code = data_open(ret, data, err);
        return code == KB_OK ? person_find(*ret, word, true, p, err) : code;
    }
    struct asset_care care = {.cancel = cli_cancel()};
    struct person_import import = {.path = word, .care = &care};
    enum kb_code code = make_folder(err);
    if (code == KB_OK)
        code = store_open(ret, unpacked, true, err);
    if (code == KB_OK)
        code = person_import(*ret, &import, id, err);
    return code == KB_OK ? person_find(*ret, id, false, p, err) : code;
}

enum kb_code person_use(const char *word, const char *data, struct person_use *u,
                        struct dub_options *o, struct kb_error *err)
{
    CLEANUP(store_close) struct store *s = NULL;
    CLEANUP(person_free) struct person p = {0};
    const char *path = NULL;
    enum kb_code code = open_person(word, data, &s, &p, err);
    if (code == KB_OK)
        code = batch_options_parse(p.options, &u->options, err);
    if (code != KB_OK)
        return code;
    json_auto_t *said = json_loads(p.options, 0, NULL);
    o->label_said = json_object_get(said, "ai_label") != NULL;
    o->dub = u->options.dub;
    if (u->options.model)
        o->engine.model = u->options.model;
    o->engine.precision = u->options.precision;
    for (int i = 0; code == KB_OK && i < u->options.n_materials; i++) {
        code = use_file(s, u, u->options.materials[i].asset, &path, err);
        if (code == KB_OK)
            material_put(u->options.materials[i].role, &o->dub, path, NULL);
    }
    if (code == KB_OK)
        code = use_file(s, u, p.video, &o->dub.video, err);
    if (p.face_at[0] >= 0)
        memcpy(o->dub.face_at, p.face_at, sizeof(o->dub.face_at));
    return code;
}

void person_use_end(struct person_use *u)
{
    for (int i = 0; i < u->n_paths; i++)
        free(u->paths[i]);
    batch_options_free(&u->options);
    remove_unpacked();
    *u = (struct person_use){0};
}

// --- the commands

static const struct command {
    struct group_command is;
    enum kb_code (*run)(struct store *s, struct person_command *o, struct kb_error *err);
    int n_words;
    const struct argp_option *options;
    const struct argp_child *children;
} commands[] = {
    {{"list", "", N_("the people that are there")}, person_list, 0, plain_options, children},
    {{"add", "NAME VIDEO", N_("make a person of a video or picture")},
     person_add,
     2,
     add_options,
     children},
    {{"show", "NAME", N_("all that is known of one, as JSON")},
     person_show,
     1,
     plain_options,
     children},
    {{"rename", "NAME NEW", N_("call a person otherwise")},
     person_rename,
     2,
     plain_options,
     children},
    {{"remove", "NAME", N_("forget a person; its files go by age like all uploads")},
     person_remove,
     1,
     plain_options,
     children},
    {{"export", "NAME [-o FILE]", N_("write a person into one file")},
     person_export_file,
     1,
     export_options,
     export_children},
    {{"import", "FILE.koubo", N_("take a person out of such a file")},
     person_import_file,
     1,
     import_options,
     children},
};

static int run(const struct command *c, int argc, char **argv)
{
    struct person_command o = {
        .options = json_object(), .face_at = {-1, -1, -1}, .wanted = c->n_words};
    const struct argp argp = {c->options,  person_parse, c->is.synopsis, c->is.help,
                              c->children, NULL,         "koubo"};
    struct kb_error err = {0};
    CLEANUP(store_close) struct store *s = NULL;
    options_parse(&argp, argc, argv, &o);
    CLEANUP(kb_freep) char *own = o.data ? NULL : store_default_folder();
    bool makes = c->options == add_options || c->options == import_options;
    enum kb_code code = store_open(&s, o.data ? o.data : own, makes, &err);
    if (code == KB_OK)
        code = c->run(s, &o, &err);
    json_decref(o.options);
    return code == KB_OK ? cli_close_output(EXIT_OK) : cli_report(code, &err);
}

int cmd_person(int argc, char **argv)
{
    static const struct group group = {"person", commands, ARRAY_LEN(commands), sizeof(commands[0]),
                                       7,        32};
    CLEANUP(kb_freep) char *title = NULL;
    int status, i = group_pick(&group, argc, argv, &title, &status);
    return i < 0 ? status : run(&commands[i], argc - 1, argv + 1);
}
