#include "experiments/halving.h"

#include <stdlib.h>

bool halving_open(struct halving *halving, int trials, int reduction, int rung_count, struct error *error)
{
    *halving = (struct halving){.reduction = reduction, .rung_count = rung_count};
    int count = trials - 1;
    for (int rung = 0; rung < rung_count; rung++) {
        const bool last = rung == rung_count - 1;
        struct halving_rung *added = &halving->rungs[rung];
        added->final_count = count + (last ? 1 : 0);
        added->members = calloc((size_t)added->final_count + 1, sizeof *added->members);
        if (!added->members)
            return error_memory(error, "trials", (size_t)count * sizeof *added->members, "lower tune.trials");
        if (last)
            added->members[added->count++].trial = 0;
        count = count > 0 && count < reduction ? 1 : count / reduction;
    }
    for (int trial = 1; trial < trials; trial++)
        halving->rungs[0].members[halving->rungs[0].count++].trial = trial;
    return true;
}

void halving_close(struct halving *halving)
{
    for (int rung = 0; rung < halving->rung_count; rung++)
        free(halving->rungs[rung].members);
}

int halving_training_count(const struct halving *halving)
{
    int count = 0;
    for (int rung = 0; rung < halving->rung_count; rung++)
        count += halving->rungs[rung].final_count;
    return count;
}

bool halving_take(struct halving *halving, int *trial, int *rung)
{
    for (*rung = halving->rung_count - 1; *rung >= 0; --*rung) {
        struct halving_rung *from = &halving->rungs[*rung];
        if (from->taken < from->count) {
            *trial = from->members[from->taken++].trial;
            return true;
        }
    }
    return false;
}

/* The place of the best of the first `count` that has not been promoted; of equals the first. */
static int best_left(const struct halving_rung *rung, int count)
{
    int best = -1;
    for (int place = 0; place < count; place++)
        if (!rung->members[place].promoted &&
            (best < 0 || rung->members[place].score > rung->members[best].score))
            best = place;
    return best;
}

/* What the scores that count by now decide. */
static void promote(struct halving_rung *rung, struct halving_rung *next, int reduction)
{
    int due = rung->counting / reduction;
    if (rung->counting == rung->final_count && due == 0)
        due = 1;
    while (rung->promoted < due) {
        struct halving_member *member = &rung->members[best_left(rung, rung->counting)];
        member->promoted = true;
        rung->promoted++;
        next->members[next->count++].trial = member->trial;
    }
}

static struct halving_member *member_of(const struct halving_rung *rung, int trial)
{
    int place = 0;
    while (rung->members[place].trial != trial)
        place++;
    return &rung->members[place];
}

void halving_score(struct halving *halving, int trial, int rung, double score)
{
    struct halving_rung *scored = &halving->rungs[rung];
    struct halving_member *member = member_of(scored, trial);
    member->score = score;
    member->scored = true;
    while (scored->counting < scored->count && scored->members[scored->counting].scored) {
        scored->counting++;
        if (rung < halving->rung_count - 1)
            promote(scored, &halving->rungs[rung + 1], halving->reduction);
    }
}

bool halving_is_complete(const struct halving *halving, int rung)
{
    return halving->rungs[rung].counting == halving->rungs[rung].final_count;
}

/* As many of those whose scores count are better as will be promoted at most: each time, one of them goes first. */
bool halving_is_out(const struct halving *halving, int trial, int rung)
{
    const struct halving_rung *of = &halving->rungs[rung];
    const struct halving_member *member = member_of(of, trial);
    if (rung == halving->rung_count - 1 || halving_is_complete(halving, rung))
        return !member->promoted;
    int better = 0;
    for (const struct halving_member *other = of->members; other < of->members + of->counting; other++)
        better += other->score > member->score || (other->score == member->score && other < member);
    return !member->promoted && better >= halving->rungs[rung + 1].final_count;
}
