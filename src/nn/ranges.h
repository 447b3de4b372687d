// How large the values of a network become, for int8: what a calibration saw, and what it decided.
// Both are indexed by the values of an optimized graph (graph_optimize() always makes the same
// graph of the same file, so the numbers can be kept beside the weights). An observer is not
// thread-safe; what came of it is read-only and safe from any thread.
#ifndef NN_RANGES_H
#define NN_RANGES_H

#include "base/base.h"

struct ranges {
    int n_values;
    float *limits; // the value that becomes 255; 0: never seen, or it can be negative
};

// Counts what passes through an f32 session (session_params.observer).
struct observer;

struct observer *observer_create(void);                  // never NULL
void observer_prepare(struct observer *o, int n_values); // by the session
void observer_free(struct observer **o);
void observer_note(struct observer *o, int value, const float *data, size_t n);

// For every value the limit with the least squared error: large outliers are cut off as soon as
// finer steps for all others are worth more. ranges_free() the result.
struct ranges *observer_ranges(const struct observer *o);

// {"limits": [0, 3.5, …]}; free().
char *ranges_to_json(const struct ranges *r);
// KB_BAD_INPUT when it is something else or not of n_values values.
enum kb_code ranges_from_json(struct ranges **ret, const char *text, int n_values,
                              struct kb_error *err);
void ranges_free(struct ranges **r);

#endif
