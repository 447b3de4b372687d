// As SQLite is tested: the first call fails, then the second, and so on, until a run meets no fault
// any more. Each time in a copy of the same folder and a process of its own; then a healthy koubo
// opens what is left. It must be whole, what was answered as kept must be there, the clean-up must
// find a name for every file, and the same thing must succeed when it is asked for again.
//
// Some n of each kind, spread over all, keep this short; KOUBO_FAULTS=all tries every one,
// KOUBO_FAULTS=100 so many of each kind, KOUBO_FAULT=17 that one. KOUBO_FAULTS_LOUD=1 shows the
// sentences and lets the last folder lie.
#include "tests/faults/scenes.h"

#include "tests/faults/calls.h"
#include "tests/test.h"

#include "base/file.h"
#include "base/log.h"
#include "base/place.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#ifdef __SANITIZE_ADDRESS__ // takes its time
#define MOST_ONCE    2
#define MOST_LASTING 1
#else
#define MOST_ONCE    6
#define MOST_LASTING 3
#endif
#define MOST_TOLD 20

static char *place;           // where everything here lies
static struct ledger *ledger; // shared with the children

static struct shared {
    struct ledger ledger;
    long seen, broken;
} * shared;

static struct {
    long runs, refused, survived, ended; // told as a sentence; made up for; by abort()
    long failed;
} counts;

static char *world_for(int version)
{
    return kb_printf("%s/world%d", place, version);
}

static int setup(void **state)
{
    struct kb_error err = {0};
    (void)state;
    world_choose_disk();
    assert_ok(err, place_make(&place, "koubo-faults", &err));
    for (int version = 0; version <= 2; version++) {
        CLEANUP(kb_freep) char *world = world_for(version);
        assert_int_equal(mkdir(world, 0755), 0);
        if (version)
            world_make_old(world, version);
        else
            world_make(world);
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    ledger = &shared->ledger;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (!getenv("KOUBO_FAULTS_LOUD")) // else what is broken stays to be looked at
        place_end(&place);
    return 0;
}

// --- one run

struct plan {
    enum fault fault;
    long n;
    bool lasting;
};

static void arm(void *plan)
{
    const struct plan *p = plan;
    calls_break(p->fault, p->n, p->lasting);
}

// Returns how the process ended, as waitpid() says it.
static int play_broken(const struct scene *sc, const char *folder, const struct plan *p)
{
    *shared = (struct shared){0};
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!getenv("KOUBO_FAULTS_LOUD"))
            dup2(open("/dev/null", O_WRONLY), 2);
        alarm(60);
        scene_play(sc, folder, ledger, arm, (void *)p);
        shared->seen = calls_seen();
        shared->broken = calls_broken();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void nothing(void *opaque)
{
    (void)opaque;
}

// A sentence says what happened and what to do about it.
static bool is_sentence(const char *text)
{
    return strlen(text) > 20 && strstr(text, "; ") != NULL;
}

static bool check_run(const struct scene *sc, const char *folder, const struct plan *p, int status,
                      char why[WORLD_WHY])
{
    CLEANUP(store_close) struct store *s = NULL;
    struct kb_error err = {0};
    // Memory: koubo aborts in some places, libarchive says "No memory" and exits with 1.
    bool aborted = (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) ||
                   (WIFEXITED(status) && WEXITSTATUS(status) == 1);
    bool killed = WIFEXITED(status) && WEXITSTATUS(status) == 99;
    if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0) &&
        !(aborted && p->fault == FAULT_MEMORY) && !(killed && p->fault == FAULT_KILLED)) {
        snprintf(why, WORLD_WHY, "the process ended with status %x", status);
        return false;
    }
    if (ledger->ended && ledger->code != KB_OK && !is_sentence(ledger->text)) {
        snprintf(why, WORLD_WHY, "that is no sentence: '%s'", ledger->text);
        return false;
    }
    counts.runs++;
    counts.ended += aborted;
    counts.refused += ledger->ended && ledger->code != KB_OK;
    counts.survived += ledger->ended && ledger->code == KB_OK;
    if (getenv("KOUBO_FAULTS_LOUD") && ledger->text[0])
        printf("# %s: %s\n", sc->name, ledger->text);
    if (world_open(&s, folder, &err) != KB_OK) {
        snprintf(why, WORLD_WHY, "the folder does not open: %s", err.text);
        return false;
    }
    if (!world_is_whole(s, false, why) || (sc->check && !sc->check(s, ledger, why)) ||
        !world_settle(s, why) || !world_is_whole(s, true, why))
        return false;
    if (sc->alone)
        store_close(&s);
    scene_play(sc, folder, ledger, nothing, NULL);
    calls_watch(NULL);
    if (ledger->code != KB_OK || (sc->alone && world_open(&s, folder, &err) != KB_OK)) {
        snprintf(why, WORLD_WHY, "asked for again it failed: %s%s", ledger->text, err.text);
        return false;
    }
    return world_is_whole(s, false, why) && (!sc->check || sc->check(s, ledger, why));
}

