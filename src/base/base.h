// What every layer may use: errors as sentences, cleanup by scope, translation marks.
// Thread-safety: everything here is safe from any thread.
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <libintl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A local that is released at the end of its scope: CLEANUP(reader_close) struct reader *r = NULL;
#define CLEANUP(fn) __attribute__((cleanup(fn)))

// Hand a CLEANUP local over to somebody else: *ret = TAKE(r);
// clang-format off
#define TAKE(p) ({ __auto_type take_ = (p); (p) = NULL; take_; })
// clang-format on

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
// Of bytes, as people, disks and the page count them: a GB is 10^9 everywhere.
#define KB_MB                1e6
#define KB_GB                1e9
#define KB_MIN(a, b)         ((a) < (b) ? (a) : (b))
#define KB_MAX(a, b)         ((a) > (b) ? (a) : (b))
#define KB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

// Text for people. _() translates now, N_() only marks a text that is translated where it is shown.
#define _(text)  kb_text(text)
#define N_(text) (text)

// The text in the language of this thread, else of the process. The sources are in English, so
// English is the text as it stands and every other language comes from the catalogue.
const char *kb_text(const char *text) __attribute__((format_arg(1)));

// Which language _() speaks: SOURCE = English, CATALOGUE = what gettext was set up for. A thread
// that has not chosen (or chose DEFAULT) speaks the process's language, that of its terminal and
// its log. A server answers each of its users in theirs.
enum kb_language { KB_LANGUAGE_DEFAULT, KB_LANGUAGE_SOURCE, KB_LANGUAGE_CATALOGUE };
#define KB_LANGUAGES (KB_LANGUAGE_CATALOGUE + 1)         // of arrays that have one place for each
void kb_language_set_process(enum kb_language language); // DEFAULT = CATALOGUE
enum kb_language kb_language_process(void);
enum kb_language kb_language_set_thread(enum kb_language language); // returns the one before

// By the names that users give: "en" is English, all else (NULL, too) Chinese; and back.
enum kb_language kb_language_of(const char *name);
const char *kb_language_name(enum kb_language language);

// strerror() in the language of _().
const char *kb_strerror(int number);

enum kb_code {
    KB_OK,
    KB_EOF,         // nothing more to read; not an error
    KB_CANCELLED,   // the caller's cancel flag was raised
    KB_BAD_INPUT,   // the user's file or option is wrong
    KB_NOT_FOUND,   // a named thing does not exist
    KB_NO_SPACE,    // memory or disk is used up
    KB_UNAVAILABLE, // a needed program, model or device is missing here
    KB_INTERNAL,    // koubo's own fault
};

// What went wrong, as a sentence. Lives in the caller's frame: reporting never allocates.
// Untouched on success. Zero-initialise it.
struct kb_error {
    enum kb_code code;
    char text[600]; // in the language of the thread that reported
    char kept[800]; // to be stored: base/sentence.h says it in any language
};

// Fill *err (may be NULL) with a sentence and return code.
enum kb_code kb_fail(struct kb_error *err, enum kb_code code, const char *fmt, ...) KB_PRINTF(3, 4);

// Put "context: " before what *err already says and return its code (KB_INTERNAL if err is NULL).
// A context that ends with a space is followed by the rest at once.
enum kb_code kb_wrap(struct kb_error *err, const char *fmt, ...) KB_PRINTF(2, 3);

// The sentence for memory that ran out.
enum kb_code kb_no_memory(struct kb_error *err);

// What clang's analyzer, which looks at one file at a time, cannot know: that these return what the
// caller fails with, and so never KB_OK.
#ifdef __clang_analyzer__
#define kb_fail(err, code, ...) ((kb_fail)(err, code, __VA_ARGS__), (code))
#define kb_no_memory(err)       ((kb_no_memory)(err), KB_NO_SPACE)
#endif

// For CLEANUP on a malloc'd pointer of any type: CLEANUP(kb_freep) char *s = …;
void kb_freep(void *pointer_to_pointer);

// Room for one more in a list of n that was malloc'd and may hold *capacity of size bytes each; it
// may move. list: the address of the pointer to it. False: memory is out, the list is as it was.
bool kb_grow(void *list, int n, int *capacity, size_t size);

// malloc for small fixed sizes and strings, where running out means the process is lost anyway.
void *kb_alloc(size_t size);                           // zeroed, aborts when memory is out
char *kb_strdup(const char *s);                        // s may be NULL, then NULL
char *kb_printf(const char *fmt, ...) KB_PRINTF(1, 2); // a new string, free()

// Memory whose size comes from a file: zeroed n * size bytes, or NULL on overflow or when out.
void *kb_calloc_checked(size_t n, size_t size);

// n lower-case hex digits from the system's random source, and a NUL: ret holds n + 1 bytes.
void kb_random_hex(char *ret, size_t n);

// Wall clock in milliseconds since 1970, for what is stored.
int64_t kb_wall_ms(void);

// Monotonic time in microseconds, for durations only.
int64_t kb_now_us(void);

// Number of processors this process may run on (its affinity mask), at least 1.
int kb_cpu_count(void);

#endif
