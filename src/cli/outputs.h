// The one file that a command writes: whether it may, by its name and by what is there. Main thread
// only.
#ifndef CLI_OUTPUTS_H
#define CLI_OUTPUTS_H

#include "base/base.h"
#include "finish/background.h"

#include <argp.h>

// -y, for commands that write one file.
extern const struct argp overwrite_argp; // input: bool *
// May output be written? It must not exist unless overwrite is set, and be none of the inputs (NULL
// ends them). KB_BAD_INPUT.
enum kb_code output_check(const char *output, bool overwrite, const char *const *inputs,
                          struct kb_error *err);

// Does a film's name end as the format that is written: ending, as background_ending() has it?
// KB_BAD_INPUT.
enum kb_code film_name_check(const char *output, const char *ending, struct kb_error *err);
// Does what stands behind the last dot of a name say that it is a film? "lesson 1.2": no.
bool film_name_has_ending(const char *name);

// The same as output_check() for a film: its name must end as the format that is written.
// KB_BAD_INPUT.
enum kb_code film_output_check(const char *output, enum background_alpha alpha, bool overwrite,
                               const char *const *inputs, struct kb_error *err);

#endif
