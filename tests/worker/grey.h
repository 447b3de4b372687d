// A film of grey, 128x96, 25 frames a second: nobody's face is in it.
#ifndef TESTS_WORKER_GREY_H
#define TESTS_WORKER_GREY_H

#include "tests/test.h"

#include "media/writer.h"

// note: the file's comment, cues: what it says of its subtitles; or NULL.
static inline void make_grey_with(const char *path, int n_frames, const char *note,
                                  const char *cues)
{
    struct kb_error err = {0};
    struct writer_params wp = {.width = 128,
                               .height = 96,
                               .frame_rate = {25, 1},
                               .crf = 30,
                               .comment = note,
                               .cues = cues};
    struct writer *writer = NULL;
    assert_ok(err, writer_open(&writer, path, &wp, &err));
    AVFrame *frame = av_frame_alloc();
    frame->width = 128;
    frame->height = 96;
    frame->format = AV_PIX_FMT_YUV420P;
    assert_int_equal(av_frame_get_buffer(frame, 0), 0);
    for (int i = 0; i < 3; i++)
        memset(frame->data[i], 120, (size_t)frame->linesize[i] * (i ? 48 : 96));
    for (int i = 0; i < n_frames; i++) {
        frame->pts = i * 40000;
        assert_ok(err, writer_put(writer, frame, &err));
    }
    av_frame_free(&frame);
    assert_ok(err, writer_finish(writer, &err));
    writer_close(&writer);
}

static inline void make_grey(const char *path, int n_frames, const char *note)
{
    make_grey_with(path, n_frames, note, NULL);
}

#endif
