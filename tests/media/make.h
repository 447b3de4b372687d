// Test files, made in a folder of their own by the ffmpeg program. No shell is involved, so names
// may hold anything.
#ifndef TESTS_MEDIA_MAKE_H
#define TESTS_MEDIA_MAKE_H

#include "../test.h"

#include "base/place.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char make_dir[64];

static inline int make_teardown(void **state)
{
    (void)state;
    return place_remove(make_dir) ? 0 : -1;
}

static inline int make_setup(void **state)
{
    (void)state;
    strcpy(make_dir, "/tmp/koubo-media-XXXXXX");
    return mkdtemp(make_dir) ? 0 : -1;
}

// Exit status of a program, its words thrown away unless output (a file descriptor) is given.
static inline int run_program(char *const argv[], int output)
{
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(output >= 0 ? output : null, 1);
        dup2(null, 2);
        execvp(argv[0], argv);
        _exit(127);
    }
    int status = -1;
    while (waitpid(pid, &status, 0) < 0)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Path of a file in the folder, in one of a few static buffers.
static inline const char *make_path(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", make_dir, name);
    return path;
}

// Runs "ffmpeg <options> file:<folder>/<name>"; options are split at single blanks. Returns the
// path.
static inline const char *make_file(const char *name, const char *options)
{
    const char *path = make_path(name);
    char copy[2048], url[600], *argv[128], *save = NULL;
    int n = 0;
    argv[n++] = (char *)"ffmpeg";
    argv[n++] = (char *)"-nostdin";
    argv[n++] = (char *)"-y";
    snprintf(copy, sizeof(copy), "%s", options);
    for (char *p = strtok_r(copy, " ", &save); p && n < 120; p = strtok_r(NULL, " ", &save))
        argv[n++] = p;
    snprintf(url, sizeof(url), "file:%s", path);
    argv[n++] = url;
    argv[n] = NULL;
    int status = run_program(argv, -1);
    if (status != 0)
        fail_msg("ffmpeg %s %s: exit status %d", options, url, status);
    return path;
}

static inline const char *make_bytes(const char *name, const void *data, size_t size)
{
    const char *path = make_path(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
    return path;
}

static inline char *load_bytes(const char *path, size_t *ret_size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *data = malloc((size_t)size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)size, f), size);
    data[size] = '\0';
    fclose(f);
    *ret_size = (size_t)size;
    return data;
}

// What ffprobe prints for the wanted entries ("stream=nb_frames"), one value a line; free() it.
static inline char *probe(const char *path, const char *streams, const char *entries)
{
    const char *out = make_path("probe.txt");
    int fd = open(out, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    char *argv[] = {(char *)"ffprobe",
                    (char *)"-v",
                    (char *)"error",
                    (char *)"-select_streams",
                    (char *)streams,
                    (char *)"-show_entries",
                    (char *)entries,
                    (char *)"-of",
                    (char *)"default=nw=1:nk=1",
                    (char *)path,
                    NULL};
    assert_int_equal(run_program(argv, fd), 0);
    close(fd);
    size_t size;
    return load_bytes(out, &size);
}

#endif
