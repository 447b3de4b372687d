// What the files that read a batch's options share. Internal to queue/. Thread-safe.
#ifndef QUEUE_OPTIONS_INTERNAL_H
#define QUEUE_OPTIONS_INTERNAL_H

#include "queue/options.h"

struct json_t;

// One option; a table of them ends with an empty one. v is never null.
struct option_row {
    const char *name;
    enum kb_code (*set)(struct batch_options *o, const struct json_t *v, struct kb_error *err);
};

// Those of files of their own.
extern const struct option_row background_option_rows[]; // options_background.c
extern const struct option_row frame_options[];
extern const struct option_row label_options[];

// A value of that kind, else KB_BAD_INPUT and a sentence with the option's name.
enum kb_code option_read_bool(const char *name, const struct json_t *v, bool *ret,
                              struct kb_error *err);
enum kb_code option_read_int(const char *name, const struct json_t *v, int low, int high, int *ret,
                             struct kb_error *err);
enum kb_code option_read_number(const char *name, const struct json_t *v, double low, double high,
                                double *ret, struct kb_error *err);
enum kb_code option_read_fraction(const char *name, const struct json_t *v, double high, float *ret,
                                  struct kb_error *err);
enum kb_code option_read_seconds(const char *name, const struct json_t *v, int64_t *ret_us,
                                 struct kb_error *err);
// The id of an asset: one more of the materials, in the role of that name (material.h). refusal
// says what v has to be.
enum kb_code option_read_material(struct batch_options *o, const char *name, const struct json_t *v,
                                  const char *refusal, struct kb_error *err);
// KB_BAD_INPUT.
enum kb_code option_not_one_of(const char *name, const char *words, struct kb_error *err);

extern const struct option_row captions_rows[]; // options_captions.c

#endif
