// What the subcommands share: exit codes, the cancel flag of the process, reporting.
// Thread-safety: cli_cancel() from anywhere, the rest from the main thread.
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/base.h"
#include "base/cancel.h"

#include <stdio.h>

// What the program says to its caller; docs/cli.md explains them.
enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1,      // koubo's own fault
    EXIT_USAGE = 2,       // wrong options
    EXIT_BAD_INPUT = 3,   // a file is missing, damaged or of the wrong kind
    EXIT_NO_SPACE = 4,    // disk or memory used up
    EXIT_UNAVAILABLE = 5, // a model or library is missing here
    EXIT_SOME_FAILED = 6, // some videos of several failed
    EXIT_CANCELLED = 130, // Ctrl-C, as shells count it
};

// Raised by SIGINT and SIGTERM; a second signal ends the process at once.
struct cancel *cli_cancel(void);
void cli_catch_signals(void);

// The sentence of *err on stderr, and the exit code that goes with code. KB_OK says nothing.
int cli_report(enum kb_code code, const struct kb_error *err);

// The exit code after n videos of which some failed, each with its own sentence, and one that says
// how many.
int cli_report_failed(size_t n_failed, size_t n);

// The name nearest to word (at most a third of its letters differ), or NULL.
const char *cli_nearest(const char *word, const char *const *names, size_t n_names);

// What was printed reaches the standard output now. The exit code: status, or, when that was
// EXIT_OK and it cannot be written, EXIT_NO_SPACE with a sentence.
int cli_close_output(int status);

// A question of yes or no, on stderr; the answer comes from the standard input. Anything but a
// clear yes, the end of the input and Ctrl-C are no. Ask only where cli_can_ask(): somebody sits at
// a terminal.
bool cli_can_ask(void);
bool cli_ask(const char *question);

// Choose language and catalogue. lang: "zh", "en", or NULL = by locale. False: no such language.
bool cli_set_language(const char *lang);
bool cli_is_chinese(void); // what was chosen
// For programs that answer people of both languages (kb_language_set_thread): from now on the
// catalogue is the Chinese one, and the process goes on in its language, which is returned: "zh"
// or "en". After the options were parsed, before threads are started.
const char *cli_speak_both_languages(void);

// What is said when neither -v nor -q is given: $KOUBO_LOG. False: it is set to no level.
bool cli_set_log_level(void);

// The subcommands: argv[0] is "koubo NAME". Each returns an exit code.
int cmd_generate(int argc, char **argv);
int cmd_batch(int argc, char **argv);
int cmd_preprocess(int argc, char **argv);
int cmd_dataset(int argc, char **argv);
int cmd_voice(int argc, char **argv);
int cmd_person(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_node(int argc, char **argv);
int cmd_worker(int argc, char **argv);
int cmd_clean(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_label(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
