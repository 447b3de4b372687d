// Builds libavfilter graphs of one input and one output. Internal to media/. Thread-safe (no
// state).
#ifndef MEDIA_FILTERS_H
#define MEDIA_FILTERS_H

#include <libavfilter/avfilter.h>

// A chain of filters (FFmpeg's own syntax) between a source and a sink.
struct filters {
    AVFilterGraph *graph; // the caller's (avfilter_graph_free), also after a failure
    AVFilterContext *in, *out;
};

// source and sink: "buffer" and "buffersink", or "abuffer" and "abuffersink"; args describes what
// goes in. 0 or FFmpeg's error.
int filters_build(struct filters *ret, const char *source, const char *sink, const char *args,
                  const char *chain, int threads);

#endif
