#include "store/pages.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

#define USUAL_SIZE    4096
#define HEADER_BYTES  100 // before what the first page is else
#define WAL_HEADER    32
#define FRAME_HEADER  24
#define MAX_PAGES     (1 << 25) // 128 GB, for which 450 MB of memory are taken
#define MAX_PAYLOAD   (64 << 20)
#define INNER_HEADER  12
#define LEAF_HEADER   8
#define KNOWN_REACHED 1
#define KNOWN_FREE    2
#define KNOWN_PIECE   4

struct pages {
    struct file_map file, wal;
    size_t size, usable; // of a page; usable: without what is reserved at its end
    uint32_t n;
    bool headed;     // the first page has SQLite's header
    size_t *in_wal;  // of each page: where in the WAL its last state lies, 0 = in the file
    uint8_t *known;  // of each page
    uint32_t *stack; // of pages_walk()
    char *payload;   // of the last record
    bool lacked_memory;
};

// --- numbers, most significant byte first

static uint32_t get_16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get_32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// 1 to 9 bytes, 7 bits each, the ninth whole. The bytes it takes, 0: it does not end in time.
static size_t get_varint(const uint8_t *p, size_t left, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < 9 && i < left; i++) {
        if (i == 8) {
            *ret = v << 8 | p[i];
            return 9;
        }
        v = v << 7 | (p[i] & 0x7f);
        if (!(p[i] & 0x80)) {
            *ret = v;
            return i + 1;
        }
    }
    return 0;
}

// --- the pages

static const uint8_t *get_page(const struct pages *p, uint32_t page)
{
    if (page < 1 || page > p->n)
        return NULL;
    if (p->in_wal[page])
        return p->wal.data + p->in_wal[page];
    size_t at = (size_t)(page - 1) * p->size;
    return at + p->size <= p->file.size ? p->file.data + at : NULL;
}

static bool is_page_size(uint32_t size)
{
    return size >= 512 && size <= 65536 && (size & (size - 1)) == 0;
}

static bool is_header(const uint8_t *page)
{
    return memcmp(page, "SQLite format 3", 16) == 0 && page[20] <= 32;
}

// The size that the first page says, else the WAL, else the usual one.
static size_t find_size(const struct pages *p)
{
    if (p->file.size >= HEADER_BYTES && is_header(p->file.data)) {
        uint32_t size = get_16(p->file.data + 16);
        size = size == 1 ? 65536 : size;
        if (is_page_size(size))
            return size;
    }
    if (p->wal.size >= WAL_HEADER && is_page_size(get_32(p->wal.data + 8)))
        return get_32(p->wal.data + 8);
    return USUAL_SIZE;
}

// --- the WAL: frames of a page each, in a chain of sums; those up to the last commit count

struct sum {
    uint32_t a, b;
    bool big_endian;
};

static void sum_add(struct sum *s, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint32_t x = get_32(data + i), y = get_32(data + i + 4);
        if (!s->big_endian) {
            x = __builtin_bswap32(x);
            y = __builtin_bswap32(y);
        }
        s->a += x + s->b;
        s->b += y + s->a;
    }
}

// How many frames count, and how many pages the database has by them; 0: none does.
static size_t count_frames(const struct pages *p, uint32_t *ret_pages)
{
    const uint8_t *wal = p->wal.data;
    if (p->wal.size < WAL_HEADER || (get_32(wal) & ~1U) != 0x377f0682 || get_32(wal + 8) != p->size)
        return 0;
    struct sum sum = {.big_endian = wal[3] & 1};
    sum_add(&sum, wal, 24);
    if (sum.a != get_32(wal + 24) || sum.b != get_32(wal + 28))
        return 0;
    size_t committed = 0, frame = FRAME_HEADER + p->size;
    for (size_t i = 0; WAL_HEADER + (i + 1) * frame <= p->wal.size; i++) {
        const uint8_t *f = wal + WAL_HEADER + i * frame;
        if (memcmp(f + 8, wal + 16, 8) != 0) // the salts: of an earlier round
            break;
        sum_add(&sum, f, 8);
        sum_add(&sum, f + FRAME_HEADER, p->size);
        if (sum.a != get_32(f + 16) || sum.b != get_32(f + 20))
            break;
        if (get_32(f + 4)) {
            committed = i + 1;
            *ret_pages = get_32(f + 4);
        }
    }
    return committed;
}

