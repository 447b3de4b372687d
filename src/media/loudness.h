// How loud a sound is to people: EBU R128, as libavfilter's ebur128 measures it. Thread-safe: no
// state.
#ifndef MEDIA_LOUDNESS_H
#define MEDIA_LOUDNESS_H

#include "base/base.h"
#include "base/cancel.h"

#define LOUDNESS_SILENT (-69.) // what is below that is silence

// *ret: LUFS of the whole, of a longer one of the first three minutes; as if each sample had been
// multiplied by gain (0 = 1). At most LOUDNESS_SILENT where there is nothing to hear. The codes of
// sound_open().
enum kb_code loudness_of(double *ret, const char *path, float gain, const struct cancel *cancel,
                         struct kb_error *err);

#endif
