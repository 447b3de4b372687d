// koubo demo: a talking picture without any file of the user's. The person is cut out of a
// photograph that comes with an npm package, the words are spoken by espeak-ng, and the rest is
// koubo generate.
#include "cli/options.h"

#include "base/file.h"
#include "cli/photo.h"
#include "media/writer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_TEXT = 600 };

struct demo_options {
    struct common_options common;
    const char *input, *text, *output;
};

static const struct argp_option demo_options[] = {
    {"input", 'i', "FILE", 0, N_("another picture or video of a person"), 10},
    {"text", OPT_TEXT, "TEXT", 0, N_("other words to say"), 10},
    {"output", 'o', "FILE", 0, N_("the mp4 to write (default: demo/koubo-demo.mp4)"), 10},
    {0},
};

static error_t demo_parse(int key, char *arg, struct argp_state *state)
{
    struct demo_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case 'i':
        o->input = option_path(arg);
        return 0;
    case OPT_TEXT:
        o->text = arg;
        return 0;
    case 'o':
        o->output = option_path(arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child demo_children[] = {{&common_argp, 0, NULL, 0}, {0}};

static const struct argp demo_argp = {
    demo_options,  demo_parse, NULL,    N_("Make a picture talk, to see that everything works."),
    demo_children, NULL,       "koubo",
};

// Write the person of the photograph as a video of one frame.
static enum kb_code cut_person(const char *path, struct kb_error *err)
{
    CLEANUP(writer_close) struct writer *writer = NULL;
    CLEANUP(av_frame_free) AVFrame *frame = NULL;
    enum kb_code code = photo_read(&frame, err);
    if (code != KB_OK)
        return code;
    struct writer_params params = {.width = frame->width,
                                   .height = frame->height,
                                   .frame_rate = {25, 1},
                                   .sample_aspect = {1, 1},
                                   .range = frame->color_range,
                                   .space = frame->colorspace,
                                   .primaries = frame->color_primaries,
                                   .transfer = frame->color_trc,
                                   .crf = 10};
    code = writer_open(&writer, path, &params, err);
    if (code == KB_OK)
        code = writer_put(writer, frame, err);
    return code == KB_OK ? writer_finish(writer, err) : code;
}

// koubo generate with the demo's files, in the same process.
static int generate(const struct demo_options *o, const char *person_file)
{
    static const char *const modes[] = {"auto", "bar", "lines", "json", "none"};
    const char *text = o->text ? o->text
                               : _("Hello! I am a picture. With koubo I can talk: give it a video "
                                   "and a speech, and the lips follow.");
    const char *arguments[] = {"koubo demo", "--text",
                               text,         "-i",
                               person_file,  "-o",
                               o->output,    "-y",
                               "--progress", modes[o->common.progress],
                               "--no-cache", o->common.quiet ? "-q" : NULL,
                               NULL};
    char *argv[ARRAY_LEN(arguments)];
    int argc = 0;
    for (; arguments[argc]; argc++)
        argv[argc] = kb_strdup(arguments[argc]);
    argv[argc] = NULL;
    int status = cmd_generate(argc, argv);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return status;
}

int cmd_demo(int argc, char **argv)
{
    struct demo_options o = {.output = "demo/koubo-demo.mp4"};
    options_parse(&demo_argp, argc, argv, &o);
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *folder = path_folder(o.output);
    CLEANUP(kb_freep) char *cut = NULL;
    enum kb_code code = file_make_dirs(folder, &err);
    if (code == KB_OK && !o.input) {
        cut = kb_printf("%s/.koubo-person-%d.mp4", folder, (int)getpid());
        code = cut_person(cut, &err);
    }
    if (code != KB_OK)
        return cli_report(code, &err);

    int status = generate(&o, cut ? cut : o.input);
    if (cut)
        unlink(cut);
    if (status == EXIT_OK) {
        CLEANUP(kb_freep) char *full = realpath(o.output, NULL);
        fprintf(stderr, _("The video is ready: %s\n"), full ? full : o.output);
    }
    return status;
}
