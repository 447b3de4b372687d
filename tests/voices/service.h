// tests/voices/service.mjs, a voice service of the test's own, for tests in C.
// Threads: the test's alone.
#ifndef TESTS_VOICES_SERVICE_H
#define TESTS_VOICES_SERVICE_H

#include "tests/test.h"

#include "base/text.h"

#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static struct {
    pid_t pid;
    FILE *to, *from;
    char url[64];
} service;

static inline int service_start(void)
{
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        return -1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    char script[4096];
    snprintf(script, sizeof(script), "%s", source_path("tests/voices/service.mjs"));
    char *argv[] = {"node", script, NULL};
    int e = posix_spawnp(&service.pid, "node", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    service.to = fdopen(to[1], "w");
    service.from = fdopen(from[0], "r");
    if (e != 0 || !fgets(service.url, sizeof(service.url), service.from))
        return -1;
    service.url[strcspn(service.url, "\n")] = '\0';
    return 0;
}

static inline void service_stop(void)
{
    fclose(service.to);
    fclose(service.from);
    waitpid(service.pid, NULL, 0);
}

// What the service was asked last ("last"), how often ("count"), how much at once ("most").
static inline json_t *ask_service(const char *what)
{
    static char line[65536];
    fprintf(service.to, "%s\n", what);
    fflush(service.to);
    assert_non_null(fgets(line, sizeof(line), service.from));
    json_t *ret = json_loads(line, JSON_DECODE_ANY, NULL);
    assert_non_null(ret);
    return ret;
}

static inline int service_number(const char *what)
{
    json_auto_t *n = ask_service(what);
    return (int)json_integer_value(n);
}

// JSON with ' for " and URL for the service's address; a new string.
static inline char *service_json(const char *json)
{
    struct text text = {0};
    for (; *json; json++) {
        if (strncmp(json, "URL", 3) == 0) {
            text_add(&text, service.url);
            json += 2;
        } else {
            text_add_bytes(&text, *json == '\'' ? "\"" : json, 1);
        }
    }
    return text.data;
}

#endif