// The others go on: what they break tells more about the cause than one does.
static void tell_broken(const struct scene *sc, const struct plan *p, const char *why)
{
    const char *told = !ledger->ended ? "nothing" : ledger->text[0] ? ledger->text : "all well";
    if (counts.failed++ < MOST_TOLD)
        printf("# BROKEN %s, %s%s at %ld: %s (who asked was told: %s)\n", sc->name,
               p->lasting ? "lasting " : "", fault_name(p->fault), p->n, why, told);
}

static char *copy_world(const struct scene *sc)
{
    CLEANUP(kb_freep) char *world = world_for(sc->version);
    char *folder = kb_printf("%s/data", place);
    if (sc->empty)
        assert_int_equal(mkdir(folder, 0755), 0);
    else
        world_copy(folder, world);
    return folder;
}

static void remove_world(const char *folder)
{
    CLEANUP(kb_freep) char *beside = kb_printf("%s.shared", folder);
    unlink(beside);
    place_remove(folder);
}

// The n-th call fails.
static void try(const struct scene *sc, enum fault fault, long n, bool lasting)
{
    const struct plan p = {fault, n, lasting};
    char why[WORLD_WHY] = "";
    CLEANUP(kb_freep) char *folder = copy_world(sc);
    int status = play_broken(sc, folder, &p);
    if (!check_run(sc, folder, &p, status, why))
        tell_broken(sc, &p, why);
    remove_world(folder);
}

// --- all of them

// May it go on failing? Half a write or a killed process is over.
static bool can_last(enum fault f)
{
    return f == FAULT_DISK || f == FAULT_FULL || f == FAULT_MEMORY || f == FAULT_LOCKED;
}

// How many calls of that kind the scene makes; none fails.
static long count_calls(const struct scene *sc, enum fault fault)
{
    const struct plan p = {fault, 0, false};
    CLEANUP(kb_freep) char *folder = copy_world(sc);
    int status = play_broken(sc, folder, &p);
    if (status != 0 || ledger->code != KB_OK)
        fail_msg("%s, unbroken: status %x, %s", sc->name, status, ledger->text);
    remove_world(folder);
    return shared->seen;
}

static void break_scene(const struct scene *sc)
{
    const char *wish = getenv("KOUBO_FAULTS"), *one = getenv("KOUBO_FAULT");
    bool all = wish && strcmp(wish, "all") == 0;
    long some = wish && !all ? strtol(wish, NULL, 10) : 0;
    memset(&counts, 0, sizeof(counts));
    for (int i = 0; i < N_FAULTS; i++) {
        enum fault fault = (enum fault)i;
        if (fault == FAULT_MEMORY && !CALLS_HAVE_MEMORY)
            continue;
        long calls = count_calls(sc, fault);
        printf("# %s: %ld calls for %s\n", sc->name, calls, fault_name(fault));
        for (int lasting = 0; lasting <= can_last(fault); lasting++) {
            long most = some ? some : lasting ? MOST_LASTING : MOST_ONCE;
            long step = all || calls <= most ? 1 : (calls + most - 1) / most;
            for (long n = 1 + (i + lasting) % step; n <= calls && !one; n += step)
                try(sc, fault, n, lasting);
            if (one && strtol(one, NULL, 10) <= calls)
                try(sc, fault, strtol(one, NULL, 10), lasting);
        }
    }
    printf("# %s: %ld faults; %ld told in a sentence, %ld made up for, %ld ended the process\n",
           sc->name, counts.runs, counts.refused, counts.survived, counts.ended);
    if (counts.failed)
        fail_msg("%s: %ld of them broke something", sc->name, counts.failed);
}

static void test_scene(void **state)
{
    break_scene(*state);
}

int main(void)
{
    struct CMUnitTest tests[20] = {0};
    log_set_level(LOG_ERROR);
    for (int i = 0; i < n_scenes; i++)
        tests[i] = (struct CMUnitTest){
            .name = scenes[i].name, .test_func = test_scene, .initial_state = (void *)&scenes[i]};
    return group_run("faults", tests, (size_t)n_scenes, setup, teardown);
}
