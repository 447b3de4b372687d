// The header Range: whatever it says, each range lies within the file, and together they are not
// larger than the file. The first four bytes are the file's size.
#include "tests/fuzz/fuzz.h"

#include "http/internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct range ranges[MAX_RANGES];
    uint32_t start = 0;
    if (n < sizeof(start))
        return 0;
    memcpy(&start, data, sizeof(start));
    int64_t size = start, sum = 0;
    char *header = kb_alloc(n - sizeof(start) + 1);
    memcpy(header, data + sizeof(start), n - sizeof(start));
    int count = range_parse(header, size, ranges);
    if (count < -1 || count > MAX_RANGES)
        abort();
    for (int i = 0; i < count; i++) {
        if (ranges[i].start < 0 || ranges[i].end < ranges[i].start || ranges[i].end >= size)
            abort();
        sum += ranges[i].end - ranges[i].start + 1;
    }
    if (sum > size)
        abort();
    free(header);
    return 0;
}
