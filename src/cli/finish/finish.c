#include "cli/finish/finish.h"

static const struct argp_child finish_children[] = {
    {&background_argp, 0, NULL, 0},
    {&captions_argp, 0, NULL, 0},
    {&label_argp, 0, NULL, 0},
    {&frame_argp, 0, NULL, 0},
    {0},
};

static error_t finish_parse(int key, char *arg, struct argp_state *state)
{
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    for (size_t i = 0; finish_children[i].argp; i++)
        state->child_inputs[i] = state->input;
    return 0;
}

const struct argp finish_argp = {
    .parser = finish_parse, .children = finish_children, .argp_domain = "koubo"};
