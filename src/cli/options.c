#include "cli/options.h"

#include "base/cache.h"
#include "base/file.h"
#include "base/log.h"
#include "base/place.h"
#include "cli/finish/finish.h"
#include "cli/help.h"
#include "cli/speech.h"
#include "media/recital.h"
#include "media/voice.h"
#include "media/writer.h"

#include <errno.h>
#include <libavutil/parseutils.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Long options without a letter.
enum {
    OPT_PROGRESS = 256,
    OPT_USAGE,
    OPT_LANG,
    OPT_MODEL,
    OPT_PRECISION,
    OPT_BATCH_SIZE,
    OPT_THREADS,
    OPT_DATA,
    OPT_TEXT,
    OPT_VOICE,
    OPT_SPEED,
    OPT_PAUSE,
    OPT_FACE,
    OPT_FACE_AT,
    OPT_MOUTH_AMOUNT,
    OPT_MOUTH_FROM,
    OPT_STYLE_FROM,
    OPT_STILL_MOTION,
    OPT_PAINT,
    OPT_PADS,
    OPT_NOSMOOTH,
    OPT_LOOP,
    OPT_KEEP_VIDEO,
    OPT_START,
    OPT_DURATION,
    OPT_HEIGHT,
    OPT_DENOISE,
    OPT_COPY,
    OPT_LOUDNORM,
    OPT_CRF,
    OPT_PRESET,
    OPT_HDR,
    OPT_BITRATE,
    OPT_MASK_FEATHER,
    OPT_MASK_DILATE,
    OPT_SHARPEN,
    OPT_TRACK_DIR,
    OPT_NO_CACHE,
};

void options_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    argp_err_exit_status = EXIT_USAGE;
    // Its one line of where to read more is broken by bytes, in the middle of a command in Chinese.
    setenv("ARGP_HELP_FMT", "rmargin=1000", 0);
    // --help is ours (help.h), in common_argp.
    if (argp_parse(argp, argc, argv, ARGP_NO_HELP, NULL, input) != 0)
        exit(EXIT_USAGE);
    log_debug("%s, version %s, process %d, %d processors", argv[0], KOUBO_VERSION, (int)getpid(),
              kb_cpu_count());
}

char *option_path(char *arg)
{
    return arg[0] == '=' ? arg + 1 : arg;
}

int option_int(struct argp_state *state, const char *option, const char *arg, int low, int high)
{
    char *end;
    errno = 0;
    long value = strtol(arg, &end, 10);
    if (end == arg || *end || errno || value < low || value > high)
        argp_error(state, _("%s takes a whole number from %d to %d, not '%s'"), option, low, high,
                   arg);
    return (int)value;
}

float option_float(struct argp_state *state, const char *option, const char *arg, float low,
                   float high)
{
    char *end;
    float value = strtof(arg, &end);
    if (end == arg || *end || !(value >= low && value <= high))
        argp_error(state, _("%s takes a number from %g to %g, not '%s'"), option, (double)low,
                   (double)high, arg);
    return value;
}

int64_t option_gb(struct argp_state *state, const char *option, const char *arg, float low)
{
    return (int64_t)((double)option_float(state, option, arg, low, 1e6f) * KB_GB);
}

static int64_t option_time(struct argp_state *state, const char *option, const char *arg)
{
    int64_t us;
    if (av_parse_time(&us, arg, 1) < 0 || us < 0)
        argp_error(state, _("%s takes seconds (12.5) or HH:MM:SS.m, not '%s'"), option, arg);
    return us;
}

void option_face(struct argp_state *state, const char *arg, enum face_choice *ret, int *ret_number)
{
    if (!face_choice_parse(arg, ret, ret_number))
        argp_error(state, _("%s takes one of %s, not '%s'"), "--face",
                   "largest, left, right, center, 1, 2, 3…", arg);
}

// One of the words of a list, or the end of the process with a sentence that lists them.
static size_t option_word(struct argp_state *state, const char *option, const char *arg,
                          const char *const *words, size_t n_words)
{
    char list[256] = "";
    for (size_t i = 0; i < n_words; i++) {
        if (strcmp(arg, words[i]) == 0)
            return i;
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", words[i]);
    }
    argp_error(state, _("%s takes one of %s, not '%s'"), option, list, arg);
    return 0;
}

