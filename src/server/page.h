// The built page, held in memory: web/dist beside the source, or share/koubo/web where installed.
// Read once at start; requests are compared with its table of names and never become paths.
// Thread-safe once loaded.
#ifndef SERVER_PAGE_H
#define SERVER_PAGE_H

#include "base/base.h"

struct page;

// folder: NULL = beside the program. A folder that is not there is fine: then "/" tells what to do.
// KB_NO_SPACE, KB_BAD_INPUT for a folder that cannot be the page (too large).
enum kb_code page_load(struct page **ret, const char *folder, struct kb_error *err);
void page_free(struct page **p); // NULL is fine

#endif
