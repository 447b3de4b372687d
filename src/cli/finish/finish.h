// What else becomes of the pictures and the sound: the options of generate and batch, one argp
// child a subject, each in a file of its own. Main thread only.
#ifndef CLI_FINISH_FINISH_H
#define CLI_FINISH_FINISH_H

#include "cli/options.h"

// All of them; hands its input on to each.
extern const struct argp finish_argp; // input: struct dub_options *

extern const struct argp background_argp; // input: struct dub_options *
extern const struct argp captions_argp;   // input: struct dub_options *

extern const struct argp label_argp; // input: struct dub_options *
enum label_key {
    OPT_AI_LABEL = 2000,
    OPT_AI_LABEL_TEXT,
    OPT_AI_LABEL_PLACE,
    OPT_AI_LABEL_OPACITY,
    OPT_AI_PRODUCER
};
// True: key was one of them, and is in p. *said is set by --ai-label.
bool label_option(struct argp_state *state, int key, char *arg, struct label_params *p, bool *said);
// What holds where --ai-label was not said: in Chinese the corner, else nothing. And says once who
// is liable for what has no label, to those who read Chinese.
void label_settle(struct label_params *p, bool said);
extern const struct argp frame_argp; // input: struct dub_options *

// The same options as what a server does where a batch does not say.
struct label_defaults {
    struct label_params params;
    bool said;
};
extern const struct argp label_defaults_argp; // input: struct label_defaults *
// As options of a batch, JSON, a new string.
char *label_defaults_json(const struct label_defaults *d);

#endif
