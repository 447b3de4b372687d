// People: a film or picture with whom of it speaks and the options that suit it, under a name, to
// be chosen again without an upload. The files of a person stay: retention leaves them alone, and
// asset_delete() refuses them. Files that hold a whole person: queue/person_file.h.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_PERSON_H
#define QUEUE_PERSON_H

#include "queue/material.h"
#include "store/store.h"

#define PERSON_NAME_LETTERS 100
#define PERSON_MOST         1000                // in a data folder
#define PERSON_FILES        (1 + MATERIAL_MOST) // the film and what its options name

struct person {
    char id[33];
    char *name;
    char video[33];    // asset
    char *options;     // JSON object, as a batch's; files in it by their assets' ids
    double face_at[3]; // as dub_params.face_at; x < 0: the options say whom
    int64_t created_ms;
};
void person_free(struct person *p);

struct person_params {
    const char *name;      // cleaned as names of batches are; nobody else's
    const char *video;     // asset: whole, and no sound; it need not be looked at yet
    const char *options;   // NULL = none
    const double *face_at; // of three numbers; NULL = the options say whom
};
// KB_BAD_INPUT: the name is empty, too long or taken, or what batch_create() says of such files.
enum kb_code person_create(struct store *s, const struct person_params *p, char ret_id[33],
                           struct kb_error *err);
// What is NULL stays; video is not changed.
enum kb_code person_change(struct store *s, const char *id, const struct person_params *p,
                           struct kb_error *err);
// The files become ordinary ones, which go by age.
enum kb_code person_delete(struct store *s, const char *id, struct kb_error *err);

// By id, or by name if by_name. Release *ret with person_free().
enum kb_code person_find(struct store *s, const char *word, bool by_name, struct person *ret,
                         struct kb_error *err);
// docs/openapi.yaml: Person, and {"people":[…]}, by name.
enum kb_code person_json(struct store *s, const char *id, struct text *ret, struct kb_error *err);
enum kb_code person_list_json(struct store *s, struct text *ret, struct kb_error *err);

// The options of p that options (JSON or NULL) neither says itself nor excludes, a new string: what
// is to be laid over a batch's.
enum kb_code person_own_options(const struct person *p, const char *options, char **ret,
                                struct kb_error *err);

#endif
