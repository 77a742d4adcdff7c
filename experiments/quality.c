#include "experiments/quality.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exposure.h"
#include "experiments/audit.h"
#include "experiments/quality_pairs.h"
#include "experiments/training_rows.h"
#include "experiments/truth.h"

enum { DECILES = 10 };

static const int64_t range_starts[QUALITY_RANGES + 1] = {1, 2, 3, 4, 5, 6, 11, 21, 51, 101, INT64_MAX};

int quality_range(int64_t number)
{
    int range = 0;
    while (number >= range_starts[range + 1])
        range++;
    return range;
}

int64_t quality_range_start(int range)
{
    return range_starts[range];
}

/* Rows of one range of ranks or votes, or all of them. */
struct hit_counts {
    int64_t rows, preferred;
    int64_t judged, hits; /* of users with validation items; in validation */
    double chance; /* hits to be expected of the judged rows were they drawn from the user's unseen items */
};
struct quality {
    const struct study *study;
    const struct csr *rows;
    struct csr preferred; /* starts NULL: not known */
    int64_t user_count;   /* users with rows */
    struct hit_counts all, by_rank[QUALITY_RANGES], by_votes[QUALITY_RANGES];
    double preferred_chance; /* preferred rows to be expected likewise */
};

static void add_row(struct hit_counts *counts, bool judged, bool hit, bool preferred, double chance)
{
    counts->rows++;
    counts->preferred += preferred;
    counts->judged += judged;
    counts->hits += hit;
    counts->chance += chance;
}

static int64_t count_unseen(const struct csr *items, const struct csr *train, int64_t user)
{
    int64_t count = 0;
    for (int64_t i = items->starts[user]; i < items->starts[user + 1]; i++)
        count += !csr_contains_sorted(train, user, items->indices[i]);
    return count;
}

static void count_user(struct quality *quality, int64_t user)
{
    const struct study *study = quality->study;
    const struct csr *rows = quality->rows, *validation = &study->validation,
                     *preferred = &quality->preferred;
    const double unseen = (double)(study->train.columns - csr_row_length(&study->train, user));
    const double chance = (double)csr_row_length(validation, user) / unseen;
    const bool judged = csr_row_length(validation, user) > 0, truth = preferred->starts != NULL;
    const int64_t first = rows->starts[user], length = csr_row_length(rows, user);
    quality->user_count += length > 0;
    if (truth && length > 0)
        quality->preferred_chance +=
            (double)length * (double)count_unseen(preferred, &study->train, user) / unseen;
    for (int64_t place = 0; place < length; place++) {
        const int32_t item = rows->indices[first + place];
        const bool hit = csr_contains_sorted(validation, user, item);
        const bool wanted = truth && csr_contains_sorted(preferred, user, item);
        add_row(&quality->all, judged, hit, wanted, chance);
        add_row(&quality->by_rank[quality_range(place + 1)], judged, hit, wanted, chance);
        add_row(&quality->by_votes[quality_range(study->lists.votes[first + place])], judged, hit, wanted,
                chance);
    }
}

static json_t *ratio(double numerator, double denominator)
{
    return audit_number(denominator > 0 ? numerator / denominator : NAN);
}

static void add_rates(json_t *record, const struct hit_counts *counts, bool truth)
{
    json_object_set_new(record, "rows", json_integer(counts->rows));
    json_object_set_new(record, "judged", json_integer(counts->judged));
    json_object_set_new(record, "hits", json_integer(counts->hits));
    json_object_set_new(record, "hit_rate", ratio((double)counts->hits, (double)counts->judged));
    json_object_set_new(record, "chance", ratio(counts->chance, (double)counts->judged));
    if (truth)
        json_object_set_new(record, "preferred", ratio((double)counts->preferred, (double)counts->rows));
}

static json_t *ranges_json(const struct hit_counts *ranges, bool truth)
{
    json_t *list = json_array();
    for (int range = 0; range < QUALITY_RANGES; range++) {
        if (ranges[range].rows == 0)
            continue;
        json_t *record = json_pack("{s:I}", "from", (json_int_t)range_starts[range]);
        json_object_set_new(record, "to",
                            range + 1 < QUALITY_RANGES ? json_integer(range_starts[range + 1] - 1)
                                                       : json_null());
        add_rates(record, &ranges[range], truth);
        json_array_append_new(list, record);
    }
    return list;
}

static void add_hits(json_t *record, struct quality *quality)
{
    const bool truth = quality->preferred.starts != NULL;
    for (int64_t user = 0; user < quality->rows->rows; user++)
        count_user(quality, user);
    json_t *validation = json_object();
    add_rates(validation, &quality->all, false);
    json_object_set_new(record, "rows", json_integer(quality->all.rows));
    json_object_set_new(record, "users", json_integer(quality->user_count));
    json_object_set_new(record, "validation", validation);
    json_object_set_new(record, "by_rank", ranges_json(quality->by_rank, truth));
    json_object_set_new(record, "by_votes", ranges_json(quality->by_votes, truth));
    if (truth)
        json_object_set_new(record, "truth",
                            json_pack("{s:I, s:o, s:o}", "preferred", (json_int_t)quality->all.preferred,
                                      "share",
                                      ratio((double)quality->all.preferred, (double)quality->all.rows),
                                      "chance", ratio(quality->preferred_chance, (double)quality->all.rows)));
}