static uint32_t highest_in_wal(const struct pages *p, size_t n_frames)
{
    uint32_t highest = 0;
    for (size_t i = 0; i < n_frames; i++)
        highest = KB_MAX(highest, get_32(p->wal.data + WAL_HEADER + i * (FRAME_HEADER + p->size)));
    return highest;
}

static void apply_wal(struct pages *p, size_t n_frames)
{
    for (size_t i = 0; i < n_frames; i++) {
        size_t at = WAL_HEADER + i * (FRAME_HEADER + p->size);
        uint32_t page = get_32(p->wal.data + at);
        if (page >= 1 && page <= p->n)
            p->in_wal[page] = at + FRAME_HEADER;
    }
}

// --- free pages: a chain of lists. Rows that were deleted still stand in them.

static void mark_free(struct pages *p, const uint8_t *first_page)
{
    uint32_t trunk = get_32(first_page + 32), wanted = get_32(first_page + 36), found = 0;
    for (const uint8_t *t; (t = get_page(p, trunk)) && !(p->known[trunk] & KNOWN_FREE);) {
        p->known[trunk] |= KNOWN_FREE;
        found++;
        uint32_t n = KB_MIN(get_32(t + 4), (uint32_t)(p->usable / 4 - 2));
        for (uint32_t i = 0; i < n; i++) {
            uint32_t leaf = get_32(t + 8 + 4 * (size_t)i);
            if (leaf > 1 && leaf <= p->n)
                p->known[leaf] |= KNOWN_FREE;
        }
        found += n;
        trunk = get_32(t);
    }
    if (found != wanted) // the list is damaged: what it names may be in use
        for (uint32_t i = 1; i <= p->n; i++)
            p->known[i] &= (uint8_t)~KNOWN_FREE;
}

// --- opening

static enum kb_code map(struct file_map *ret, const char *path, struct kb_error *err)
{
    struct kb_error why = {0};
    if (!file_exists(path))
        return KB_OK;
    enum kb_code code = file_map(ret, path, &why);
    if (code == KB_NO_SPACE)
        *err = why;
    return code == KB_NO_SPACE ? code : KB_OK; // an empty one holds no page
}

enum kb_code pages_open(struct pages **ret, const char *path, struct kb_error *err)
{
    CLEANUP(pages_close) struct pages *p = kb_alloc(sizeof(*p));
    CLEANUP(kb_freep) char *wal = kb_printf("%s-wal", path);
    enum kb_code code = map(&p->file, path, err);
    if (code == KB_OK)
        code = map(&p->wal, wal, err);
    if (code != KB_OK)
        return code;
    uint32_t in_wal = 0;
    p->size = find_size(p);
    size_t n_frames = count_frames(p, &in_wal), in_file = p->file.size / p->size;
    // A commit says how large the database is, and may lie.
    in_wal = KB_MIN(in_wal, highest_in_wal(p, n_frames));
    p->n = (uint32_t)KB_MIN(KB_MAX(in_file, (size_t)in_wal), (size_t)MAX_PAGES);
    if (p->n == 0)
        return kb_fail(err, KB_NOT_FOUND, _("there is nothing to be read in '%s'"), path);
    p->in_wal = kb_calloc_checked((size_t)p->n + 1, sizeof(*p->in_wal));
    p->known = kb_calloc_checked((size_t)p->n + 1, sizeof(*p->known));
    p->stack = kb_calloc_checked((size_t)p->n + 1, sizeof(*p->stack));
    if (!p->in_wal || !p->known || !p->stack)
        return kb_no_memory(err);
    apply_wal(p, n_frames);
    const uint8_t *first = get_page(p, 1);
    p->headed = first && is_header(first);
    p->usable = p->size - (p->headed ? first[20] : 0);
    if (p->headed)
        mark_free(p, first);
    *ret = TAKE(p);
    return KB_OK;
}

void pages_close(struct pages **pages)
{
    struct pages *p = TAKE(*pages);
    if (!p)
        return;
    file_unmap(&p->file);
    file_unmap(&p->wal);
    free(p->in_wal);
    free(p->known);
    free(p->stack);
    free(p->payload);
    free(p);
}

uint32_t pages_count(const struct pages *p)
{
    return p->n;
}

int64_t pages_version(const struct pages *p)
{
    return p->headed ? (int32_t)get_32(get_page(p, 1) + 60) : -1;
}

