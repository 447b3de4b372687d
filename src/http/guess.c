// Who sent wrong tokens lately: so many within a minute, and the answer is 429.
//
// The table has a fixed size, so someone with many addresses fills it. A client's place is one of a
// few that a keyed hash of its address tells, where nobody can aim at another's; and the one who is
// forgotten for a new one is whose minute is over, else whoever guessed least: pushing a guesser
// out takes guessing more than he did.
#include "http/internal.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define WINDOW_US (60 * 1000000LL)
#define WAYS      8
#define SETS      512

struct guesser {
    char key[INET6_ADDRSTRLEN];
    int n_wrong;
    int64_t since_us; // of the first of them
};

struct guesses {
    uint64_t seed;
    pthread_mutex_t lock;
    // --- under the lock
    struct guesser table[SETS][WAYS];
};

struct guesses *guesses_create(void)
{
    char hex[17];
    struct guesses *g = kb_alloc(sizeof(*g));
    kb_random_hex(hex, 16);
    g->seed = strtoull(hex, NULL, 16);
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

void guesses_free(struct guesses **guesses)
{
    struct guesses *g = TAKE(*guesses);
    if (!g)
        return;
    pthread_mutex_destroy(&g->lock);
    free(g);
}

// His place, or that of who may be forgotten for him.
static struct guesser *find(struct guesses *g, const char *key, int64_t now_us)
{
    struct guesser *set = g->table[XXH3_64bits_withSeed(key, strlen(key), g->seed) % SETS];
    struct guesser *least = set;
    for (int i = 0; i < WAYS; i++) {
        if (now_us - set[i].since_us > WINDOW_US)
            set[i].n_wrong = 0;
        if (strcmp(set[i].key, key) == 0)
            return &set[i];
        if (set[i].n_wrong < least->n_wrong ||
            (set[i].n_wrong == least->n_wrong && set[i].since_us < least->since_us))
            least = &set[i];
    }
    return least;
}

int guesses_add(struct guesses *g, const char *address, int64_t now_us)
{
    char key[INET6_ADDRSTRLEN];
    client_key(key, address);
    pthread_mutex_lock(&g->lock);
    struct guesser *one = find(g, key, now_us);
    if (strcmp(one->key, key) != 0 || one->n_wrong == 0) {
        *one = (struct guesser){.since_us = now_us};
        snprintf(one->key, sizeof(one->key), "%s", key);
    }
    int n = ++one->n_wrong;
    pthread_mutex_unlock(&g->lock);
    return n;
}
