#include "cli/outputs.h"

#include "base/file.h"

#include <string.h>
#include <strings.h>

static const struct argp_option overwrite_options[] = {
    {"overwrite", 'y', NULL, 0, N_("replace the output if it exists"), 11},
    {0},
};

static error_t overwrite_parse(int key, char *arg, struct argp_state *state)
{
    if (key != 'y')
        return ARGP_ERR_UNKNOWN;
    *(bool *)state->input = true;
    return 0;
}

const struct argp overwrite_argp = {
    .options = overwrite_options, .parser = overwrite_parse, .argp_domain = "koubo"};

static enum kb_code input_check(const char *output, const char *const *inputs, struct kb_error *err)
{
    for (; *inputs; inputs++)
        if (file_same(output, *inputs))
            return kb_fail(err, KB_BAD_INPUT,
                           _("the output '%s' is also an input; choose another name for the "
                             "output"),
                           output);
    return KB_OK;
}

enum kb_code output_check(const char *output, bool overwrite, const char *const *inputs,
                          struct kb_error *err)
{
    enum kb_code code = input_check(output, inputs, err);
    if (code == KB_OK && !overwrite && file_exists(output))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the output '%s' exists; replace it with -y or choose another name"),
                       output);
    return code;
}

enum kb_code film_name_check(const char *output, const char *ending, struct kb_error *err)
{
    const char *dot = strrchr(path_name(output), '.');
    bool alpha = strcmp(ending, background_ending(ALPHA_NONE)) != 0;
    if (dot && dot > path_name(output) &&
        (strcasecmp(dot, ending) == 0 || (!alpha && strcasecmp(dot, ".m4v") == 0)))
        return KB_OK;
    if (alpha)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' does not end in %s, as --alpha %s wants it"),
                       output, ending, ending + 1);
    CLEANUP(kb_freep) char *stem = path_stem(output);
    return kb_fail(
        err, KB_BAD_INPUT,
        _("'%s' does not end in .mp4, the format that is written without --alpha; call it "
          "'%s.mp4', and turn it into another one afterwards if you need that"),
        output, stem);
}

bool film_name_has_ending(const char *name)
{
    static const char *const endings[] = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi",
                                          ".flv", ".wmv", ".ts",  ".mpg",  ".mpeg"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && dot > name && i < ARRAY_LEN(endings); i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

enum kb_code film_output_check(const char *output, enum background_alpha alpha, bool overwrite,
                               const char *const *inputs, struct kb_error *err)
{
    enum kb_code code = input_check(output, inputs, err);
    if (code == KB_OK)
        code = film_name_check(output, background_ending(alpha), err);
    return code == KB_OK ? output_check(output, overwrite, inputs, err) : code;
}
