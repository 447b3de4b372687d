#include "cli/group.h"

#include "base/log.h"
#include "cli/cli.h"
#include "cli/help.h"

#include <stdio.h>
#include <string.h>

static const struct group_command *row(const struct group *g, size_t i)
{
    return (const void *)((const char *)g->rows + i * g->size);
}

static void print_help(const struct group *g)
{
    printf("%skoubo %s %s\n\n", _("Usage: "), g->name, _("COMMAND [OPTION...]"));
    for (size_t i = 0; i < g->n; i++) {
        CLEANUP(kb_freep)
        char *call = kb_printf("%-*s %s", g->name_width, row(g, i)->name, row(g, i)->synopsis);
        help_row(call, g->help_column, _(row(g, i)->help));
    }
}

int group_pick(const struct group *g, int argc, char **argv, char **ret_title, int *ret_status)
{
    const char *wanted = argc > 1 ? argv[1] : "--help";
    for (size_t i = 0; i < g->n; i++)
        if (strcmp(wanted, row(g, i)->name) == 0) {
            argv[1] = *ret_title = kb_printf("koubo %s %s", g->name, wanted);
            return (int)i;
        }
    bool asked = strcmp(wanted, "--help") == 0 || strcmp(wanted, "-h") == 0 ||
                 strcmp(wanted, "--usage") == 0;
    *ret_status = asked && argc > 1 ? EXIT_OK : EXIT_USAGE;
    if (asked)
        print_help(g);
    else
        log_error(_("there is no command '%s %s'; koubo %s --help lists them all"), g->name, wanted,
                  g->name);
    return -1;
}
