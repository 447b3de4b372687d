#include "worker/hang.h"

#include "base/base.h"

#define SHORT_MS 20000
#define ASSET_MS 60000

int64_t hang_silent_ms(int64_t hang_ms)
{
    return KB_MAX(hang_ms / 3, KB_MIN(hang_ms, SHORT_MS));
}

int64_t hang_still_ms(int64_t hang_ms, enum stage stage, int64_t done, int64_t total)
{
    bool between_frames = stage == STAGE_PREPROCESSING && done > 0 && done < total;
    return between_frames ? hang_silent_ms(hang_ms) : hang_ms;
}

int64_t hang_asset_ms(int64_t hang_ms)
{
    return KB_MAX(hang_ms, ASSET_MS);
}
