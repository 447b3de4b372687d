// Answers of Redis, in its protocol RESP2. hiredis's reader takes them apart; but it waits until
// the whole of a string has come, however long that says it is, and makes a list as long as it is
// told. So what is too much never reaches it: a filter before it looks at the lines alone and puts
// a nil in the place of a string that is too long, whose bytes run out; and of a list with more
// elements than an answer may have pieces nothing is kept.
#include "cluster/internal.h"

#include <stdlib.h>
#include <string.h>

#define LINE_BYTES   4096               // an error or a status; numbers are shorter
#define RAW_BYTES    (INT64_C(1) << 30) // of an answer with what is left out
#define STRING_LIMIT (INT64_C(1) << 29) // Redis's own (proto-max-bulk-len)

struct redis_answer {
    redisReader *reader;
    char line[LINE_BYTES];
    size_t n_line;
    int64_t body;      // bytes to come of a string and the line end behind it
    bool is_kept;      // those go to the reader
    int64_t kept, raw; // bytes of this answer
    int pieces;        // of this answer, also those that its lists promise
    bool is_broken;
};

// --- what hiredis calls to make a reply, as its own functions do, but counted

// In the place of a list of which nothing is kept: what belongs to it finds it as its parent.
static redisReply left_out;

#if HIREDIS_MAJOR >= 1
typedef size_t list_length;
#else
typedef int list_length;
#endif

static redisReply *parent_of(const redisReadTask *task)
{
    return task->parent ? task->parent->obj : NULL;
}

// NULL: nothing of it is kept.
static redisReply *make(const redisReadTask *task, int type)
{
    struct redis_answer *a = task->privdata;
    redisReply *parent = parent_of(task);
    if (parent == &left_out)
        return NULL;
    redisReply *r = kb_alloc(sizeof(*r));
    r->type = type;
    if (parent)
        parent->element[task->idx] = r;
    else
        a->pieces++;
    return r;
}

static void *make_string(const redisReadTask *task, char *text, size_t n)
{
    redisReply *r = make(task, task->type);
    if (!r)
        return &left_out;
    r->str = kb_alloc(n + 1);
    memcpy(r->str, text, n);
    r->len = n;
    return r;
}

static void *make_list(const redisReadTask *task, list_length n)
{
    struct redis_answer *a = task->privdata;
    // What lists have promised may be more than that already: then not even an empty one is kept.
    bool is_kept = (int64_t)n >= 0 && (int64_t)n <= (int64_t)REDIS_ANSWER_PIECES - a->pieces;
    redisReply *r = make(task, is_kept ? REDIS_REPLY_ARRAY : REDIS_REPLY_NIL);
    if (!r)
        return &left_out;
    if (!is_kept && parent_of(task))
        return &left_out;
    if (!is_kept) {
        free(r);
        return &left_out;
    }
    a->pieces += (int)n;
    r->elements = (size_t)n;
    r->element = n > 0 ? kb_alloc((size_t)n * sizeof(*r->element)) : NULL;
    return r;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    redisReply *r = make(task, REDIS_REPLY_INTEGER);
    if (!r)
        return &left_out;
    r->integer = value;
    return r;
}

static void *make_nil(const redisReadTask *task)
{
    redisReply *r = make(task, REDIS_REPLY_NIL);
    return r ? r : &left_out;
}

static void free_reply(void *reply)
{
    if (reply && reply != &left_out)
        freeReplyObject(reply);
}

static redisReplyObjectFunctions makers = {
    .createString = make_string,
    .createArray = make_list,
    .createInteger = make_integer,
    .createNil = make_nil,
    .freeObject = free_reply,
};

// --- the filter

struct redis_answer *redis_answer_new(void)
{
    struct redis_answer *a = kb_alloc(sizeof(*a));
    a->reader = redisReaderCreateWithFunctions(&makers);
    if (!a->reader)
        abort(); // memory is out
    a->reader->privdata = a;
    return a;
}

void redis_answer_free(struct redis_answer **answer)
{
    struct redis_answer *a = TAKE(*answer);
    if (!a)
        return;
    redisReaderFree(a->reader);
    free(a);
}

static bool give(struct redis_answer *a, const char *data, size_t n)
{
    return n == 0 || redisReaderFeed(a->reader, data, n) == REDIS_OK;
}

// The length that a line "$123\r\n" tells, -1 for the nil of that protocol, -2: it is none.
static int64_t length_of(const char *line, size_t n)
{
    if (n == 5 && memcmp(line, "$-1\r\n", 5) == 0)
        return -1;
    int64_t value = 0;
    if (n < 4 || n > 13)
        return -2;
    for (size_t i = 1; i + 2 < n; i++) {
        if (line[i] < '0' || line[i] > '9')
            return -2;
        value = value * 10 + (line[i] - '0');
    }
    return value;
}

// A whole line, with its end.
static bool take_line(struct redis_answer *a)
{
    size_t n = a->n_line;
    a->n_line = 0;
    if (n < 3 || a->line[n - 2] != '\r' || !strchr("+-:*$", a->line[0]))
        return false;
    if (a->line[0] != '$')
        return give(a, a->line, n);
    int64_t length = length_of(a->line, n);
    if (length == -1)
        return give(a, a->line, n);
    if (length < 0 || length > STRING_LIMIT)
        return false;
    a->body = length + 2;
    a->is_kept = length <= REDIS_STRING_BYTES && a->kept + length <= REDIS_ANSWER_BYTES;
    if (!a->is_kept)
        return give(a, "$-1\r\n", 5);
    a->kept += length;
    return give(a, a->line, n);
}

static bool feed(struct redis_answer *a, const char *data, size_t n)
{
    while (n > 0) {
        size_t step;
        if (a->body > 0) {
            step = (size_t)KB_MIN(a->body, (int64_t)n);
            if (a->is_kept && !give(a, data, step))
                return false;
            a->body -= (int64_t)step;
        } else {
            const char *end = memchr(data, '\n', n);
            step = end ? (size_t)(end - data) + 1 : n;
            if (step > sizeof(a->line) - a->n_line)
                return false;
            memcpy(a->line + a->n_line, data, step);
            a->n_line += step;
            if (end && !take_line(a))
                return false;
        }
        a->raw += (int64_t)step;
        data += step;
        n -= step;
    }
    return a->raw <= RAW_BYTES;
}

bool redis_answer_feed(struct redis_answer *a, const char *data, size_t n)
{
    a->is_broken = a->is_broken || !feed(a, data, n);
    return !a->is_broken;
}

bool redis_answer_next(struct redis_answer *a, redisReply **ret)
{
    *ret = NULL;
    if (a->is_broken)
        return false;
    void *reply = NULL;
    a->is_broken = redisReaderGetReply(a->reader, &reply) != REDIS_OK;
    if (a->is_broken || !reply)
        return !a->is_broken;
    if (reply == &left_out) {
        redisReply *r = kb_alloc(sizeof(*r));
        r->type = REDIS_REPLY_NIL;
        reply = r;
    }
    *ret = reply;
    a->kept = a->raw = 0;
    a->pieces = 0;
    return true;
}
