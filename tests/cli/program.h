// Running the built koubo from a test: no shell, output caught, a private folder for its files.
#ifndef TESTS_CLI_PROGRAM_H
#define TESTS_CLI_PROGRAM_H

#include "tests/test.h"

struct outcome {
    int status;      // exit code, or 128 + signal
    char *out, *err; // what it printed
};

// Run koubo with these arguments (NULL-terminated) and wait for it; at most two minutes.
void program_run(struct outcome *ret, const char *const *arguments);
#define RUN(ret, ...) program_run(ret, (const char *const[]){__VA_ARGS__, NULL})

// The same in two steps, for tests that send signals. out may be NULL or receives the read end of
// its standard output.
int program_start(const char *const *arguments, int *ret_out);
int program_wait(int pid);

// Run it on a terminal of that many columns, on which the text answer was typed ("" = nothing, the
// end of the input). What it printed, on whichever stream, is in out; err is "".
void program_run_on_terminal(struct outcome *ret, int columns, const char *answer,
                             const char *const *arguments);
#define RUN_ON_TERMINAL(ret, columns, answer, ...)                                                 \
    program_run_on_terminal(ret, columns, answer, (const char *const[]){__VA_ARGS__, NULL})

// Bytes that a file written by the program may have; 0 = no limit.
extern size_t program_file_limit;

// The status, and on failure everything it printed.
#define assert_status(r, wanted)                                                                   \
    do {                                                                                           \
        if ((r)->status != (wanted))                                                               \
            fail_msg("exit code %d, wanted %d\n%s\n%s", (r)->status, (wanted), (r)->out,           \
                     (r)->err);                                                                    \
    } while (0)
#define assert_says(text, part)                                                                    \
    do {                                                                                           \
        if (!strstr(text, part))                                                                   \
            fail_msg("'%s' is not in:\n%s", part, text);                                           \
    } while (0)

// The test's folder, made by folder_setup() (a cmocka set-up), removed by folder_teardown().
int folder_setup(void **state);
int folder_teardown(void **state);
// A path in it, in one of a few static buffers.
const char *in_folder(const char *name);

// Does any file below the folder end in ".part", or is koubo-* left in the temporary folder?
void assert_nothing_half_done(void);
int count_lines(const char *text);

// Materials in the folder; each returns its path (a static buffer as above).
const char *make_text_file(const char *name, const char *content);
const char *make_tone(const char *name, double seconds);                // wav
const char *make_faceless_video(const char *name, int frames);          // mp4, 128x96
const char *make_cut(const char *name, const char *source, long bytes); // its first bytes
const char *make_speech(const char *name);                              // wav, two seconds or so
// A video with a face, outside the folder.
const char *person(void);
// A short video of a person in the folder, made by the program itself from person().
const char *make_talking_video(const char *name);

#endif
