#include "base/proc.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool proc_value(const char *path, const char *key, char *ret, size_t size)
{
    char line[8192]; // the flags of a processor are many
    size_t n = strlen(key);
    bool found = false;
    FILE *f = fopen(path, "re");
    ret[0] = '\0';
    while (f && !found && fgets(line, sizeof(line), f)) {
        const char *value = line + n;
        if (strncmp(line, key, n) != 0 || *(value += strspn(value, " \t")) != ':')
            continue;
        value += 1 + strspn(value + 1, " \t");
        snprintf(ret, size, "%.*s", (int)strcspn(value, "\n"), value);
        found = true;
    }
    if (f)
        fclose(f);
    return found;
}

int64_t proc_bytes(const char *path, const char *key)
{
    char text[64];
    return proc_value(path, key, text, sizeof(text)) ? strtoll(text, NULL, 10) * 1024 : 0;
}

void proc_gpus(void (*each)(void *ctx, const char *name), void *ctx)
{
    static const char folder[] = "/proc/driver/nvidia/gpus";
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[sizeof(folder) + sizeof(e->d_name) + 16], name[128];
        snprintf(path, sizeof(path), "%s/%s/information", folder, e->d_name);
        if (e->d_name[0] != '.' && proc_value(path, "Model", name, sizeof(name)))
            each(ctx, name);
    }
    if (d)
        closedir(d);
}

int64_t proc_resident_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}
