// Stands in for libFuzzer where there is no clang: replays files and folders of files through a
// target, each whole, cut short and with bytes changed, then goes on with wilder changes of them.
//
//   fuzz_pth [--variants N] [--seconds N] [--seed N] tests/fuzz/corpus/pth
//
// An input on which the target crashes, or over which it sits for HANG_S, is left as a file whose
// name is printed; fuzz_pth FILE repeats it. tools/fuzz.sh is the way to fuzz for hours.
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MAX_FILE  (1 << 20)
#define MAX_FILES 1000
#define MAX_GROWN (256 << 10)
#define TICK_S    5
#define HANG_S    60 // of one input, on a machine that is busy

struct input {
    uint8_t *data;
    size_t size;
};

static struct input files[MAX_FILES];
static int n_files;
static size_t variants = 200; // of one file: enough to try every branch, quick enough for each run
static volatile int n_inputs;

// --- what is left of an input that went wrong

static struct {
    const uint8_t *data;
    size_t size;
    char path[200];
} running;

static void leave(const char *what)
{
    int fd = open(running.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, running.data, running.size) != (ssize_t)running.size)
        return;
    static const char begin[] = "\nThe input is left in ";
    (void)!write(2, what, strlen(what));
    (void)!write(2, begin, sizeof(begin) - 1);
    (void)!write(2, running.path, strlen(running.path));
    (void)!write(2, "\n", 1);
}

static void on_crash(int signal_number)
{
    leave("crashed");
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void on_tick(int signal_number)
{
    static int last, ticks;
    ticks = n_inputs == last ? ticks + 1 : 0;
    last = n_inputs;
    if (ticks * TICK_S >= HANG_S) {
        leave("hangs");
        _exit(1);
    }
}

static void watch(const char *program)
{
    const char *folder = getenv("TMPDIR"), *name = strrchr(program, '/');
    snprintf(running.path, sizeof(running.path), "%s/koubo-%s-%d.input", folder ? folder : "/tmp",
             name ? name + 1 : program, (int)getpid());
    const struct itimerval tick = {{TICK_S, 0}, {TICK_S, 0}};
    signal(SIGABRT, on_crash);
#ifndef __SANITIZE_ADDRESS__ // which says more, and then aborts
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
    signal(SIGFPE, on_crash);
#endif
    signal(SIGALRM, on_tick);
    setitimer(ITIMER_REAL, &tick, NULL);
}

// Each input in a block of its own, so that the address sanitizer sees a read past its end.
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    running.data = data;
    running.size = size;
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    n_inputs++;
}

// --- the corpus

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(MAX_FILE);
    if (!f || !data || n_files == MAX_FILES) {
        fprintf(stderr, "cannot read %s\n", path);
        free(data);
        return 1;
    }
    size_t size = fread(data, 1, MAX_FILE, f);
    fclose(f);
    files[n_files++] = (struct input){data, size};
    run(data, size);
    size_t step = size / variants + 1;
    for (size_t i = 0; i < size; i += step) {
        run(data, i);
        uint8_t kept = data[i];
        data[i] = kept ^ 0x80;
        run(data, size);
        data[i] = kept ^ (uint8_t)(i * 37 + 1);
        run(data, size);
        data[i] = kept;
    }
    return 0;
}

static int run_path(const char *path)
{
    struct stat st;
    DIR *dir = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    if (!dir)
        return run_file(path);
    int failed = 0;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        char name[4096];
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            failed |= run_path(name);
    }
    closedir(dir);
    return failed;
}

// --- wilder changes

static uint64_t dice; // xorshift64 (Marsaglia 2003)

static uint64_t roll(uint64_t n)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return n ? dice % n : 0;
}

// Numbers at which programs go wrong.
static uint64_t odd_number(void)
{
    static const uint64_t odd[] = {
        0,          1,        2,          3,          7,          8,        16,      31,
        64,         100,      127,        128,        255,        256,      1000,    1024,
        4095,       4096,     32767,      32768,      65535,      65536,    1 << 20, 1 << 24,
        0x7fffffff, 1u << 31, 0xffffffff, 1ull << 32, 1ull << 62, INT64_MAX};
    uint64_t v = odd[roll(ARRAY_LEN(odd))];
    return roll(3) == 0 ? (uint64_t)0 - v : v;
}

