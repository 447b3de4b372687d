#include "worker/hang.h"

#include "base/base.h"

#define SHORT_MS 20000
#define ASSET_MS 60000

int64_t hang_silent_ms(int64_t hang_ms)
{
    return KB_MAX(hang_ms / 3, KB_MIN(hang_ms, SHORT_MS));
}

int64_t hang_asset_ms(int64_t hang_ms)
{
    return KB_MAX(hang_ms, ASSET_MS);
}
