#include "media/filters.h"

int filters_build(struct filters *ret, const char *source, const char *sink, const char *args,
                  const char *chain, int threads)
{
    AVFilterInOut *from = avfilter_inout_alloc(), *to = avfilter_inout_alloc();
    ret->graph = avfilter_graph_alloc();
    int e = from && to && ret->graph ? 0 : AVERROR(ENOMEM);
    if (e >= 0) {
        ret->graph->nb_threads = threads;
        e = avfilter_graph_create_filter(&ret->in, avfilter_get_by_name(source), "in", args, NULL,
                                         ret->graph);
    }
    if (e >= 0)
        e = avfilter_graph_create_filter(&ret->out, avfilter_get_by_name(sink), "out", NULL, NULL,
                                         ret->graph);
    if (e >= 0) {
        *from = (AVFilterInOut){.name = av_strdup("in"), .filter_ctx = ret->in};
        *to = (AVFilterInOut){.name = av_strdup("out"), .filter_ctx = ret->out};
        e = avfilter_graph_parse_ptr(ret->graph, chain, &to, &from, NULL);
    }
    if (e >= 0)
        e = avfilter_graph_config(ret->graph, NULL);
    avfilter_inout_free(&from);
    avfilter_inout_free(&to);
    return e;
}
