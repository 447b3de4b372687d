// A window of a picture, which may begin between two pixels: what a virtual camera sees. Where it
// begins at a whole even pixel it is a copy; else it is interpolated by six taps (Lanczos), so that
// a slow pan has no steps. Thread-safe: no state.
#ifndef FINISH_WINDOW_H
#define FINISH_WINDOW_H

#include <libavutil/frame.h>

// ret: a frame of the format of `from`, with a picture of its own, whose size is that of the
// window. x, y: where it begins, in pixels; beyond the edge the edge goes on. Formats: yuv420p,
// yuva420p, and both with ten bits.
void window_take(const AVFrame *from, double x, double y, AVFrame *ret);

#endif
