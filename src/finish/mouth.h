// Where the mouth that speaks is in the pictures, for what should not be drawn over it.
// Thread-safe: no state.
#ifndef FINISH_MOUTH_H
#define FINISH_MOUTH_H

#include "finish/finish.h"

// In which part of the film's pictures, 0 to 1, lips of whoever speaks are seen within these rows
// of the picture as it is now. 0 where there is no track.
double mouth_between(const struct finish_source *source, const struct finish_picture *picture,
                     double top, double bottom);

#endif
