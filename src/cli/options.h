// Option groups that several subcommands share, as argp children: each stands here once, with its
// help text and its checks. Main thread only.
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli/cli.h"
#include "cli/progress.h"
#include "lipsync/dub.h"

#include <argp.h>

// --progress, -v, -q, --help: every subcommand takes them.
struct common_options {
    enum progress_mode progress;
    bool verbose, quiet;
};
extern const struct argp common_argp; // input: struct common_options *

// --model, --precision, --batch-size, --threads.
extern const struct argp engine_argp; // input: struct engine_params *

// Where the speech comes from: -a, or --text and --voice.
struct speech_options {
    const char *audio; // a path; speech_prepare() fills it in when text is given
    const char *text, *voice;
    char *folder; // the private temporary folder of a synthesized speech, or NULL
    char *file;   // in it
};
extern const struct argp speech_argp; // input: struct speech_options *
// Make the file of --text. KB_OK at once when there is an audio file.
enum kb_code speech_prepare(struct speech_options *s, struct kb_error *err);
void speech_cleanup(struct speech_options *s); // remove what speech_prepare made

// Everything about the video, the face and the output that generate and batch have in common.
struct video_options {
    struct dub_params dub;
    const char *track_folder; // NULL = the default cache
    bool no_cache;
};
extern const struct argp video_argp; // input: struct video_options *, preset by video_defaults()
struct video_options video_defaults(void);
// Put the folder of face tracks (none with --no-cache) and its limit into v->job. Returns the folder
// for free() when the job is done.
char *video_track_folder(struct video_options *v);

// Parse all of argv with argp. Ends the process with EXIT_USAGE and a sentence when it is wrong.
void options_parse(const struct argp *argp, int argc, char **argv, void *input);

// "-o=x" means "-o x": what follows a short option with an equals sign.
char *option_path(char *arg);

// A whole number within bounds, or the end of the process with a sentence that names the option.
int option_int(struct argp_state *state, const char *option, const char *arg, int low, int high);
float option_float(struct argp_state *state, const char *option, const char *arg, float low,
                   float high);

#endif
