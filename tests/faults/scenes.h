// What koubo does in a data folder, from an answer's point of view: each scene is one thing that
// somebody asks for, run by koubo's own functions, and what they were told.
#ifndef TESTS_FAULTS_SCENES_H
#define TESTS_FAULTS_SCENES_H

#include "tests/faults/world.h"

#define SCENE_BYTES 70001 // of the file that is uploaded

// What was said so far, in memory that outlives the process of the scene. What stands here was
// answered as kept: it must be found again, whatever happened next.
struct ledger {
    bool ended; // the scene came to its end, well or not
    enum kb_code code;
    char text[600]; // why it did not end well
    char asset[33]; // the upload has this id
    int64_t offset; // so many of its bytes are kept
    bool filed;     // all of them
    int64_t job;    // this one was claimed
    bool done;      // and has its result
    bool renamed, deleted;
    char zip[300]; // where the zip goes, outside of the folder
    int n_backups;
};

struct scene {
    const char *name;
    bool alone;     // it wants the folder for itself
    bool empty;     // nothing is there before
    bool every_cut; // of the power is tried, always
    int version;    // of the schema that the folder has before; 0 = this koubo's
    // Before anything can fail; *s is open afterwards unless the scene opens it. May be NULL.
    enum kb_code (*begin)(struct store **s, const char *folder, struct kb_error *err);
    // The thing itself. l as an earlier, broken run left it: goes on from there.
    enum kb_code (*run)(struct store *s, const char *folder, struct ledger *l,
                        struct kb_error *err);
    // Is that there which the ledger says? May be NULL. s is healthy.
    bool (*check)(struct store *s, const struct ledger *l, char why[WORLD_WHY]);
};

extern const struct scene scenes[];
extern const int n_scenes;

// In a process of its own. The ledger tells what it was told.
void scene_play(const struct scene *sc, const char *folder, struct ledger *l, void (*armed)(void *),
                void *opaque);

#endif
