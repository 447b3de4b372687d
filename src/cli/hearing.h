// The speech of a pair of a batch: spoken, where it is a text, and heard. Silent: speech_say() has
// a word on what was heard. Used from any thread, but one after another.
#ifndef CLI_HEARING_H
#define CLI_HEARING_H

#include "cli/options.h"
#include "cli/pairs.h"
#include "media/mel.h"

// All-zero: nothing was heard.
struct hearing {
    const struct pair *pair; // whose speech it is; borrowed
    bool loudnorm;
    struct speech_options spoken; // of a text; its audio is what was heard
    struct mel *mel;
};

// Is it what another pair says, too?
bool hearing_fits(const struct hearing *h, const struct pair *pair, bool loudnorm);
// how: speed and pause of a text. Progress: STAGE_AUDIO. *ret is empty, and stays so on failure.
enum kb_code hearing_make(struct hearing *ret, const struct pair *pair, bool loudnorm,
                          const struct speech_options *how, const struct watch *watch,
                          struct kb_error *err);
void hearing_clear(struct hearing *h);

#endif
