// koubo clean: make the data folder of a server small, also while it runs.
#include "cli/options.h"

#include "base/text.h"
#include "queue/retention.h"

#include <stdio.h>

struct clean_options {
    struct common_options common;
    const char *data;
    bool yes;
    struct retention_params keep;
};

enum { OPT_KEEP_DAYS = 700, OPT_KEEP_GB, OPT_LOST, OPT_DRY_RUN, OPT_YES };

static const struct argp_option clean_options[] = {
    {"keep-days", OPT_KEEP_DAYS, "N", 0,
     N_("remove results, batches, uploaded files and face tracks that are older than N days; 0: "
        "all "
        "of them, after a question"),
     11},
    {"keep-gb", OPT_KEEP_GB, "X", 0,
     N_("then remove the oldest until the folder is smaller than X gigabytes"), 11},
    {"lost", OPT_LOST, NULL, 0,
     N_("also remove results, pictures and uploads that the database does not know, of an earlier "
        "one (koubo restore takes such results in)"),
     11},
    {"dry-run", OPT_DRY_RUN, NULL, 0, N_("only show what would be removed"), 11},
    {"yes", OPT_YES, NULL, 0, N_("do not ask: the answer is yes"), 11},
    {0},
};

static error_t clean_parse(int key, char *arg, struct argp_state *state)
{
    struct clean_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->data;
        state->child_inputs[1] = &o->common;
        return 0;
    case OPT_KEEP_DAYS:
        o->keep.keep_days = option_int(state, "--keep-days", arg, 0, 36500);
        o->keep.of_any_age = o->keep.keep_days == 0;
        return 0;
    case OPT_KEEP_GB:
        o->keep.keep_bytes =
            (int64_t)((double)option_float(state, "--keep-gb", arg, 0.01f, 1e6f) * KB_GB);
        return 0;
    case OPT_LOST:
        o->keep.lost = true;
        return 0;
    case OPT_DRY_RUN:
        o->keep.dry_run = true;
        return 0;
    case OPT_YES:
        o->yes = true;
        return 0;
    case ARGP_KEY_END:
        if (o->keep.of_any_age && !o->keep.dry_run && !o->yes && !cli_can_ask())
            argp_error(state, "%s",
                       _("--keep-days 0 removes all results and uploads, and there is no terminal "
                         "to ask whether that is meant; add --yes if it is, or --dry-run to see "
                         "what would go"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child clean_children[] = {
    {&data_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {0},
};

static const struct argp clean_argp = {
    clean_options,
    clean_parse,
    "[--keep-days N] [--keep-gb X] [--lost] [--dry-run] [--yes]",
    N_("Remove what the server's data folder does not need: leftovers of interrupted work and "
       "uploads that expired; with --keep-days and --keep-gb old results and files, too. What "
       "unfinished jobs need always stays, and so does what is not koubo's. The server may be "
       "running."),
    clean_children,
    NULL,
    "koubo",
};

static void print_removed(void *opaque, const char *name, int64_t size_bytes)
{
    const struct clean_options *o = opaque;
    if (!o->common.quiet)
        printf("%12lld  %s\n", (long long)size_bytes, name);
}

static void lost_print(const struct lost *l)
{
    char size[TEXT_SIZE_BYTES];
    if (l->n_results + l->n_others > 0)
        printf(_("files that this database does not know stay: %d results, %d others, %s; "
                 "koubo restore takes the results in, koubo clean --lost removes all of them\n"),
               l->n_results, l->n_others, text_size(size, l->bytes));
}

static bool is_meant(const struct clean_options *o)
{
    if (!o->keep.of_any_age || o->keep.dry_run || o->yes)
        return true;
    CLEANUP(kb_freep) char *own = o->data ? NULL : store_default_folder();
    CLEANUP(kb_freep)
    char *question = kb_printf(_("Remove all results, batches, uploaded files and face tracks from "
                                 "'%s', but for what unfinished jobs need? They cannot be brought "
                                 "back."),
                               o->data ? o->data : own);
    return cli_ask(question);
}

static int run(struct clean_options *o)
{
    struct kb_error err = {0};
    struct retention_report report;
    char gone[TEXT_SIZE_BYTES], left[TEXT_SIZE_BYTES];
    CLEANUP(store_close) struct store *s = NULL;
    enum kb_code code = data_open(&s, o->data, &err);
    if (code == KB_OK && !is_meant(o))
        code = KB_CANCELLED;
    if (code == KB_OK)
        code = retention_run(s, &o->keep, print_removed, o, &report, &err);
    if (code != KB_OK)
        return cli_report(code, &err);
    if (o->common.quiet)
        return EXIT_OK;
    printf(o->keep.dry_run ? _("would remove %d files, %s; %s would be left\n")
                           : _("removed %d files, %s; %s are left\n"),
           report.n_removed, text_size(gone, report.bytes_removed),
           text_size(left, report.bytes_left));
    lost_print(&report.lost);
    return EXIT_OK;
}

int cmd_clean(int argc, char **argv)
{
    struct clean_options o = {0};
    options_parse(&clean_argp, argc, argv, &o);
    return run(&o);
}