// Room for n more bytes at `at`; what stands there moves back.
static bool open_gap(struct input *x, size_t at, size_t n)
{
    if (x->size + n > MAX_GROWN)
        return false;
    memmove(x->data + at + n, x->data + at, x->size - at);
    x->size += n;
    return true;
}

static void write_number(struct input *x)
{
    size_t at = roll(x->size + 1), n = (size_t)1 << roll(4), from = at, digits = 0;
    uint64_t v = odd_number();
    while (from < x->size && (x->data[from] < '0' || x->data[from] > '9'))
        from++;
    while (from + digits < x->size && x->data[from + digits] >= '0' &&
           x->data[from + digits] <= '9')
        digits++;
    if (digits > 0 && roll(2) == 0) { // a number in letters
        char text[24];
        n = (size_t)snprintf(text, sizeof(text), "%lld", (long long)v);
        if (n > digits && !open_gap(x, from, n - digits))
            return;
        memcpy(x->data + from, text, n);
        return;
    }
    if (x->size < n)
        return;
    memcpy(x->data + KB_MIN(at, x->size - n), &v, n);
}

static void change(struct input *x)
{
    const struct input *other = &files[roll((uint64_t)n_files)];
    size_t at = roll(x->size + 1);
    size_t n = roll(roll(4) == 0 ? x->size - at + 1 : KB_MIN(x->size - at + 1, 16));
    size_t from = roll(other->size + 1), length = roll(KB_MIN(other->size - from + 1, 4096));
    switch (roll(7)) {
    case 0:
        if (at < x->size)
            x->data[at] ^= (uint8_t)(1u << roll(8));
        break;
    case 1:
        if (at < x->size)
            x->data[at] = (uint8_t)roll(256);
        break;
    case 2:
        write_number(x);
        break;
    case 3: // cut something out
        memmove(x->data + at, x->data + at + n, x->size - at - n);
        x->size -= n;
        break;
    case 4: // say something twice
        if (open_gap(x, at, n) && at + 2 * n <= x->size)
            memcpy(x->data + at, x->data + at + n, n);
        break;
    case 5: // a piece of another file, put in
        if (open_gap(x, at, length))
            memcpy(x->data + at, other->data + from, length);
        break;
    default: // or over what is there
        memcpy(x->data + at, other->data + from, KB_MIN(length, x->size - at));
    }
}

static void run_changed(double seconds)
{
    struct timespec begin, now;
    uint8_t *data = malloc(MAX_FILE + MAX_GROWN);
    if (!data)
        abort();
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        const struct input *seed = &files[roll((uint64_t)n_files)];
        struct input x = {data, seed->size};
        memcpy(data, seed->data, seed->size);
        for (uint64_t i = roll(6) + 1; i > 0; i--)
            change(&x);
        run(x.data, x.size);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - begin.tv_sec) + 1e-9 * (double)(now.tv_nsec - begin.tv_nsec) <
             seconds);
    free(data);
}

int main(int argc, char **argv)
{
    const char *wanted = getenv("KOUBO_FUZZ_SECONDS");
    double seconds = wanted ? atof(wanted) : 0;
    uint64_t seed = (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
    int first = 1, failed = 0;
    for (; first + 1 < argc && strncmp(argv[first], "--", 2) == 0; first += 2) {
        if (strcmp(argv[first], "--seconds") == 0)
            seconds = atof(argv[first + 1]);
        else if (strcmp(argv[first], "--variants") == 0)
            variants = (size_t)KB_MAX(atoi(argv[first + 1]), 1);
        else
            seed = strtoull(argv[first + 1], NULL, 10);
    }
    watch(argv[0]);
    for (int i = first; i < argc; i++)
        failed |= run_path(argv[i]);
    int replayed = n_inputs;
    if (seconds > 0 && n_files > 0) {
        printf("seed %llu\n", (unsigned long long)seed);
        fflush(stdout);
        dice = seed ? seed : 1;
        run_changed(seconds);
    }
    for (int i = 0; i < n_files; i++)
        free(files[i].data);
    printf("%d inputs of the corpus, %d others\n", replayed, n_inputs - replayed);
    return failed || n_inputs == 0;
}
