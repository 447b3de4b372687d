// Commands that are a group of others: koubo model, koubo voice, koubo person. Main thread only.
#ifndef CLI_GROUP_H
#define CLI_GROUP_H

#include <stddef.h>

// What each row of a group begins with.
struct group_command {
    const char *name, *synopsis, *help; // help is translated when it is shown
};

struct group {
    const char *name; // "model"
    const void *rows; // n of them, each of size bytes
    size_t n, size;
    int name_width, help_column;
};

// Which row argv[1] names; argv[1] is then what the command is called by its parser, "koubo model
// list", a new string in *ret_title. -1: none, all is said, *ret_status is the exit code.
int group_pick(const struct group *g, int argc, char **argv, char **ret_title, int *ret_status);

#endif
