// A list of pairs, as a spreadsheet writes it.
#include "base/csv.h"
#include "base/utf8.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    struct csv csv;
    int line = 0;
    if (csv_parse(&csv, (const char *)data, size, "list", &err) != KB_OK)
        return 0;
    for (int i = 0; i < csv.n_rows; i++) {
        const struct csv_row *row = &csv.rows[i];
        if (row->n < 1 || row->n > CSV_COLUMNS || row->line <= line)
            abort();
        line = row->line;
        for (int k = 0; k < row->n; k++)
            if (!utf8_valid(row->cells[k]) || strlen(row->cells[k]) > 3 * size)
                abort();
    }
    csv_free(&csv);
    return 0;
}
