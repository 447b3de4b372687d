// A person in place of a video: koubo generate --person. Main thread only.
#ifndef CLI_PERSON_H
#define CLI_PERSON_H

#include "cli/options.h"
#include "queue/options.h"

// What of a person a dub borrows: to be released after it.
struct person_use {
    struct batch_options options;
    char *paths[1 + MATERIAL_MOST];
    int n_paths;
};

// Puts the person of the server's data folder (NULL = where koubo serve has it), or of the file
// "….koubo", into o: its film, its options, who speaks. Before the options are parsed: what they
// say holds. A file is unpacked into a temporary folder, one at a time, which goes with
// person_use_end(), or with the process.
enum kb_code person_use(const char *word, const char *data, struct person_use *u,
                        struct dub_options *o, struct kb_error *err);
void person_use_end(struct person_use *u);

#endif
