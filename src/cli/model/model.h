// The parts of koubo model. Each returns an exit code; argv[0] is "koubo model NAME".
// Main thread only.
#ifndef CLI_MODEL_MODEL_H
#define CLI_MODEL_MODEL_H

#include "cli/options.h"

int model_list(int argc, char **argv);
int model_info(int argc, char **argv);
int model_convert(int argc, char **argv);
int model_quantize(int argc, char **argv);
int model_run(int argc, char **argv);

#endif
