// Results: what done jobs left.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_RESULT_H
#define QUEUE_RESULT_H

#include "store/store.h"

struct result_filter {
    const char *search;         // in the names of result, batch, video and speech; NULL = any
    int64_t batch;              // 0 = any
    int64_t since_ms, until_ms; // made from since on and before until; 0 = any
    const char *sort;           // "created" (NULL), "name", "size", "duration"
    bool ascending;
    int offset, limit;
};
enum kb_code result_list_json(struct store *s, const struct result_filter *f, struct text *ret,
                              struct kb_error *err);
// The Result of a job for the API (docs/openapi.yaml: Result).
enum kb_code result_json(struct store *s, int64_t job, struct text *ret, struct kb_error *err);
struct result {
    int64_t job, batch;
    char batch_name[256];
    char name[300]; // of the file: "film_speech_2026-11-27.mp4" (or .webm, .mov: store/names.h);
                    // -2, -3… behind equal ones
    char *path, *thumb;         // free with result_free()
    const char *file, *picture; // the same below the data folder: point into path and thumb
    int64_t size_bytes, created_ms, duration_ms;
    int width, height;
};
enum kb_code result_find(struct store *s, int64_t job, struct result *ret, struct kb_error *err);
void result_free(struct result *r);
// Another name for the file, for who downloads it and on the disk; it keeps its ending, which may
// stand behind the name, as may ".mp4". What
// no system takes in a name is replaced, and where it is taken in the batch's folder, -2, -3… come
// behind it. KB_BAD_INPUT: nothing is left of it. A disk on which no file has two names keeps the
// old one there.
enum kb_code result_rename(struct store *s, int64_t job, const char *name, struct kb_error *err);
enum kb_code result_delete(struct store *s, int64_t job, struct kb_error *err);
// The jobs of all results that a filter chooses, in its order; offset is ignored, and limit is the
// most that there may be, 0 = all of them. free(*ret).
enum kb_code result_ids(struct store *s, const struct result_filter *f, int64_t **ret, int *ret_n,
                        struct kb_error *err);

#endif