bool pages_lacked_memory(const struct pages *p)
{
    return p->lacked_memory;
}

bool pages_is_spoken_for(const struct pages *p, uint32_t page)
{
    return page < 1 || page > p->n || (p->known[page] & (KNOWN_FREE | KNOWN_PIECE));
}

// --- one page

// What a page is behind the header that the first one has.
static const uint8_t *body(const struct pages *p, uint32_t page)
{
    const uint8_t *data = get_page(p, page);
    return data && page == 1 ? data + HEADER_BYTES : data;
}

enum page_kind pages_kind(const struct pages *p, uint32_t page)
{
    const uint8_t *b = body(p, page);
    switch (b ? b[0] : 0) {
    case 0x0d:
        return PAGE_TABLE;
    case 0x05:
        return PAGE_TABLE_INNER;
    case 0x0a:
        return PAGE_INDEX;
    case 0x02:
        return PAGE_INDEX_INNER;
    default:
        return PAGE_OTHER;
    }
}

static size_t header_length(enum page_kind kind)
{
    return kind == PAGE_TABLE_INNER || kind == PAGE_INDEX_INNER ? INNER_HEADER : LEAF_HEADER;
}

// The place of cell i in the page, 0: it lies outside.
static size_t cell_at(const struct pages *p, uint32_t page, enum page_kind kind, uint32_t i)
{
    const uint8_t *data = get_page(p, page), *b = body(p, page);
    size_t array = (size_t)(b - data) + header_length(kind), at = array + 2 * (size_t)i;
    if (at + 2 > p->usable)
        return 0;
    size_t cell = get_16(data + at);
    return cell >= array && cell < p->usable ? cell : 0;
}

static uint32_t count_cells(const struct pages *p, uint32_t page)
{
    return KB_MIN(get_16(body(p, page) + 3), (uint32_t)(p->usable / 4));
}

// --- a row

// How much of a payload lies in the cell; the rest is in a chain of pages.
static size_t local_length(const struct pages *p, bool table, size_t payload)
{
    size_t most = table ? p->usable - 35 : (p->usable - 12) * 64 / 255 - 23;
    size_t least = (p->usable - 12) * 32 / 255 - 23;
    if (payload <= most)
        return payload;
    size_t length = least + (payload - least) % (p->usable - 4);
    return length <= most ? length : least;
}

static bool add_pieces(struct pages *p, uint32_t page, size_t at, size_t total)
{
    while (at < total) {
        const uint8_t *piece = get_page(p, page);
        if (!piece || page == 1)
            return false;
        size_t n = KB_MIN(total - at, p->usable - 4);
        memcpy(p->payload + at, piece + 4, n);
        at += n;
        page = get_32(piece);
    }
    return true;
}

static void mark_pieces(struct pages *p, const uint8_t *cell, size_t local, size_t total)
{
    uint32_t page = local < total ? get_32(cell + local) : 0;
    for (size_t at = local; at < total; at += p->usable - 4) {
        p->known[page] |= KNOWN_PIECE;
        page = get_32(get_page(p, page));
    }
}

// A long one is gathered in p->payload, a short one is where it lies.
static const uint8_t *gather(struct pages *p, bool table, const uint8_t *cell, size_t left,
                             size_t payload)
{
    if (payload > MAX_PAYLOAD || payload > (size_t)p->n * p->size)
        return NULL;
    size_t local = local_length(p, table, payload);
    if (local > left || (local < payload && local + 4 > left))
        return NULL;
    if (local == payload)
        return cell;
    char *grown = realloc(p->payload, payload);
    if (!grown) {
        p->lacked_memory = true;
        return NULL;
    }
    p->payload = grown;
    memcpy(p->payload, cell, local);
    return add_pieces(p, get_32(cell + local), local, payload) ? (const uint8_t *)p->payload : NULL;
}

static int64_t get_int(const uint8_t *p, size_t n)
{
    int64_t v = n && (p[0] & 0x80) ? -1 : 0;
    for (size_t i = 0; i < n; i++)
        v = (int64_t)((uint64_t)v << 8 | p[i]);
    return v;
}

