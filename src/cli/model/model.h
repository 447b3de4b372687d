// The parts of koubo model. Each returns an exit code; argv[0] is "koubo model NAME".
// Main thread only.
#ifndef CLI_MODEL_MODEL_H
#define CLI_MODEL_MODEL_H

#include "cli/options.h"
#include "cli/outputs.h"

// The checks of convert and quantize before any work: of the name, what is there, the disk. input
// may not be the output; NULL = it may.
enum kb_code model_output_check(const char *output, bool overwrite, const char *input,
                                struct kb_error *err);

int model_list(int argc, char **argv);
int model_info(int argc, char **argv);
int model_convert(int argc, char **argv);
int model_quantize(int argc, char **argv);
int model_run(int argc, char **argv);

#endif
