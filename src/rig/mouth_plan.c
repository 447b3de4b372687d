// Which picture is seen in which frame: the cheapest path through all frames (Viterbi 1967). As the
// price of a switch is the same from any picture to any other, the best way to come from elsewhere
// is the cheapest picture of the frame before, and a step takes as long as there are pictures.
#include "rig/mouth_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Costs are squares of canonical units. A picture with too small a hole must be stretched, which
// shows; of one too large a part is hidden by the lips.
#define TOO_CLOSED   16.0f
#define TOO_OPEN     0.15f
#define TOO_NARROW   1.5f
#define TOO_WIDE     0.3f
#define UPPER_APART  0.2f
#define JAW_APART    0.4f    // from what an opening of the target's size usually has
#define POSE_WEIGHT  0.018f  // 0.15 radians are as bad as 0.02 in every gap
#define LIGHT_WEIGHT 1e-6f   // 20 steps of luma are as bad
#define SWITCH_PRICE 1.5e-3f // ten frames with gaps better by 0.012
#define SWITCH_WIDE  0.04f   // opening from which a switch has its full price
#define CROSS        4       // frames of a cross-fade

static float squared(float x)
{
    return x * x;
}

float mouth_cost(const struct mouth_entry *e, const struct mouth_need *need)
{
    float cost = 0, gaps = 0;
    for (int i = 1; i < LIPS_RIGHT; i++) {
        int low = TRACK_N_LIPS - i;
        float gap = need->inner[low][1] - need->inner[i][1];
        float more = e->inner[low][1] - e->inner[i][1] - gap;
        cost += (more < 0 ? TOO_CLOSED : TOO_OPEN) * squared(more) +
                UPPER_APART * squared(e->inner[i][1] - need->inner[i][1]);
        gaps += gap;
    }
    cost /= LIPS_RIGHT - 1;
    gaps /= LIPS_RIGHT - 1;
    float wider = (e->inner[LIPS_RIGHT][0] - e->inner[0][0]) -
                  (need->inner[LIPS_RIGHT][0] - need->inner[0][0]);
    cost += (wider < 0 ? TOO_NARROW : TOO_WIDE) * squared(wider);
    cost += JAW_APART * squared(e->jaw - JAW_OF_GAP * gaps);
    cost += POSE_WEIGHT * (squared(e->yaw - need->yaw) + squared(e->pitch - need->pitch));
    if (need->light >= 0)
        cost += LIGHT_WEIGHT * squared(e->light.yuv[0] - need->light);
    return cost;
}

// Something is to be seen, and it is described by numbers.
static bool need_open(const struct mouth_need *need)
{
    float sum = need->yaw + need->pitch + need->light;
    for (int i = 0; i < TRACK_N_LIPS; i++)
        sum += need->inner[i][0] + need->inner[i][1];
    return need->open && isfinite(sum);
}

static float need_gap(const struct mouth_need *need)
{
    float sum = 0;
    for (int i = 1; i < LIPS_RIGHT; i++)
        sum += need->inner[TRACK_N_LIPS - i][1] - need->inner[i][1];
    return sum / (LIPS_RIGHT - 1);
}

float mouth_switch_cost(const struct mouth_need *need)
{
    return SWITCH_PRICE * fminf(fmaxf(need_gap(need) / SWITCH_WIDE, 0.1f), 1);
}

// How one frame was reached: bit k of stayed is set where picture k was there before too, else
// it came from picture `from`.
_Static_assert(TRACK_MAX_MOUTHS <= 64, "a bit for every picture");
struct step {
    uint64_t stayed;
    int16_t from;
};

static int cheapest(const float *cost, int n)
{
    int best = 0;
    for (int k = 1; k < n; k++)
        if (cost[k] < cost[best])
            best = k;
    return best;
}

// The cheapest path through n open frames in a row.
static void plan_run(const struct mouths *m, const struct mouth_need *needs, int n,
                     struct step *steps, struct mouth_choice *ret)
{
    float total[TRACK_MAX_MOUTHS];
    assert(m->n > 0 && m->n <= TRACK_MAX_MOUTHS);
    for (int k = 0; k < m->n; k++)
        total[k] = mouth_cost(&m->entries[k], &needs[0]);
    for (int i = 1; i < n; i++) {
        int best = cheapest(total, m->n);
        // Totals are kept near 0 so that a long run does not lose their small digits.
        float base = total[best], moved = mouth_switch_cost(&needs[i]);
        steps[i] = (struct step){.from = (int16_t)best};
        for (int k = 0; k < m->n; k++) {
            float stay = total[k] - base;
            if (stay <= moved)
                steps[i].stayed |= UINT64_C(1) << k;
            total[k] = fminf(stay, moved) + mouth_cost(&m->entries[k], &needs[i]);
        }
    }
    int at = cheapest(total, m->n);
    for (int i = n - 1; i >= 0; i--) {
        ret[i] = (struct mouth_choice){.a = (int16_t)at, .b = (int16_t)at};
        if (i > 0 && !(steps[i].stayed >> at & 1))
            at = steps[i].from;
    }
}

// Where the picture changes within a run, fades from one to the other in CROSS frames about the
// change, fewer where the next change is near.
static void cross_fade(struct mouth_choice *c, int n)
{
    int start = 0; // of the present picture
    for (int i = 1; i < n; i++) {
        if (c[i].a == c[i - 1].a)
            continue;
        int end = i + 1; // of the new one
        while (end < n && c[end].a == c[i].a)
            end++;
        // Half of each picture's time at most, so that two fades do not meet.
        int reach = KB_MIN(CROSS / 2, KB_MIN((i - start) / 2, (end - i) / 2));
        int16_t from = c[i - 1].a, to = c[i].a;
        for (int j = -reach; j < reach; j++)
            c[i + j] =
                (struct mouth_choice){from, to, (float)(j + reach + 1) / (float)(2 * reach + 1)};
        // The frames just faded name the old picture first; go on where the new one stands alone.
        start = i + reach;
        i = KB_MAX(start, i);
    }
}

enum kb_code mouths_plan(const struct mouths *m, const struct mouth_need *needs, int n,
                         struct mouth_choice *ret, struct kb_error *err)
{
    if (n <= 0)
        return KB_OK;
    CLEANUP(kb_freep) struct step *steps = kb_calloc_checked((size_t)n, sizeof(*steps));
    if (!steps)
        return kb_no_memory(err);
    int16_t last = 0;
    for (int i = 0; i < n;) {
        int end = i;
        while (end < n && need_open(&needs[end]))
            end++;
        if (end > i) {
            plan_run(m, needs + i, end - i, steps, ret + i);
            last = ret[end - 1].a;
            cross_fade(ret + i, end - i);
        } else {
            ret[end++] = (struct mouth_choice){.a = last, .b = last};
        }
        i = end;
    }
    return KB_OK;
}
