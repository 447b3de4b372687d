// The power goes after every call of an upload, a job's end and so on, with a disk that kept all,
// nothing or some of what was not synced. The folder that remains must open and be whole, what was
// answered before must be there, and the same thing must succeed when it is asked for again.
//
// Of an upload and a job every moment is tried, of the others some; KOUBO_FAULTS=all tries all.
#include "tests/faults/power.h"

#include "tests/faults/calls.h"
#include "tests/test.h"

#include "base/file.h"
#include "base/log.h"
#include "base/place.h"

#include <sys/stat.h>

#define MOST_CUTS 20 // of one kind of loss
#define MOST_TOLD 20

static char *place;

static int setup(void **state)
{
    struct kb_error err = {0};
    (void)state;
    world_choose_disk();
    assert_ok(err, place_make(&place, "koubo-power", &err));
    for (int version = 0; version <= 2; version++) {
        CLEANUP(kb_freep) char *world = kb_printf("%s/world%d", place, version);
        assert_int_equal(mkdir(world, 0755), 0);
        if (version)
            world_make_old(world, version);
        else
            world_make(world);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    place_end(&place);
    return 0;
}

static void nothing(void *opaque)
{
    (void)opaque;
}

// What is found after the cut. *said becomes what asking again is told.
static bool look_at(const struct scene *sc, const char *folder, const struct ledger *before,
                    char why[WORLD_WHY])
{
    CLEANUP(store_close) struct store *s = NULL;
    struct kb_error err = {0};
    struct ledger l = *before;
    if (world_open(&s, folder, &err) != KB_OK) {
        snprintf(why, WORLD_WHY, "the folder does not open: %s", err.text);
        return false;
    }
    if (!world_is_whole(s, false, why) || (sc->check && !sc->check(s, &l, why)) ||
        !world_settle(s, why) || !world_is_whole(s, true, why))
        return false;
    if (sc->alone)
        store_close(&s);
    scene_play(sc, folder, &l, nothing, NULL);
    calls_watch(NULL);
    if (l.code != KB_OK || (sc->alone && world_open(&s, folder, &err) != KB_OK)) {
        snprintf(why, WORLD_WHY, "asked for again it failed: %s%s", l.text, err.text);
        return false;
    }
    return world_is_whole(s, false, why) && (!sc->check || sc->check(s, &l, why));
}

static struct power *record(const struct scene *sc)
{
    CLEANUP(kb_freep) char *folder = kb_printf("%s/data", place);
    CLEANUP(kb_freep) char *world = kb_printf("%s/world%d", place, sc->version);
    CLEANUP(kb_freep) char *beside = kb_printf("%s.shared", folder);
    static struct ledger l;
    memset(&l, 0, sizeof(l));
    if (sc->empty)
        assert_int_equal(mkdir(folder, 0755), 0);
    else
        world_copy(folder, world);
    struct power *p = power_record(folder, &l);
    scene_play(sc, folder, &l, nothing, NULL);
    power_end(p);
    calls_watch(NULL);
    place_remove(folder);
    unlink(beside);
    if (l.code != KB_OK)
        fail_msg("%s: %s", sc->name, l.text);
    return p;
}

static void cut_scene(const struct scene *sc)
{
    const char *wish = getenv("KOUBO_FAULTS");
    bool all = wish && strcmp(wish, "all") == 0;
    CLEANUP(kb_freep) char *folder = kb_printf("%s/data", place);
    CLEANUP(kb_freep) char *beside = kb_printf("%s.shared", folder);
    struct power *p = record(sc);
    int calls = power_calls(p), n_built = 0, n_cuts = 0, n_broken = 0;
    static uint64_t built[40000]; // what has been looked at, and found whole with that ledger
    for (int loss = 0; loss < N_LOSSES; loss++) {
        int step =
            all || sc->every_cut || calls <= MOST_CUTS ? 1 : (calls + MOST_CUTS - 1) / MOST_CUTS;
        for (int n = loss % step; n <= calls; n += step) {
            const struct ledger *l = power_ledger(p, n);
            char why[WORLD_WHY] = "";
            uint32_t seed = (uint32_t)n;
            uint64_t number = power_build(p, n, (enum loss)loss, seed, NULL) +
                              (uint64_t)(l->offset + 2 * l->filed + 4 * l->done + 8 * l->renamed +
                                         16 * l->deleted + 32 * l->job + 64 * !!l->asset[0]);
            n_cuts++;
            int i = 0;
            while (i < n_built && built[i] != number)
                i++;
            if (i < n_built || n_built == (int)ARRAY_LEN(built))
                continue;
            built[n_built++] = number;
            assert_int_equal(mkdir(folder, 0755), 0);
            power_build(p, n, (enum loss)loss, seed, folder);
            if (!look_at(sc, folder, l, why) && n_broken++ < MOST_TOLD)
                printf("# BROKEN %s, cut after call %d of %d, lost: %s: %s\n", sc->name, n, calls,
                       loss_name((enum loss)loss), why);
            place_remove(folder);
            unlink(beside);
        }
    }
    printf("# %s: %d calls, %d of them syncs; %d power cuts, %d folders that differ\n", sc->name,
           calls, power_syncs(p), n_cuts, n_built);
    power_free(p);
    if (n_broken)
        fail_msg("%s: %d of the folders were not whole", sc->name, n_broken);
}

static void test_scene(void **state)
{
    cut_scene(*state);
}

int main(void)
{
    struct CMUnitTest tests[20] = {0};
    log_set_level(LOG_ERROR);
    for (int i = 0; i < n_scenes; i++)
        tests[i] = (struct CMUnitTest){
            .name = scenes[i].name, .test_func = test_scene, .initial_state = (void *)&scenes[i]};
    return group_run("power", tests, (size_t)n_scenes, setup, teardown);
}
