// --help and --usage of the subcommands, out of argp's tables. argp's own help counts bytes and
// breaks lines at spaces alone, of which Chinese has none. Main thread only.
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <argp.h>

// Both print to the standard output, as wide as its terminal, 80 columns at most. Of the tables
// they read: names, keys, args, docs, OPTION_ALIAS, headers, groups and children, whose options go
// to the groups that they name. Options stand in the order of the tables.
void help_print(const struct argp_state *state);
void help_print_usage(const struct argp_state *state);

// One row of a list: left, after two spaces, and text from column on, in as many lines as it takes.
void help_row(const char *left, int column, const char *text);
// A paragraph and the end of its line.
void help_paragraph(const char *text);

#endif