// --- what every subcommand takes

static const struct argp_option common_options[] = {
    {NULL, 0, NULL, 0, N_("What every command takes:"), 90},
    {"progress", OPT_PROGRESS, "MODE", 0,
     N_("how to show progress: bar, lines, json (one object a line on the standard output) or "
        "none (default: bar on a terminal, else lines)"),
     90},
    {"verbose", 'v', NULL, 0,
     N_("say more; twice (-vv): also what helps to look for faults. The variable KOUBO_LOG does "
        "the same: error, warn, info, verbose or debug"),
     90},
    {"quiet", 'q', NULL, 0, N_("say nothing but warnings and errors"), 90},
    {"lang", OPT_LANG, "zh|en", 0, N_("language of the messages (default: by locale)"), 90},
    {"help", 'h', NULL, 0, N_("show this help"), 90},
    {"usage", OPT_USAGE, NULL, 0, N_("show the options in short"), 90},
    {0},
};

static error_t common_parse(int key, char *arg, struct argp_state *state)
{
    static const char *const modes[] = {"auto", "bar", "lines", "json", "none"};
    struct common_options *o = state->input;
    switch (key) {
    case OPT_PROGRESS:
        o->progress =
            (enum progress_mode)option_word(state, "--progress", arg, modes, ARRAY_LEN(modes));
        return 0;
    case 'v':
        log_set_level(o->verbose ? LOG_DEBUG : LOG_VERBOSE);
        o->verbose = true;
        return 0;
    case 'q':
        o->quiet = true;
        o->progress = PROGRESS_NONE;
        log_set_level(LOG_WARN);
        return 0;
    case 'h':
        help_print(state);
        exit(cli_close_output(EXIT_OK));
    case OPT_USAGE:
        help_print_usage(state);
        exit(cli_close_output(EXIT_OK));
    default: // --lang was taken out by main()
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp common_argp = {
    .options = common_options, .parser = common_parse, .argp_domain = "koubo"};

// --- small ones

static const struct argp_option threads_options[] = {
    {"threads", OPT_THREADS, "N", 0, N_("threads, 1 to 1024 (default: as many as processors)"), 50},
    {0},
};

static error_t threads_parse(int key, char *arg, struct argp_state *state)
{
    if (key != OPT_THREADS)
        return ARGP_ERR_UNKNOWN;
    *(int *)state->input = option_int(state, "--threads", arg, 1, 1024);
    return 0;
}

const struct argp threads_argp = {
    .options = threads_options, .parser = threads_parse, .argp_domain = "koubo"};

static const struct argp_option data_options[] = {
    {"data", OPT_DATA, "FOLDER", 0,
     N_("the server's data folder (default: $KOUBO_DATA, else koubo in the home folder's "
        ".local/share)"),
     10},
    {0},
};

static error_t data_parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case OPT_DATA:
        *(const char **)state->input = option_path(arg);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, _("'%s' is not needed; this command takes options only"), arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp data_argp = {
    .options = data_options, .parser = data_parse, .argp_domain = "koubo"};

enum kb_code data_open(struct store **ret, const char *folder, struct kb_error *err)
{
    CLEANUP(kb_freep) char *own = folder ? NULL : store_default_folder();
    return store_open(ret, folder ? folder : own, false, err);
}

// --- the networks

static const struct argp_option engine_options[] = {
    {NULL, 0, NULL, 0, N_("Network and computing:"), 50},
    {"model", OPT_MODEL, "FILE", 0,
     N_("what makes the mouth: koubo-lips-research, which hears best but is for evaluation and "
        "non-commercial use only, koubo-lips, which anyone may use for anything, or the file of "
        "another listener, which all move the person's own lips, or a Wav2Lip checkpoint (.pth, "
        ".pt or .onnx), which paints them (default: koubo-lips-research)"),
     50},
    {"precision", OPT_PRECISION, "P", 0,
     N_("of Wav2Lip: auto, f32, bf16 or int8 (default: auto, the fastest that koubo bench --tune "
        "measured here, else by the processor's instructions)"),
     50},
    {"batch-size", OPT_BATCH_SIZE, "N", 0, N_("frames per run of Wav2Lip, 1 to 256 (default: 8)"),
     50},
    {0},
};

static error_t engine_parse(int key, char *arg, struct argp_state *state)
{
    struct engine_params *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->threads;
        return 0;
    case OPT_MODEL:
        o->model = arg;
        return 0;
    case OPT_PRECISION:
        if (!precision_parse(arg, &o->precision))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--precision",
                       "auto, f32, bf16, int8", arg);
        return 0;
    case OPT_BATCH_SIZE:
        o->batch = option_int(state, "--batch-size", arg, 1, 256);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child engine_children[] = {{&threads_argp, 0, NULL, 0}, {0}};

const struct argp engine_argp = {.options = engine_options,
                                 .parser = engine_parse,
                                 .children = engine_children,
                                 .argp_domain = "koubo"};

// --- the speech

static const struct argp_option speech_options[] = {
    {"audio", 'a', "FILE", 0, N_("the speech: any file with sound"), 10},
    {"text", OPT_TEXT, "TEXT", 0, N_("speak this text instead of a file"), 10},
    {"voice", OPT_VOICE, "NAME", 0,
     N_("voice for --text: one that koubo voice list shows, or a name of espeak-ng: zh, en, en-us… "
        "(default: by the text)"),
     10},
    {"speed", OPT_SPEED, "X", 0,
     N_("how fast --text is spoken, 0.5 to 2 (default: 1, as the voice speaks)"), 10},
    {"pause", OPT_PAUSE, "SECONDS", 0,
     N_("silence between sentences of --text, 0 to 5; twice as long between its lines (default: "
        "0.35)"),
     10},
    {0},
};

static error_t speech_parse(int key, char *arg, struct argp_state *state)
{
    struct speech_options *o = state->input;
    switch (key) {
    case 'a':
        o->audio = option_path(arg);
        if (o->audios)
            inputs_append(o->audios, kb_strdup(o->audio));
        return 0;
    case OPT_TEXT:
        o->text = arg;
        return 0;
    case OPT_VOICE:
        o->voice = arg;
        return 0;
    case OPT_SPEED:
        o->speed = (double)option_float(state, "--speed", arg, VOICE_LEAST_SPEED, VOICE_MOST_SPEED);
        return 0;
    case OPT_PAUSE:
        o->pause_ms =
            (int)(option_float(state, "--pause", arg, 0, RECITAL_MOST_PAUSE_MS / 1000.0f) * 1000 +
                  0.5f);
        o->has_pause = true;
        return 0;
    case ARGP_KEY_END:
        if (!o->audio && !o->text && !o->optional)
            argp_error(state, "%s", _("no speech: give a file with -a FILE or a text with --text"));
        if (o->audio && o->text)
            argp_error(state, "%s", _("-a and --text are two speeches; give one of them"));
        if (o->voice && !o->text)
            argp_error(state, "%s", _("--voice needs --text"));
        if ((o->speed > 0 || o->has_pause) && !o->text)
            argp_error(state, "%s", _("--speed and --pause need --text"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp speech_argp = {
    .options = speech_options, .parser = speech_parse, .argp_domain = "koubo"};

enum kb_code speech_prepare(struct speech_options *s, struct kb_error *err)
{
    if (!s->text)
        return KB_OK;
    enum kb_code code = place_make(&s->folder, "koubo", err);
    if (code != KB_OK)
        return code;
    s->file = path_join(s->folder, "speech.wav");
    s->audio = s->file;
    const struct speech_wish wish = {
        .path = s->file,
        .text = s->text,
        .voice = s->voice,
        .speed = s->speed,
        .has_pause = s->has_pause,
        .pause_ms = s->pause_ms,
        .folder = s->folder,
    };
    return speech_make(&wish, &s->words, err);
}

void speech_cleanup(struct speech_options *s)
{
    words_free(&s->words);
    kb_freep(&s->file);
    place_end(&s->folder);
}

// --- the dub

static const struct argp_option dub_options[] = {
    {NULL, 0, NULL, 0, N_("Which part, which face:"), 20},
    {"start", OPT_START, "TIME", 0,
     N_("begin there in the video: seconds or HH:MM:SS.m (default: 0)"), 20},
    {"duration", OPT_DURATION, "TIME", 0, N_("make no more than this (default: all)"), 20},
    {"face", OPT_FACE, "WHICH", 0,
     N_("who speaks: largest, left, right, center, or a number from 1 in order of size (default: "
        "largest)"),
     20},
    {"face-at", OPT_FACE_AT, "X,Y[,SECONDS]", 0,
     N_("who speaks: the person at this point, as fractions of the picture from its left and top, "
        "such as 0.25,0.4; 0.25,0.4,12.5 is who is there 12.5 seconds into the video (default: "
        "the first one there)"),
     20},
    {"loop", OPT_LOOP, "HOW", 0,
     N_("when the speech is longer than the video: pingpong, restart, freeze or none (default: "
        "pingpong)"),
     20},
    {"keep-video", OPT_KEEP_VIDEO, NULL, 0,
     N_("when the speech is shorter: keep the rest of the video untouched (default: end with the "
        "speech)"),
     20},
    {"track-dir", OPT_TRACK_DIR, "FOLDER", 0,
     N_("where koubo preprocess put the face tracks (default: the cache in the home folder)"), 20},
    {"preprocessed", OPT_TRACK_DIR, NULL, OPTION_ALIAS, NULL, 20},
    {"no-cache", OPT_NO_CACHE, NULL, 0, N_("neither look for face tracks nor keep them"), 20},

    {NULL, 0, NULL, 0, N_("Mouth:"), 30},
    {"mouth-amount", OPT_MOUTH_AMOUNT, "X", 0,
     N_("how far the mouth opens, 0 to 3 (default: 1, as far as the person opens it in the video)"),
     30},
    {"mouth-from", OPT_MOUTH_FROM, "FILE", 0,
     N_("take teeth and tongue from another video of the same person (default: from this one)"),
     30},
    {"style-from", OPT_STYLE_FROM, "FILE|self|no", 0,
     N_("learn how the person speaks from a video with their own voice: another one, self, or no "
        "for the lips of an average speaker (default: self; 10 s of speech or more are needed)"),
     30},
    {"still-motion", OPT_STILL_MOTION, "X", 0,
     N_("how much the head and the eyelids of a still picture move, 0 to 1 (default: 0.5)"), 30},

    {NULL, 0, NULL, 0, N_("Mouth, with a Wav2Lip checkpoint:"), 35},
    {"paint", OPT_PAINT, "yes|no", 0,
     N_("show the mouth as the checkpoint paints it, or only move the person's own lips to its "
        "shape, as sharp as the video (default: yes)"),
     35},
    {"pads", OPT_PADS, "T B L R", 0,
     N_("grow the face box at top, bottom, left and right, in pixels (default: 0 10 0 0)"), 35},
    {"nosmooth", OPT_NOSMOOTH, NULL, 0, N_("do not smooth the face's place over time"), 35},
    {"mask-feather", OPT_MASK_FEATHER, "X", 0,
     N_("soft rim of the mouth's mask, as a fraction of the face's width, 0 to 1 (default: 0.10)"),
     35},
    {"mask-dilate", OPT_MASK_DILATE, "X", 0,
     N_("grow the mask by this fraction of the face's width, 0 to 1 (default: 0.04)"), 35},
    {"sharpen", OPT_SHARPEN, "X", 0, N_("sharpen the mouth, 0 to 5 (default: 0)"), 35},

    {NULL, 0, NULL, 0, N_("Picture and sound:"), 40},
    {"height", OPT_HEIGHT, "N", 0, N_("scale down to N rows, 64 or more (default: as the video)"),
     40},
    {"denoise", OPT_DENOISE, NULL, 0, N_("take noise out of the picture"), 40},
    {"loudnorm", OPT_LOUDNORM, NULL, 0, N_("bring the speech to -16 LUFS"), 40},
    {"crf", OPT_CRF, "N", 0, N_("quality of H.264, 0 (best) to 51 (default: 18)"), 40},
    {"preset", OPT_PRESET, "NAME", 0,
     N_("effort of x264: ultrafast to placebo (default: auto, between superfast and veryfast)"),
     40},
    {"copy", OPT_COPY, "yes|no", 0,
     N_("take over stretches in which nothing is drawn as the video has them encoded, where that "
        "fits: quicker, and nothing of them is lost; no encodes all pictures anew (default: yes)"),
     40},
    {"hdr", OPT_HDR, "sdr|keep", 0,
     N_("films of ten bits, HDR among them: sdr makes ordinary colours in H.264, which play "
        "everywhere, keep writes HEVC of ten bits with the colours of the film (default: sdr)"),
     40},
    {"bitrate", OPT_BITRATE, "source", 0, N_("use the video's own bitrate instead of --crf"), 40},
    {0},
};

static bool parse_whole(const char *text, int *ret)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < -10000 || value > 10000)
        return false;
    *ret = (int)value;
    return true;
}

// "--pads 0 10 0 0" as Wav2Lip takes it, or one argument "0,10,0,0" or "0 10 0 0".
static void parse_pads(struct argp_state *state, const char *arg, int pads[4])
{
    int n = 0;
    if (strpbrk(arg, ", ")) {
        CLEANUP(kb_freep) char *copy = kb_strdup(arg);
        char *rest = NULL;
        for (char *word = strtok_r(copy, ", ", &rest); word; word = strtok_r(NULL, ", ", &rest)) {
            if (n == 4 || !parse_whole(word, &pads[n])) {
                n = 0;
                break;
            }
            n++;
        }
    } else if (parse_whole(arg, &pads[0])) {
        for (n = 1; n < 4 && state->next < state->argc; n++)
            if (!parse_whole(state->argv[state->next++], &pads[n]))
                break;
    }
    if (n != 4)
        argp_error(state, "%s",
                   _("--pads takes four whole numbers: top, bottom, left, right; for instance "
                     "--pads 0 10 0 0"));
}

static const char *const yes_no[] = {"yes", "no"};

static error_t dub_parse_face(int key, char *arg, struct argp_state *state)
{
    struct dub_options *o = state->input;
    switch (key) {
    case OPT_START:
        o->dub.start_us = option_time(state, "--start", arg);
        return 0;
    case OPT_DURATION:
        o->dub.duration_us = option_time(state, "--duration", arg);
        if (o->dub.duration_us == 0)
            argp_error(state, _("%s must be more than 0"), "--duration");
        return 0;
    case OPT_FACE:
        option_face(state, arg, &o->dub.face, &o->dub.face_number);
        return 0;
    case OPT_FACE_AT:
        if (!face_at_parse(arg, o->dub.face_at))
            argp_error(state,
                       _("%s takes two numbers from 0 to 1, such as 0.25,0.4, and perhaps seconds: "
                         "0.25,0.4,12.5; not '%s'"),
                       "--face-at", arg);
        o->dub.face = FACE_AT;
        return 0;
    case OPT_LOOP:
        if (!loop_mode_parse(arg, &o->dub.loop))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--loop",
                       "pingpong, restart, freeze, none", arg);
        return 0;
    case OPT_KEEP_VIDEO:
        o->dub.keep_video = true;
        return 0;
    case OPT_TRACK_DIR:
        o->track_folder = arg;
        return 0;
    case OPT_NO_CACHE:
        o->no_cache = true;
        return 0;
    case OPT_MOUTH_AMOUNT:
        o->dub.mouth_amount = option_float(state, "--mouth-amount", arg, 0, 3);
        return 0;
    case OPT_MOUTH_FROM:
        o->dub.mouth_from = option_path(arg);
        return 0;
    case OPT_STYLE_FROM:
        o->dub.no_style = strcmp(arg, "no") == 0;
        o->dub.style_from = o->dub.no_style || strcmp(arg, "self") == 0 ? NULL : option_path(arg);
        return 0;
    case OPT_STILL_MOTION:
        o->dub.still_motion = option_float(state, "--still-motion", arg, 0, 1);
        return 0;
    case OPT_PAINT:
        o->dub.lead = option_word(state, "--paint", arg, yes_no, ARRAY_LEN(yes_no)) == 1;
        return 0;
    case OPT_PADS:
        parse_pads(state, arg, o->dub.pads);
        o->dub.pads_set = true;
        return 0;
    case OPT_NOSMOOTH:
        o->dub.nosmooth = true;
        return 0;
    case OPT_MASK_FEATHER:
        o->dub.mask_feather = option_float(state, "--mask-feather", arg, 0, 1);
        return 0;
    case OPT_MASK_DILATE:
        o->dub.mask_dilate = option_float(state, "--mask-dilate", arg, 0, 1);
        return 0;
    case OPT_SHARPEN:
        o->dub.sharpen = option_float(state, "--sharpen", arg, 0, 5);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t dub_parse(int key, char *arg, struct argp_state *state)
{
    struct dub_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->speech;
        state->child_inputs[1] = &o->engine;
        state->child_inputs[2] = &o->common;
        state->child_inputs[3] = o;
        return 0;
    case OPT_HEIGHT:
        o->dub.height = option_int(state, "--height", arg, 64, 16384);
        return 0;
    case OPT_DENOISE:
        o->dub.denoise = true;
        return 0;
    case OPT_COPY:
        o->dub.encode_all = option_word(state, "--copy", arg, yes_no, ARRAY_LEN(yes_no)) == 1;
        return 0;
    case OPT_LOUDNORM:
        o->dub.loudnorm = true;
        return 0;
    case OPT_CRF:
        o->dub.crf = option_int(state, "--crf", arg, 0, 51);
        o->crf_said = true;
        if (!o->bitrate_said) // it is a person's
            o->dub.bitrate_source = false;
        return 0;
    case OPT_PRESET:
        o->dub.preset =
            writer_presets[option_word(state, "--preset", arg, writer_presets, N_WRITER_PRESETS)];
        return 0;
    case OPT_HDR: {
        static const char *const words[] = {"sdr", "keep"};
        o->dub.keep_deep = option_word(state, "--hdr", arg, words, ARRAY_LEN(words)) == 1;
        return 0;
    }
    case OPT_BITRATE:
        if (strcmp(arg, "source") != 0)
            argp_error(state, _("%s takes one of %s, not '%s'"), "--bitrate", "source", arg);
        o->dub.bitrate_source = o->bitrate_said = true;
        if (!o->crf_said)
            o->dub.crf = -1;
        return 0;
    case ARGP_KEY_END:
        if (o->dub.bitrate_source && o->dub.crf >= 0)
            argp_error(state, "%s", _("--crf and --bitrate exclude each other; give one of them"));
        if (o->no_cache && o->track_folder)
            argp_error(state, "%s",
                       _("--no-cache and --track-dir exclude each other; give one of them"));
        return 0;
    default:
        return dub_parse_face(key, arg, state);
    }
}

static const struct argp_child dub_children[] = {
    {&speech_argp, 0, NULL, 0},
    {&engine_argp, 0, NULL, 0},
    {&common_argp, 0, NULL, 0},
    {&finish_argp, 0, NULL, 0},
    {0},
};

const struct argp dub_argp = {
    .options = dub_options, .parser = dub_parse, .children = dub_children, .argp_domain = "koubo"};

struct dub_options dub_options_defaults(void)
{
    return (struct dub_options){.dub = dub_defaults()};
}

void dub_options_prepare(struct dub_options *o)
{
    if (o->track_folder) {
        o->tracks = kb_strdup(o->track_folder); // the user's own: nothing in it is thrown away
    } else if (!o->no_cache) {
        o->tracks = cache_folder("tracks");
        o->dub.track_cache_limit = cache_limit();
    }
    o->networks = o->no_cache ? NULL : cache_folder("networks");
    o->engine.cache_folder = o->networks;
    o->dub.track_folder = o->tracks;
    o->dub.threads = o->engine.threads;
    o->dub.watch.cancel = cli_cancel();
}

void dub_options_free(struct dub_options *o)
{
    speech_cleanup(&o->speech);
    kb_freep(&o->tracks);
    kb_freep(&o->networks);
    kb_freep(&o->subtitles_text);
}
