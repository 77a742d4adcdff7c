#include "experiments/same_data.h"

#include <stdlib.h>
#include <string.h>

#include "experiments/name_index.h"

/* Numbers of users and items of one run in those of the other; -1: the other has no such id. */
struct numbering {
    const struct study *from, *to;
    const char *from_name, *to_name;
    int32_t *users, *items;
};

static bool map_ids(int32_t **numbers, const struct id_map *from, const struct id_map *to,
                    struct error *error)
{
    struct name_index index;
    *numbers = malloc((size_t)(from->count + 1) * sizeof **numbers);
    if (!*numbers)
        return error_memory(error, "numbers of ids", (size_t)from->count * sizeof **numbers, NULL);
    if (!name_index_open(&index, to, error))
        return false;
    for (int64_t i = 0; i < from->count; i++) {
        const char *name = id_map_name(from, i);
        (*numbers)[i] = name_index_find(&index, name, strlen(name));
    }
    name_index_close(&index);
    return true;
}

static bool numbering_open(struct numbering *numbering, struct named_study from, struct named_study to,
                           struct error *error)
{
    const struct dataset *source = &from.study->dataset, *target = &to.study->dataset;
    *numbering =
        (struct numbering){.from = from.study, .to = to.study, .from_name = from.name, .to_name = to.name};
    return map_ids(&numbering->users, &source->user_ids, &target->user_ids, error) &&
           map_ids(&numbering->items, &source->item_ids, &target->item_ids, error);
}

static void numbering_close(struct numbering *numbering)
{
    free(numbering->users);
    free(numbering->items);
}

/* Pairs of one run's part that the other's lacks, and the first of them. */
struct lacking {
    int64_t count;
    int64_t user;
    int32_t item;
};

static struct lacking find_lacking(const struct numbering *numbering, const struct csr *part,
                                   const struct csr *other)
{
    struct lacking lacking = {0};
    for (int64_t user = 0; user < part->rows; user++)
        for (int64_t i = part->starts[user]; i < part->starts[user + 1]; i++) {
            const int32_t item = part->indices[i];
            const int32_t other_user = numbering->users[user], other_item = numbering->items[item];
            if (other_user >= 0 && other_item >= 0 && csr_contains_sorted(other, other_user, other_item))
                continue;
            if (lacking.count++ == 0) {
                lacking.user = user;
                lacking.item = item;
            }
        }
    return lacking;
}

static bool check_items(const struct numbering *numbering, struct error *error)
{
    const struct id_map *items = &numbering->from->dataset.item_ids;
    for (int64_t i = 0; i < items->count; i++)
        if (numbering->items[i] < 0)
            return error_set(
                error, ERROR_USAGE,
                "%s ranks the item '%.100s', which %s has not; only runs that rank the same items "
                "and are tested on the same interactions can be compared",
                numbering->from_name, id_map_name(items, i), numbering->to_name);
    return true;
}

static bool check_test(const struct numbering *numbering, struct error *error)
{
    const struct study *from = numbering->from, *to = numbering->to;
    const struct lacking lacking = find_lacking(numbering, &from->test, &to->test);
    return lacking.count == 0 ||
           error_set(error, ERROR_USAGE,
                     "%s is tested on %lld interactions that %s is not tested on, such as user '%.100s' and "
                     "item '%.100s'; only runs of the same data and split can be "
                     "compared (with another `seed` a random split is another)",
                     numbering->from_name, (long long)lacking.count, numbering->to_name,
                     id_map_name(&from->dataset.user_ids, lacking.user),
                     id_map_name(&from->dataset.item_ids, lacking.item));
}

static bool place_users(struct same_data *same, const struct numbering *to_other, struct error *error)
{
    const struct study *base = to_other->from, *other = to_other->to;
    int64_t *places = malloc((size_t)(other->test.rows + 1) * sizeof *places);
    same->place = malloc((size_t)(base->test_count + 1) * sizeof *same->place);
    const bool done = (places && same->place) ||
                      error_memory(error, "places of users", (size_t)other->test.rows * sizeof *places, NULL);
    for (int64_t i = 0; done && i < other->test_count; i++)
        places[other->test_users[i]] = i;
    for (int64_t i = 0; done && i < base->test_count; i++)
        same->place[i] = places[to_other->users[base->test_users[i]]];
    free(places);
    return done;
}

bool same_data_open(struct same_data *same, struct named_study base, struct named_study other,
                    struct error *error)
{
    const struct study *one = base.study, *two = other.study;
    struct numbering there, back = {0};
    *same = (struct same_data){0};
    const bool done = numbering_open(&there, base, other, error) &&
                      numbering_open(&back, other, base, error) && check_items(&there, error) &&
                      check_items(&back, error) && check_test(&there, error) && check_test(&back, error) &&
                      place_users(same, &there, error);
    if (done) {
        same->train_differences = find_lacking(&there, &one->train, &two->train).count +
                                  find_lacking(&back, &two->train, &one->train).count;
        same->validation_differences = find_lacking(&there, &one->validation, &two->validation).count +
                                       find_lacking(&back, &two->validation, &one->validation).count;
    }
    numbering_close(&there);
    numbering_close(&back);
    return done;
}

void same_data_close(struct same_data *same)
{
    free(same->place);
    same->place = NULL;
}
