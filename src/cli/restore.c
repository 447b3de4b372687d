// koubo restore: a database that can be worked with, and results that it does not know taken back
// into its history.
#include "cli/options.h"

#include "restore/rescue.h"
#include "restore/restore.h"
#include "store/backup.h"

#include <stdio.h>
#include <string.h>

struct restore_options {
    struct common_options common;
    const char *data;
    bool list;
    struct rescue_params rescue;
    struct restore_params restore;
};

enum { OPT_DRY_RUN = 700, OPT_LIST, OPT_BACKUP, OPT_SALVAGE, OPT_ADOPT };

static const struct argp_option restore_options[] = {
    {"list", OPT_LIST, NULL, 0, N_("show which backups of the database there are"), 11},
    {"backup", OPT_BACKUP, "NAME|latest", 0,
     N_("put this backup in the place of the database, which is kept in the folder backups"), 11},
    {"salvage", OPT_SALVAGE, NULL, 0,
     N_("make a new database of all that can be read of this one, row by row (done without being "
        "asked when it is damaged)"),
     11},
    {"adopt", OPT_ADOPT, NULL, 0,
     N_("the database was put there from elsewhere: take it for this folder's"), 11},
    {"dry-run", OPT_DRY_RUN, NULL, 0, N_("only show what would be done"), 11},
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
    case OPT_LIST:
        o->list = true;
        return 0;
    case OPT_BACKUP:
        o->rescue.backup = arg;
        return 0;
    case OPT_SALVAGE:
        o->rescue.salvage = true;
        return 0;
    case OPT_ADOPT:
        o->rescue.adopt = true;
        return 0;
    case OPT_DRY_RUN:
        o->restore.dry_run = o->rescue.dry_run = true;
        return 0;
    case ARGP_KEY_END:
        if (o->list + (o->rescue.backup != NULL) + o->rescue.salvage + o->rescue.adopt > 1)
            argp_error(
                state, "%s",
                _("--list, --backup, --salvage and --adopt are four ways; give one of them"));
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
    "[--data FOLDER] [--list | --backup NAME | --salvage | --adopt] [--dry-run]",
    N_("Bring back what can be had of a server's data folder. A damaged database is read row by "
       "row, a lost one is replaced by its latest backup; then results that lie in the folder and "
       "that the database does not know are taken back into the history. They say themselves what "
       "they were made of. No file is changed or removed, and a database that is replaced is kept. "
       "Where the database is whole, the server may be running."),
    restore_children,
    NULL,
    "koubo",
};

// --- the backups

static const char *why_of(const struct backup *b)
{
    if (strcmp(b->why, "daily") == 0)
        return _("the daily one");
    return strcmp(b->why, "replaced") == 0 ? _("was replaced, perhaps damaged")
                                           : _("before the database was brought up to date");
}

static int show_backups(const char *folder)
{
    CLEANUP(kb_freep) struct backup *list = NULL;
    struct kb_error err = {0};
    int n = 0;
    enum kb_code code = backup_list(folder, &list, &n, &err);
    if (code != KB_OK)
        return cli_report(code, &err);
    for (int i = 0; i < n; i++)
        printf("%-34s %9.1f MB  %s\n", list[i].name, (double)list[i].size_bytes / KB_MB,
               why_of(&list[i]));
    if (n == 0)
        printf(_("there is no backup in '%s'; a running server makes one a day\n"), folder);
    return EXIT_OK;
}

// --- the database

static void print_salvaged(const struct salvage_report *r)
{
    static const struct {
        const char *table, *text;
    } kinds[] = {{"asset", N_("uploads")},
                 {"batch", N_("batches")},
                 {"job", N_("videos")},
                 {"setting", N_("settings")},
                 {"easy", N_("codes of the Duix API")},
                 {"notice", N_("notifications")},
                 {"node", N_("machines")},
                 {"person", N_("people")}};
    for (int i = 0; i < r->n_tables; i++)
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
            if (strcmp(kinds[k].table, r->tables[i].table) == 0)
                printf(_("  %s: %lld came back, %lld are lost\n"), _(kinds[k].text),
                       (long long)r->tables[i].n_rows, (long long)r->tables[i].n_lost);
    if (r->headless || r->n_bad > 0)
        printf("%s\n", _("  perhaps more: what cannot be read does not tell how many there were"));
}

static bool has_lost(const struct salvage_report *r)
{
    int64_t n = r->n_bad;
    for (int i = 0; i < r->n_tables; i++)
        n += r->tables[i].n_lost;
    return n > 0;
}

static void print_rescue(const struct restore_options *o, const char *folder,
                         const struct rescue_report *r)
{
    bool only = o->rescue.dry_run;
    if (o->common.quiet)
        return;
    if (r->way == RESCUE_BACKUP)
        printf(only ? _("the backup %s is whole and would be put in place\n")
                    : _("the backup %s is in place\n"),
               r->backup);
    else if (r->way == RESCUE_SALVAGE)
        printf("%s\n", only ? _("of the database could be read:")
                            : _("a new database was made of what could be read:"));
    else if (r->way == RESCUE_ANEW)
        printf("%s\n", only ? _("nothing is left of the database: an empty one would be made")
                            : _("nothing is left of the database: an empty one was made"));
    if (r->way == RESCUE_SALVAGE)
        print_salvaged(&r->salvaged);
    if (r->way == RESCUE_SALVAGE && has_lost(&r->salvaged) && backup_last_ms(folder))
        printf("%s\n",
               _("what is lost may stand in a backup, which lacks what came after it: koubo "
                 "restore --list"));
    if (r->kept)
        printf(_("the one before is kept: backups/%s\n"), r->kept);
}

// --- the results

static void print_one(void *opaque, const char *file, const char *name, const char *batch,
                      const char *why)
{
    const struct restore_options *o = opaque;
    if (!name)
        fprintf(stderr, _("koubo: %s stays as it is: %s\n"), file, why);
    else if (!o->common.quiet)
        printf("%s  %s  (%s)\n", file, name, batch);
}

static int take_in(struct restore_options *o)
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

static int run(struct restore_options *o)
{
    CLEANUP(kb_freep) char *folder = o->data ? kb_strdup(o->data) : store_default_folder();
    CLEANUP(rescue_report_free) struct rescue_report report = {0};
    struct kb_error err = {0};
    if (o->list)
        return show_backups(folder);
    enum kb_code code = rescue_database(folder, &o->rescue, &report, &err);
    if (code != KB_OK)
        return cli_report(code, &err);
    print_rescue(o, folder, &report);
    // Only the new database would know which results it lacks.
    if (o->rescue.dry_run && (report.way != RESCUE_NOTHING || o->rescue.adopt))
        return EXIT_OK;
    return take_in(o);
}

int cmd_restore(int argc, char **argv)
{
    struct restore_options o = {0};
    options_parse(&restore_argp, argc, argv, &o);
    o.restore.cancel = o.rescue.cancel = cli_cancel();
    o.restore.lang = cli_speak_both_languages();
    return run(&o);
}
