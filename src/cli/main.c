// koubo: makes people in videos say what an audio file says. This file only picks the subcommand.
#include "cli/cli.h"

#include "base/log.h"
#include "base/text.h"
#include "cli/help.h"
#include "cli/version.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"serve", cmd_serve, N_("the web page, the API and the queue of batches")},
    {"generate", cmd_generate, N_("one speech and one video to one lip-synced video")},
    {"batch", cmd_batch, N_("one speech, many videos")},
    {"preprocess", cmd_preprocess, N_("find the faces of videos ahead of time")},
    {"voice", cmd_voice, N_("voices that speak texts: add, try, list and use them")},
    {"person", cmd_person, N_("people: a film with its settings under a name")},
    {"model", cmd_model, N_("list, inspect, convert and run model files")},
    {"dataset", cmd_dataset, N_("make training data out of videos of people who speak")},
    {"eval", cmd_eval, N_("measure how well lips follow, against the true video")},
    {"bench", cmd_bench, N_("measure how fast this machine is")},
    {"demo", cmd_demo, N_("make a talking picture, without any file of yours")},
    {"doctor", cmd_doctor, N_("say whether all is well here, and what to do if not")},
    {"clean", cmd_clean, N_("remove what the server no longer needs")},
    {"restore", cmd_restore, N_("take results that the server's database lost back in")},
    {"label", cmd_label, N_("say what a film says of being made by AI, or put that into it")},
    {"node", cmd_node, N_("make videos for the head of a cluster")},
    {"worker", cmd_worker, N_("work through the queue; started by koubo serve")},
};

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void print_help(void)
{
    help_paragraph(_("koubo makes people in videos say what an audio file says."));
    printf("\n%skoubo [--lang zh|en] %s\n\n", _("Usage: "), _("COMMAND [OPTION...]"));
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        help_row(commands[i].name, 15, _(commands[i].help));
    printf("\n%s\n  koubo generate -a speech.wav -i person.mp4 -o out.mp4\n"
           "  koubo batch -a speech.mp3 videos/*.mp4 -o outputs/\n\n",
           _("For example:"));
    help_paragraph(_("koubo COMMAND --help tells the options of a command."));
    help_paragraph(_("koubo --version -v tells the versions of koubo and of what it stands on."));
}

static int unknown_command(const char *name)
{
    const char *names[ARRAY_LEN(commands)];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        names[i] = commands[i].name;
    const char *nearest = cli_nearest(name, names, ARRAY_LEN(names));
    if (nearest)
        log_error(_("there is no command '%s'; did you mean '%s'? koubo --help lists them all"),
                  name, nearest);
    else
        log_error(_("there is no command '%s'; koubo --help lists them all"), name);
    return EXIT_USAGE;
}

// Take --lang X or --lang=X out of argv, wherever it stands before "--". Returns X or NULL; a
// missing X is "".
static const char *take_language(int *argc, char **argv)
{
    const char *lang = NULL;
    int n = 0;
    bool options = true;
    for (int i = 0; i < *argc; i++) {
        options = options && strcmp(argv[i], "--") != 0;
        if (options && strcmp(argv[i], "--lang") == 0)
            lang = i + 1 < *argc ? argv[++i] : "";
        else if (options && text_begins(argv[i], "--lang="))
            lang = argv[i] + 7;
        else
            argv[n++] = argv[i];
    }
    argv[n] = NULL;
    *argc = n;
    return lang;
}

// Threads of libgomp spin while they wait, which takes the processor from decoder and encoder. And
// it ends the process if it may not bind them to processors, which a worker's cage forbids. The
// library reads these settings before main(), so they can only be given to a new process image.
static void start_again_with_quiet_threads(const struct command *command, char **argv)
{
    static const char *const binding[] = {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"};
    bool again = !getenv("OMP_WAIT_POLICY");
    if (again)
        setenv("OMP_WAIT_POLICY", "passive", 1);
    for (size_t i = 0; command->run == cmd_worker && i < ARRAY_LEN(binding); i++) {
        again = again || getenv(binding[i]);
        unsetenv(binding[i]);
    }
    if (again)
        execv("/proc/self/exe", argv); // if this fails the program is only slower
}

int main(int argc, char **argv)
{
    char **original = kb_alloc(((size_t)argc + 1) * sizeof(*original));
    memcpy(original, argv, (size_t)argc * sizeof(*original));
    const char *lang = take_language(&argc, argv);
    prctl(PR_SET_NAME, "koubo"); // started again by /proc/self/exe it would be called "exe"
    const struct command *command = argc > 1 ? command_find(argv[1]) : NULL;
    if (command)
        start_again_with_quiet_threads(command, original);
    free(original);

    bool known = cli_set_language(lang);
    if (!known) {
        cli_set_language(NULL);
        log_error(_("there is no language '%s'; --lang takes zh or en"), lang);
        return EXIT_USAGE;
    }
    if (!cli_set_log_level()) {
        log_error(_("%s takes one of %s, not '%s'"), "KOUBO_LOG",
                  "error, warn, info, verbose, debug", getenv("KOUBO_LOG"));
        return EXIT_USAGE;
    }
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help();
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        version_print(
            stdout, argc > 2 && (strcmp(argv[2], "--verbose") == 0 || strcmp(argv[2], "-v") == 0));
        return EXIT_OK;
    }
    if (!command)
        return unknown_command(argv[1]);

    cli_catch_signals();
    CLEANUP(kb_freep) char *name = kb_printf("koubo %s", command->name);
    argv[1] = name;
    return cli_close_output(command->run(argc - 1, argv + 1));
}
