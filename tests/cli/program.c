#include "tests/cli/program.h"

#include "base/file.h"
#include "base/place.h"
#include "media/voice.h"
#include "media/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[256];
size_t program_file_limit;

static void become_program(const char *const *arguments)
{
    char *argv[64] = {(char *)"koubo"};
    for (int i = 0; arguments[i] && i < 62; i++)
        argv[i + 1] = (char *)arguments[i];
    if (program_file_limit) {
        struct rlimit limit = {program_file_limit, program_file_limit};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    alarm(120);
    execv(getenv("KOUBO_PROGRAM"), argv);
    _exit(127);
}

int program_wait(int pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char *read_all(FILE *f)
{
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *text = kb_alloc((size_t)size + 1);
    assert_int_equal(fread(text, 1, (size_t)size, f), size);
    fclose(f);
    return text;
}

void program_run(struct outcome *ret, const char *const *arguments)
{
    free(ret->out);
    free(ret->err);
    FILE *out = tmpfile(), *err = tmpfile();
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fileno(out), STDOUT_FILENO);
        dup2(fileno(err), STDERR_FILENO);
        become_program(arguments);
    }
    ret->status = program_wait(pid);
    ret->out = read_all(out);
    ret->err = read_all(err);
}

// What a terminal shows, until the other side is closed (EIO).
static char *read_terminal(int fd)
{
    size_t size = 0, capacity = 1 << 16;
    char *text = kb_alloc(capacity);
    for (ssize_t n; (n = read(fd, text + size, capacity - 1 - size)) > 0;) {
        size += (size_t)n;
        assert_true(size < capacity - 1);
    }
    text[size] = '\0';
    return text;
}

void program_run_on_terminal(struct outcome *ret, int columns, const char *answer,
                             const char *const *arguments)
{
    free(ret->out);
    free(ret->err);
    int fd;
    const struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    fflush(NULL);
    pid_t pid = forkpty(&fd, NULL, NULL, &size);
    assert_true(pid >= 0);
    if (pid == 0)
        become_program(arguments);
    const char *typed = *answer ? answer : "\4";
    assert_int_equal(write(fd, typed, strlen(typed)), (ssize_t)strlen(typed));
    ret->out = read_terminal(fd);
    ret->err = kb_strdup("");
    ret->status = program_wait(pid);
    close(fd);
}

int program_start(const char *const *arguments, int *ret_out)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int nowhere = open("/dev/null", O_WRONLY);
        dup2(ends[1], STDOUT_FILENO);
        dup2(nowhere, STDERR_FILENO);
        become_program(arguments);
    }
    close(ends[1]);
    *ret_out = ends[0];
    return pid;
}

const char *in_folder(const char *name)
{
    static char paths[16][1024];
    static int next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

int folder_setup(void **state)
{
    snprintf(folder, sizeof(folder), "/tmp/koubo-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    setenv("KOUBO_CACHE", in_folder("cache"), 1);
    setenv("TMPDIR", in_folder("tmp"), 1);
    unsetenv("COLUMNS");
    setenv("LC_ALL", "C.UTF-8", 1);
    setenv("LANGUAGE", "en", 1);
    struct kb_error err = {0};
    return file_make_dirs(in_folder("tmp"), &err) == KB_OK ? 0 : -1;
}

int folder_teardown(void **state)
{
    return place_remove(folder) ? 0 : -1;
}

static int check_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    size_t n = strlen(path);
    if ((n > 5 && strcmp(path + n - 5, ".part") == 0) || strstr(path + 5, "/tmp/koubo-"))
        fail_msg("'%s' was left behind", path);
    return 0;
}

void assert_nothing_half_done(void)
{
    nftw(folder, check_one, 16, FTW_PHYS);
}

int count_lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static const char *write_file(const char *name, const void *data, size_t size)
{
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
    return path;
}

const char *make_text_file(const char *name, const char *content)
{
    return write_file(name, content, strlen(content));
}

const char *make_tone(const char *name, double seconds)
{
    enum { RATE = 16000 };
    uint32_t n = (uint32_t)(seconds * RATE), bytes = n * 2;
    int16_t *wav = kb_alloc(44 + bytes);
    const uint32_t header[11] = {0x46464952, 36 + bytes, 0x45564157, 0x20746d66, 16,   0x00010001,
                                 RATE,       RATE * 2,   0x00100002, 0x61746164, bytes};
    memcpy(wav, header, 44);
    for (uint32_t i = 0; i < n; i++)
        wav[22 + i] = (int16_t)(8000 * sin(i * 2 * M_PI * 220 / RATE));
    const char *path = write_file(name, wav, 44 + bytes);
    free(wav);
    return path;
}

const char *make_faceless_video(const char *name, int frames)
{
    struct kb_error err = {0};
    const char *path = in_folder(name);
    struct writer_params params = {
        .width = 128, .height = 96, .frame_rate = {25, 1}, .sample_aspect = {1, 1}, .crf = 23};
    struct writer *writer = NULL;
    assert_ok(err, writer_open(&writer, path, &params, &err));
    for (int i = 0; i < frames; i++) {
        AVFrame *f = av_frame_alloc();
        f->format = AV_PIX_FMT_YUV420P;
        f->width = params.width;
        f->height = params.height;
        assert_int_equal(av_frame_get_buffer(f, 0), 0);
        for (int plane = 0; plane < 3; plane++)
            memset(f->data[plane], plane ? 128 : 40 + 4 * (i % 20),
                   (size_t)f->linesize[plane] * (plane ? 48 : 96));
        f->pts = i * 40000;
        FRAME_DURATION(f) = 40000;
        assert_ok(err, writer_put(writer, f, &err));
        av_frame_free(&f);
    }
    assert_ok(err, writer_finish(writer, &err));
    writer_close(&writer);
    return path;
}

const char *make_cut(const char *name, const char *source, long bytes)
{
    struct kb_error err = {0};
    struct file_map map = {0};
    assert_ok(err, file_map(&map, source, &err));
    const char *path = write_file(name, map.data, KB_MIN(map.size, (size_t)bytes));
    file_unmap(&map);
    return path;
}

const char *make_speech(const char *name)
{
    struct kb_error err = {0};
    const char *path = in_folder(name);
    assert_ok(err, voice_speak(path, "One two three four five.",
                               &(struct voice_params){.voice = "en"}, NULL, &err));
    return path;
}

const char *person(void)
{
    return clip_path("grid_lbax4n.mpg");
}

const char *make_talking_video(const char *name)
{
    const char *path = in_folder(name);
    const char *speech = make_speech("for-the-video.wav");
    struct outcome r = {0};
    RUN(&r, "generate", "-a", speech, "-i", person(), "-o", path, "--height", "256", "--duration",
        "1", "-q");
    assert_status(&r, 0);
    free(r.out);
    free(r.err);
    return path;
}