/* How many of a user's rows item_knn would have given, had it been asked for as many. */
static bool add_agreement(json_t *record, const struct quality *quality, struct error *error)
{
    struct csr neighbors = {0}, sorted = {0};
    const struct csr *rows = quality->rows;
    int64_t common = 0;
    const bool done =
        neighbor_rows_like(&neighbors, quality->study, rows, error) && csr_sorted(&sorted, &neighbors, error);
    for (int64_t user = 0; done && user < rows->rows; user++)
        for (int64_t i = rows->starts[user]; i < rows->starts[user + 1]; i++)
            common += csr_contains_sorted(&sorted, user, rows->indices[i]);
    if (done) {
        const double either = (double)(csr_count(rows) + csr_count(&sorted) - common);
        json_object_set_new(record, "item_knn",
                            json_pack("{s:I, s:o, s:o}", "common", (json_int_t)common, "share",
                                      ratio((double)common, (double)csr_count(rows)), "jaccard",
                                      ratio((double)common, either)));
    }
    csr_free(&neighbors);
    csr_free(&sorted);
    return done;
}

static bool add_pairs(json_t *record, const struct quality *quality, struct error *error)
{
    struct csr receivers = {0}, audience = {0};
    struct pair_counts counts = {0};
    const bool done = csr_transpose(&receivers, quality->rows, error) &&
                      csr_transpose(&audience, &quality->study->train, error) &&
                      count_new_pairs(&counts, &receivers, &quality->study->train, &audience, error);
    if (done)
        json_object_set_new(record, "co_occurrence",
                            json_pack("{s:I, s:I, s:o, s:I, s:o}", "pairs", (json_int_t)counts.pairs,
                                      "new_pairs", (json_int_t)counts.new_pairs, "new_share",
                                      ratio((double)counts.new_pairs, (double)counts.pairs),
                                      "unconnected_rows", (json_int_t)counts.unconnected_rows,
                                      "unconnected_share",
                                      ratio((double)counts.unconnected_rows, (double)counts.rows)));
    csr_free(&receivers);
    csr_free(&audience);
    return done;
}

/* Mean over rows of log2(users / popularity of the item). */
static double self_information(const struct csr *rows, const int64_t *popularity)
{
    double sum = 0;
    for (int64_t i = 0; i < csr_count(rows); i++)
        sum += log2((double)rows->rows / fmax((double)popularity[rows->indices[i]], 1.0));
    return sum / (double)csr_count(rows);
}

static bool add_popularity(json_t *record, const struct quality *quality, struct error *error)
{
    const struct csr *train = &quality->study->train;
    const size_t bytes = (size_t)(train->columns + 1) * sizeof(int64_t);
    int64_t *popularity = malloc(bytes);
    struct groups deciles = {0};
    bool done = popularity || error_memory(error, "popularity of items", bytes, NULL);
    if (done) {
        item_popularity(popularity, train);
        done = groups_by_popularity(&deciles, popularity, train->columns, DECILES, error);
    }
    if (done) {
        double shares[DECILES];
        exposure_shares(shares, quality->rows, INT64_MAX, &deciles);
        json_object_set_new(record, "novelty",
                            json_pack("{s:o, s:o}", "rows",
                                      audit_number(self_information(quality->rows, popularity)), "train",
                                      audit_number(self_information(train, popularity))));
        json_object_set_new(record, "deciles", audit_numbers(shares, DECILES));
    }
    groups_free(&deciles);
    free(popularity);
    return done;
}

/* How alike the lists of different users are. */
static bool add_duplicates(json_t *record, const struct quality *quality, struct error *error)
{
    const struct csr *rows = quality->rows;
    int64_t distinct = 0, most = 0, identical = 0;
    double shared = 0;
    int64_t *counts = calloc((size_t)rows->columns + 1, sizeof *counts);
    if (!counts)
        return error_memory(error, "counts of items", (size_t)rows->columns * sizeof *counts, NULL);
    item_popularity(counts, rows);
    for (int64_t item = 0; item < rows->columns; item++) {
        distinct += counts[item] > 0;
        most = counts[item] > most ? counts[item] : most;
        shared += (double)counts[item] * (double)(counts[item] - 1);
    }
    free(counts);
    if (!count_identical_lists(&identical, rows, error))
        return false;
    json_object_set_new(record, "duplicates",
                        json_pack("{s:I, s:o, s:o, s:o, s:I}", "distinct_items", (json_int_t)distinct,
                                  "distinct_share", ratio((double)distinct, (double)csr_count(rows)),
                                  "largest_share", ratio((double)most, (double)quality->user_count),
                                  "shared_with_another",
                                  ratio(shared, (double)csr_count(rows) * (double)(quality->user_count - 1)),
                                  "identical_lists", (json_int_t)identical));
    return true;
}

bool quality_json(json_t **record, const struct study *study, struct error *error)
{
    *record = NULL;
    if (study->arm_count == 1)
        return true;
    struct quality quality = {.study = study, .rows = &study->lists.items};
    bool done = truth_load(&quality.preferred, study, error);
    *record = json_object();
    if (done)
        add_hits(*record, &quality);
    done = done && add_agreement(*record, &quality, error) && add_pairs(*record, &quality, error) &&
           add_popularity(*record, &quality, error) && add_duplicates(*record, &quality, error);
    csr_free(&quality.preferred);
    return done;
}
