// Replays files and folders of files through a fuzz target, each whole, cut short and with bytes
// changed, as an ordinary test: fuzz_pth tests/fuzz/corpus/pth
// For real fuzzing leave this file out and let clang bring its own main (one line):
//   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Isrc -I. -o fuzz_pth
//       tests/fuzz/fuzz_pth.c
//       src/nn/{graph,tensor}.c src/nn/import/{metadata_graph,pickle,pth,safetensors,wav2lip,zip}.c
//       src/base/{base,bytes,file,sentence,text,utf8}.c -ljansson -lxxhash -lm
//   ./fuzz_pth -max_total_time=600 -rss_limit_mb=2048 work/ tests/fuzz/corpus/pth
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE (1 << 20)
#define VARIANTS 200 // of one file: enough to try every branch, quick enough for each test run

static int n_inputs;

// Each input in a block of its own, so that the address sanitizer sees a read past its end.
static void run_copy(const uint8_t *data, size_t size, size_t change, uint8_t with)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    if (change < size)
        copy[change] ^= with;
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    n_inputs++;
}

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(MAX_FILE);
    if (!f || !data) {
        fprintf(stderr, "cannot read %s\n", path);
        free(data);
        return 1;
    }
    size_t size = fread(data, 1, MAX_FILE, f);
    fclose(f);
    run_copy(data, size, size, 0);
    size_t step = size / VARIANTS + 1;
    for (size_t i = 0; i < size; i += step) {
        run_copy(data, i, i, 0);
        run_copy(data, size, i, 0x80);
        run_copy(data, size, i, (uint8_t)(i * 37 + 1));
    }
    free(data);
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

int main(int argc, char **argv)
{
    int failed = argc < 2;
    for (int i = 1; i < argc; i++)
        failed |= run_path(argv[i]);
    printf("%d inputs\n", n_inputs);
    return failed || n_inputs == 0;
}
