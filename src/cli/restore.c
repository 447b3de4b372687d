// koubo restore: take results of an earlier database back into the history, also while the server
// runs.
#include "cli/options.h"

#include "restore/restore.h"

#include <stdio.h>

struct restore_options {
    struct common_options common;
    const char *data;
    struct restore_params restore;
};

enum { OPT_DRY_RUN = 700 };

static const struct argp_option restore_options[] = {
    {"dry-run", OPT_DRY_RUN, NULL, 0, N_("only show what would be taken in"), 11},
    {0},
};

static error_t restore_parse(int key, char *arg, struct argp_state *state)
{
    struct restore_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->data;
        state->child_inputs[1] = &o->common;
        return 0;
    case OPT_DRY_RUN:
        o->restore.dry_run = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child restore_children[] = {
    {&data_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {0},
};

static const struct argp restore_argp = {
    restore_options,
    restore_parse,
    "[--data FOLDER] [--dry-run]",
    N_("Take results that lie in the server's data folder and that its database does not know back "
       "into the history: after the database was lost, moved away, or an older backup was put in "
       "its place. They say themselves what they were made of. No file is changed or removed. The "
       "server may be running."),
    restore_children,
    NULL,
    "koubo",
};

static void print_one(void *opaque, const char *file, const char *name, const char *batch,
                      const char *why)
{
    const struct restore_options *o = opaque;
    if (!name)
        fprintf(stderr, _("koubo: %s stays as it is: %s\n"), file, why);
    else if (!o->common.quiet)
        printf("%s  %s  (%s)\n", file, name, batch);
}

static int run(struct restore_options *o)
{
    struct kb_error err = {0};
    struct restore_report report;
    CLEANUP(store_close) struct store *s = NULL;
    enum kb_code code = data_open(&s, o->data, &err);
    if (code == KB_OK)
        code = restore_run(s, &o->restore, print_one, o, &report, &err);
    if (code != KB_OK)
        return cli_report(code, &err);
    if (!o->common.quiet)
        printf(o->restore.dry_run ? _("would take in %d results; %d could not be read\n")
                                  : _("took in %d results; %d could not be read\n"),
               report.n_taken, report.n_refused);
    return report.n_refused ? EXIT_SOME_FAILED : EXIT_OK;
}

int cmd_restore(int argc, char **argv)
{
    struct restore_options o = {0};
    options_parse(&restore_argp, argc, argv, &o);
    o.restore.cancel = cli_cancel();
    o.restore.lang = cli_speak_both_languages();
    return run(&o);
}
