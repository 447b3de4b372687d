// Option groups that several subcommands share, as argp children: each stands here once, with its
// help text and its checks. Main thread only.
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli/cli.h"
#include "cli/inputs.h"
#include "cli/progress.h"
#include "lipsync/dub.h"
#include "media/words.h"
#include "store/store.h"
#include "worker/supervisor.h"

#include <argp.h>

// --progress, -v, -q, --help: every subcommand takes them.
struct common_options {
    enum progress_mode progress;
    bool verbose, quiet;
};
extern const struct argp common_argp; // input: struct common_options *

// --threads, for what has no more of the engine.
extern const struct argp threads_argp; // input: int *, 0 = not given

// --model, --precision, --batch-size, --threads.
extern const struct argp engine_argp; // input: struct engine_params *

// Of those who keep workers, beside --workers: --threads, --memory, --precision, --hang-timeout,
// --no-sandbox, in a group 12 whose head the command's own table has, and --log-format in its
// group 11.
extern const struct argp workers_argp; // input: struct supervisor_params *
struct supervisor_params workers_defaults(void);

// --data, for commands that look at a server's folder and take no arguments.
extern const struct argp data_argp; // input: const char **
// The store in that folder, NULL = where koubo serve has it. No folder is made.
enum kb_code data_open(struct store **ret, const char *folder, struct kb_error *err);

// Where the speech comes from: -a, or --text with --voice, --speed and --pause.
struct speech_options {
    const char *audio;     // a path; speech_prepare() fills it in when text is given
    struct inputs *audios; // where several are taken, all of them; else NULL
    bool optional;         // neither is fine
    const char *text, *voice;
    double speed; // 0 = as the voice speaks
    bool has_pause;
    int pause_ms;       // between sentences
    struct words words; // what is said when; of a text, once speech_prepare() has made its speech
    char *folder;       // the private temporary folder of a synthesized speech, or NULL
    char *file;         // in it
};
extern const struct argp speech_argp; // input: struct speech_options *
// Make the file of --text. KB_OK at once when there is an audio file.
enum kb_code speech_prepare(struct speech_options *s, struct kb_error *err);
void speech_cleanup(struct speech_options *s); // what that made; its words

// What generate and batch have in common: the speech, the video, the face, the output, the network.
struct dub_options {
    struct common_options common;
    struct engine_params engine;
    struct speech_options speech;
    struct dub_params dub;
    const char *track_folder; // as the user named it; NULL = the default cache
    bool no_cache;
    bool label_said; // --ai-label, else the language decides
    // What was said of those that exclude each other: where one was, a person's other one goes.
    bool background_said, alpha_said, crf_said, bitrate_said;
    bool subtitles_spoken, subtitles_as_said, subtitles_styled; // what of --subtitle… was given
    char *subtitles_text;                                       // that --subtitles-text read
    char *tracks, *networks; // folders that dub_options_prepare() chose, or NULL
};
extern const struct argp dub_argp; // input: struct dub_options *, preset by dub_options_defaults()
struct dub_options dub_options_defaults(void);
// After parsing: puts cache folders, threads and the cancel flag where the engine and the dub look
// for them.
void dub_options_prepare(struct dub_options *o);
void dub_options_free(struct dub_options *o); // and removes what speech_prepare() made

// Parse all of argv with argp. Ends the process with EXIT_USAGE and a sentence when it is wrong.
void options_parse(const struct argp *argp, int argc, char **argv, void *input);

// "-o=x" means "-o x": what follows a short option with an equals sign.
char *option_path(char *arg);

// Which face speaks, of --face.
void option_face(struct argp_state *state, const char *arg, enum face_choice *ret, int *ret_number);

// A whole number within bounds, or the end of the process with a sentence that names the option.
int option_int(struct argp_state *state, const char *option, const char *arg, int low, int high);
float option_float(struct argp_state *state, const char *option, const char *arg, float low,
                   float high);
// Gigabytes, not below low of them: bytes.
int64_t option_gb(struct argp_state *state, const char *option, const char *arg, float low);

#endif
