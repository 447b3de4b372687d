#include "cli/inputs.h"

#include "base/file.h"
#include "base/utf8.h"
#include "cli/options.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void inputs_append(struct inputs *in, char *path)
{
    char **paths = realloc(in->paths, (in->n + 1) * sizeof(*paths));
    if (!paths)
        abort();
    in->paths = paths;
    in->paths[in->n++] = path;
}

static bool is_media_name(const char *name)
{
    static const char *const extensions[] = {"mp4", "m4v",  "mov",  "mkv",  "webm", "avi",
                                             "flv", "mpg",  "mpeg", "wmv",  "ts",   "3gp",
                                             "jpg", "jpeg", "png",  "webp", "bmp"};
    const char *dot = strrchr(name, '.');
    if (!dot || name[0] == '.')
        return false;
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
        if (strcasecmp(dot + 1, extensions[i]) == 0)
            return true;
    return false;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum kb_code add_folder(struct inputs *in, const char *folder, struct kb_error *err)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return kb_fail(err, KB_BAD_INPUT, _("cannot read the folder '%s': %s"), folder,
                       kb_strerror(errno));
    size_t first = in->n;
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        CLEANUP(kb_freep) char *path = path_join(folder, entry->d_name);
        if (is_media_name(entry->d_name) && !file_is_dir(path))
            inputs_append(in, TAKE(path));
    }
    closedir(dir);
    if (in->n == first)
        return kb_fail(err, KB_BAD_INPUT, _("there is no video and no picture in the folder '%s'"),
                       folder);
    qsort(in->paths + first, in->n - first, sizeof(*in->paths), compare_paths);
    return KB_OK;
}

enum kb_code inputs_add(struct inputs *in, const char *path, struct kb_error *err)
{
    if (file_is_dir(path))
        return add_folder(in, path, err);
    inputs_append(in, kb_strdup(path));
    return KB_OK;
}

void inputs_take(struct inputs *in, const char *path)
{
    struct kb_error err = {0};
    if (inputs_add(in, path, &err) != KB_OK)
        exit(cli_report(err.code, &err));
}

static const struct argp_option inputs_options[] = {
    {"input", 'i', "FILE|FOLDER", 0,
     N_("a video, or a folder of videos; the same as naming it without -i"), 11},
    {0},
};

static error_t inputs_parse(int key, char *arg, struct argp_state *state)
{
    struct inputs *in = state->input;
    switch (key) {
    case 'i':
        inputs_take(in, option_path(arg));
        return 0;
    case ARGP_KEY_ARG:
        inputs_take(in, arg);
        return 0;
    case ARGP_KEY_END:
        if (in->n == 0 && !in->optional)
            argp_error(state, "%s", _("no videos: name them after the options"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp inputs_argp = {
    .options = inputs_options, .parser = inputs_parse, .argp_domain = "koubo"};

void inputs_free(struct inputs *in)
{
    for (size_t i = 0; i < in->n; i++)
        free(in->paths[i]);
    free(in->paths);
    *in = (struct inputs){0};
}

static bool contains(const struct inputs *in, const char *path)
{
    for (size_t i = 0; i < in->n; i++)
        if (strcmp(in->paths[i], path) == 0)
            return true;
    return false;
}

// A film "….ts" of the longest name there can be has none left for "….mp4": then its stem is cut.
static char *output_name(const char *stem, const char *count, const char *ending)
{
    int room = NAME_MAX - (int)strlen(count) - (int)strlen(ending);
    return kb_printf("%.*s%s%s", utf8_fit(stem, room), stem, count, ending);
}

struct inputs inputs_outputs(const struct inputs *in, const char *folder, const char *ending)
{
    struct inputs out = {0};
    for (size_t i = 0; i < in->n; i++) {
        CLEANUP(kb_freep) char *stem = path_stem(in->paths[i]);
        CLEANUP(kb_freep) char *name = output_name(stem, "", ending);
        CLEANUP(kb_freep) char *path = path_join(folder, name);
        // A counted name may itself be somebody's stem, so look again after each count.
        for (int n = 2; contains(&out, path); n++) {
            kb_freep(&name);
            kb_freep(&path);
            char count[16];
            snprintf(count, sizeof(count), "-%d", n);
            name = output_name(stem, count, ending);
            path = path_join(folder, name);
        }
        inputs_append(&out, TAKE(path));
    }
    return out;
}
