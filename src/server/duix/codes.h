// The codes of the Duix engine's API (docs/easy.md): which job each of them stands for.
// Threads: as the store they are given (store/store.h).
#ifndef SERVER_DUIX_CODES_H
#define SERVER_DUIX_CODES_H

#include "store/store.h"

#define EASY_CODE_BYTES 64

struct easy {
    char code[EASY_CODE_BYTES + 1];
    int64_t job;     // 0 = none (yet)
    char error[600]; // why there is none, in the language of the thread, else ""
};

// Take code for a job to come, over a finished one too. KB_UNAVAILABLE while its job has not ended,
// or while it has neither job nor error yet (a submission under way).
enum kb_code easy_begin(struct store *s, const char *code, struct kb_error *err);
// At the start of a server: the submissions that were under way when the last one ended are over.
enum kb_code easy_cut_off(struct store *s, struct kb_error *err);
// What became of it: a job, or why (job 0) there is none.
enum kb_code easy_end(struct store *s, const char *code, int64_t job, const struct kb_error *why,
                      struct kb_error *err);
enum kb_code easy_find(struct store *s, const char *code, struct easy *ret, struct kb_error *err);
// A code that wanted takes, whose job is done and whose result was not put into the shared folder
// yet. KB_EOF: none. wanted must not use s.
enum kb_code easy_next_delivery(struct store *s, bool (*wanted)(void *ctx, const char *code),
                                void *ctx, struct easy *ret, struct kb_error *err);
enum kb_code easy_set_delivered(struct store *s, const struct easy *e, struct kb_error *err);

#endif
