#include "media/ahead.h"

#include "base/queue.h"

#include <pthread.h>
#include <stdlib.h>

struct ahead {
    struct reader *reader;
    struct queue *frames;
    pthread_t thread;
    // --- written by the thread before it closes the queue, read after that
    enum kb_code code;
    struct kb_error err;
};

static void free_frame(void *frame)
{
    AVFrame *f = frame;
    av_frame_free(&f);
}

static void *read_frames(void *opaque)
{
    struct ahead *a = opaque;
    AVFrame *frame = NULL;
    while ((a->code = reader_next(a->reader, &frame, &a->err)) == KB_OK &&
           queue_push(a->frames, frame))
        frame = NULL;
    av_frame_free(&frame); // the one that nobody wanted any more
    queue_close(a->frames);
    return NULL;
}

enum kb_code ahead_start(struct ahead **ret, struct reader *reader, int n_frames,
                         struct kb_error *err)
{
    struct ahead *a = kb_alloc(sizeof(*a));
    a->reader = reader;
    a->frames = queue_create((size_t)n_frames, free_frame);
    if (pthread_create(&a->thread, NULL, read_frames, a) != 0) {
        queue_free(&a->frames);
        free(a);
        return kb_fail(err, KB_NO_SPACE, _("cannot start a thread"));
    }
    *ret = a;
    return KB_OK;
}

enum kb_code ahead_next(struct ahead *a, AVFrame **ret, struct kb_error *err)
{
    AVFrame *frame = queue_pop(a->frames);
    if (frame) {
        *ret = frame;
        return KB_OK;
    }
    if (a->code != KB_EOF && err)
        *err = a->err;
    return a->code;
}

void ahead_stop(struct ahead **a)
{
    if (!*a)
        return;
    queue_abort((*a)->frames);
    pthread_join((*a)->thread, NULL);
    queue_free(&(*a)->frames);
    free(*a);
    *a = NULL;
}