// The value of a serial type at p. The bytes it takes, -1: there is no such type, or it is too
// long.
static int64_t get_value(uint64_t type, const uint8_t *p, size_t left, struct value *ret)
{
    static const uint8_t lengths[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
    *ret = (struct value){0};
    if (type == 10 || type == 11)
        return -1;
    size_t n = type >= 12 ? (size_t)((type - 12) / 2) : lengths[type];
    if (n > left)
        return -1;
    if (type >= 12) {
        ret->kind = type & 1 ? VALUE_TEXT : VALUE_BLOB;
        ret->data = (const char *)p;
        ret->size = n;
    } else if (type == 7) {
        int64_t bits = get_int(p, 8);
        ret->kind = VALUE_REAL;
        memcpy(&ret->d, &bits, sizeof(bits));
    } else if (type != 0) {
        ret->kind = VALUE_INT;
        ret->i = type >= 8 ? (int64_t)type - 8 : get_int(p, n);
        ret->d = (double)ret->i;
    }
    return (int64_t)n;
}

static bool read_record(const uint8_t *data, size_t size, struct record *ret)
{
    uint64_t header;
    size_t at = get_varint(data, size, &header);
    if (at == 0 || header > size || header < at)
        return false;
    size_t value = (size_t)header;
    for (ret->n = 0; at < header; ret->n++) {
        uint64_t type;
        size_t n = get_varint(data + at, (size_t)header - at, &type);
        if (n == 0 || ret->n == RECORD_VALUES)
            return false;
        int64_t length = get_value(type, data + value, size - value, &ret->values[ret->n]);
        if (length < 0)
            return false;
        at += n;
        value += (size_t)length;
    }
    return ret->n > 0 && value == size;
}

static bool read_cell(struct pages *p, uint32_t page, enum page_kind kind, uint32_t i,
                      struct record *ret)
{
    const uint8_t *data = get_page(p, page);
    size_t at = cell_at(p, page, kind, i);
    uint64_t payload, rowid = 0;
    if (at && kind == PAGE_INDEX_INNER)
        at += 4;
    if (!at || at >= p->usable)
        return false;
    size_t n = get_varint(data + at, p->usable - at, &payload);
    at += n;
    if (n && kind == PAGE_TABLE) {
        n = get_varint(data + at, p->usable - at, &rowid);
        at += n;
    }
    if (n == 0 || payload > MAX_PAYLOAD)
        return false;
    const uint8_t *all = gather(p, kind == PAGE_TABLE, data + at, p->usable - at, (size_t)payload);
    ret->rowid = (int64_t)rowid;
    ret->page = page;
    if (!all || !read_record(all, (size_t)payload, ret))
        return false;
    mark_pieces(p, data + at, local_length(p, kind == PAGE_TABLE, (size_t)payload),
                (size_t)payload);
    return true;
}

int pages_each(struct pages *p, uint32_t page, record_fn *each, void *opaque)
{
    enum page_kind kind = pages_kind(p, page);
    int n_bad = 0;
    if (kind != PAGE_TABLE && kind != PAGE_INDEX && kind != PAGE_INDEX_INNER)
        return 0;
    for (uint32_t i = 0, n = count_cells(p, page); i < n; i++) {
        struct record r;
        if (read_cell(p, page, kind, i, &r))
            each(opaque, &r);
        else
            n_bad++;
    }
    return n_bad;
}

// --- a tree

static void push(struct pages *p, size_t *n_stack, uint32_t page, int *ret_bad)
{
    if (page < 1 || page > p->n) {
        (*ret_bad)++;
        return;
    }
    if (p->known[page] & KNOWN_REACHED)
        return;
    p->known[page] |= KNOWN_REACHED; // so that each is in the stack once
    p->stack[(*n_stack)++] = page;
}

void pages_walk(struct pages *p, uint32_t root, record_fn *each, void *opaque, int *ret_bad)
{
    size_t n_stack = 0;
    push(p, &n_stack, root, ret_bad);
    while (n_stack > 0) {
        uint32_t page = p->stack[--n_stack];
        enum page_kind kind = pages_kind(p, page);
        if (kind == PAGE_OTHER) {
            (*ret_bad)++;
            continue;
        }
        *ret_bad += pages_each(p, page, each, opaque);
        if (kind != PAGE_TABLE_INNER && kind != PAGE_INDEX_INNER)
            continue;
        push(p, &n_stack, get_32(body(p, page) + 8), ret_bad);
        for (uint32_t i = 0, n = count_cells(p, page); i < n; i++) {
            size_t at = cell_at(p, page, kind, i);
            if (at && at + 4 <= p->usable)
                push(p, &n_stack, get_32(get_page(p, page) + at), ret_bad);
        }
    }
}
