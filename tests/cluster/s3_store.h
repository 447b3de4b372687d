// tests/cluster/s3.mjs, an S3 store of the test's own, for tests in C.
// Threads: the test's alone.
#ifndef TESTS_CLUSTER_S3_STORE_H
#define TESTS_CLUSTER_S3_STORE_H

#include "tests/test.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#define S3_KEY         "KOUBOTESTKEY"
#define S3_SECRET      "koubo/test+secret"
#define S3_NODE_KEY    "KOUBOTESTNODE"
#define S3_NODE_SECRET "koubo/test+machine"

extern char **environ;

struct s3_store {
    pid_t pid;
    FILE *to, *from;
    char folder[64], endpoint[256]; // endpoint "": there is no store
};

static inline bool s3_store_is_here(const struct s3_store *s)
{
    return s->endpoint[0] != '\0';
}

static inline void s3_store_start(struct s3_store *s)
{
    int to[2], from[2];
    snprintf(s->folder, sizeof(s->folder), "/tmp/koubo-s3-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    char script[4096];
    snprintf(script, sizeof(script), "%s", source_path("tests/cluster/s3.mjs"));
    char *argv[] = {"node", script, s->folder, "--page", "2", NULL};
    int e = posix_spawnp(&s->pid, "node", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    s->to = fdopen(to[1], "w");
    s->from = fdopen(from[0], "r");
    bool there = e == 0 && fgets(s->endpoint, sizeof(s->endpoint), s->from) &&
                 strncmp(s->endpoint, "http://", 7) == 0;
    s->endpoint[strcspn(s->endpoint, "\n")] = '\0';
    if (e != 0)
        s->pid = 0;
    if (!there)
        s->endpoint[0] = '\0';
}

static inline void s3_store_stop(struct s3_store *s)
{
    fclose(s->to);
    fclose(s->from);
    if (s->pid > 0)
        waitpid(s->pid, NULL, 0);
    CLEANUP(kb_freep) char *remove = kb_printf("rm -rf '%s'", s->folder);
    assert_int_equal(system(remove), 0);
}

#endif
