/* Prompts and their packing: shape, disjointness, determinism, weights, targets, and the guard against
 * leaks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/packing.h"
#include "models/language/schedule.h"
#include "tests/prompt_layouts.h"

enum { USERS = 5, ITEMS = 9 };

/* Users with 4, 0, 1, 2 and 9 train items. */
static int64_t train_starts[] = {0, 4, 4, 5, 7, 16};
static int32_t train_indices[] = {3, 1, 7, 2, 5, 8, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0};
static const struct csr train = {USERS, ITEMS, train_starts, train_indices};

static const struct vocabulary vocabulary = {.items = ITEMS, .users = USERS, .user_tokens = true};

static struct packing_settings settings_for(enum objective objective)
{
    return (struct packing_settings){
        .prompt = {.layout = layout_of_ids(vocabulary, true), .shuffle = true, .length_maximum = 16},
        .objective = objective,
        .full = true,
        .random_cuts = 3,
        .batch_tokens = 24,
        .seed = 7,
    };
}

static int is_train(int64_t user, int32_t item)
{
    for (int64_t i = train_starts[user]; i < train_starts[user + 1]; i++)
        if (train_indices[i] == item)
            return 1;
    return 0;
}

static void training_sequence_has_every_item_once(void **state)
{
    (void)state;
    const struct packing_settings settings = settings_for(OBJECTIVE_NEXT);
    for (uint64_t epoch = 0; epoch < 200; epoch++) {
        const struct prompt_draw draw = {.user = 4, .seed = 1, .epoch = epoch};
        int32_t tokens[16], order[ITEMS], seen[ITEMS] = {0};
        const struct prompt_sequence made =
            prompt_training(tokens, order, &settings.prompt, &draw, train_indices + train_starts[4], 9);
        assert_int_equal(made.length, 9 + 4);
        assert_int_equal(made.shown, 9);
        assert_int_equal(tokens[0], TOKEN_BEGIN);
        assert_int_equal(tokens[1], vocabulary_user_token(&vocabulary, 4));
        assert_int_equal(tokens[made.answer], TOKEN_SEPARATOR);
        assert_in_range(made.answer, 3, 10);
        assert_int_equal(tokens[made.length - 1], TOKEN_END);
        for (int64_t i = 0; i < made.length; i++) {
            const int32_t item = vocabulary_token_item(&vocabulary, tokens[i]);
            if (item >= 0)
                seen[item]++;
        }
        for (int item = 0; item < ITEMS; item++)
            assert_int_equal(seen[item], 1);
    }
}

static void cuts_are_uniform(void **state)
{
    (void)state;
    enum { DRAWS = 8000 };
    const struct packing_settings settings = settings_for(OBJECTIVE_NEXT);
    int counts[ITEMS] = {0};
    for (uint64_t index = 0; index < DRAWS; index++) {
        const struct prompt_draw draw = {.user = 4, .seed = 3, .index = index};
        int32_t tokens[16], order[ITEMS];
        counts[prompt_training(tokens, order, &settings.prompt, &draw, train_indices + train_starts[4], 9)
                   .answer -
               2]++;
    }
    assert_int_equal(counts[0], 0);
    double chi_square = 0;
    for (int cut = 1; cut <= 8; cut++)
        chi_square += pow(counts[cut] - DRAWS / 8.0, 2) / (DRAWS / 8.0);
    assert_true(chi_square < 24.3); /* 7 degrees of freedom, p = 0.001 */
}

static void time_order_keeps_the_newest(void **state)
{
    (void)state;
    const struct prompt_settings prompt = {.layout = layout_of_ids(vocabulary, false), .length_maximum = 6};
    const struct prompt_draw draw = {.user = 4, .seed = 1};
    int32_t tokens[6], order[ITEMS];
    const struct prompt_sequence made =
        prompt_training(tokens, order, &prompt, &draw, train_indices + train_starts[4], 9);
    assert_int_equal(made.shown, 3);
    assert_int_equal(made.length, 6);
    for (int i = 0; i < 3; i++)
        assert_int_equal(tokens[2 + i], vocabulary_item_token(2 - i));
    assert_int_equal(order[3], 8);

    const int64_t length = prompt_context(tokens, &prompt, 4, train_indices + train_starts[4], 9, 1, 0);
    assert_int_equal(length, 5);
    assert_int_equal(tokens[4], vocabulary_item_token(0));
}

static void contexts_differ_by_draw_alone(void **state)
{
    (void)state;
    const struct packing_settings settings = settings_for(OBJECTIVE_SET);
    int32_t first[16], again[16], other[16];
    const int32_t *items = train_indices + train_starts[4];
    const int64_t length = prompt_context(first, &settings.prompt, 4, items, 9, 5, 0);
    assert_int_equal(length, 12);
    assert_int_equal(first[11], TOKEN_SEPARATOR);
    prompt_context(again, &settings.prompt, 4, items, 9, 5, 0);
    assert_memory_equal(first, again, sizeof(int32_t) * 12);
    prompt_context(other, &settings.prompt, 4, items, 9, 5, 1);
    assert_memory_not_equal(first, other, sizeof(int32_t) * 12);
    assert_int_equal(prompt_context(first, &settings.prompt, 1, items, 0, 5, 0), 3);
}

/* Every position with weight learns exactly the user's items that are not shown yet. */
static void check_set_batch(const struct batch *batch, int *sequences)
{
    for (int64_t s = 0; s < batch->sequences; s++, sequences[0]++) {
        const int64_t user = batch->token[batch->starts[s] + 1] - CONTROL_TOKEN_COUNT - ITEMS;
        int64_t left = csr_row_length(&train, user);
        for (int64_t t = batch->starts[s]; t < batch->starts[s + 1]; t++) {
            const int64_t targets = batch->target_starts[t + 1] - batch->target_starts[t];
            left -= vocabulary_token_item(&vocabulary, batch->token[t]) >= 0;
            assert_int_equal(batch->position[t], t - batch->starts[s]);
            assert_int_equal(targets, batch->weight[t] > 0 ? left : 0);
            for (int64_t i = batch->target_starts[t]; i < batch->target_starts[t + 1]; i++) {
                const int32_t item = vocabulary_token_item(&vocabulary, batch->target_items[i]);
                assert_true(is_train(user, item));
                for (int64_t before = batch->starts[s]; before <= t; before++)
                    assert_int_not_equal(batch->token[before], batch->target_items[i]);
            }
        }
    }
}

static double weight_sum(const struct batch *batch)
{
    double sum = 0;
    for (int64_t t = 0; t < batch->tokens; t++)
        sum += (double)batch->weight[t];
    return sum;
}

static void set_objective_learns_what_is_left(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    for (int answer_only = 0; answer_only < 2; answer_only++) {
        struct packing_settings settings = settings_for(OBJECTIVE_SET);
        struct packer *packer = NULL;
        int sequences = 0;
        int64_t tokens = 0;
        settings.answer_only = answer_only;
        settings.context_weight = answer_only;
        assert_true(packer_create(&packer, &settings, &train, NULL, &error));
        packer_begin_epoch(packer, 2);
        for (int64_t b = 0; b < packer_batch_count(packer); b++) {
            struct batch batch;
            assert_true(packer_batch(packer, b, 0.5, &batch, &error));
            assert_true(batch.tokens <= settings.batch_tokens);
            assert_true(batch.sequences <= packer_sequences_maximum(&settings, &train));
            assert_true(fabs(weight_sum(&batch) - 0.5) < 1e-6);
            check_set_batch(&batch, &sequences);
            tokens += batch.tokens;
        }
        assert_int_equal(sequences, 4 * 4); /* users with items x prompts */
        assert_int_equal(packer_sequence_count(packer), 16);
        assert_int_equal(tokens, packer_epoch_tokens(packer));
        packer_free(packer);
    }
}

static void next_objective_learns_the_next_token(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct packing_settings settings = settings_for(OBJECTIVE_NEXT);
    struct packer *packer = NULL;
    settings.answer_only = true;
    assert_true(packer_create(&packer, &settings, &train, NULL, &error));
    packer_begin_epoch(packer, 0);
    for (int64_t b = 0; b < packer_batch_count(packer); b++) {
        struct batch batch;
        assert_true(packer_batch(packer, b, 1, &batch, &error));
        for (int64_t s = 0; s < batch.sequences; s++) {
            int answer = 0;
            for (int64_t t = batch.starts[s]; t + 1 < batch.starts[s + 1]; t++) {
                answer |= batch.token[t] == TOKEN_SEPARATOR;
                assert_int_equal(batch.target[t], answer ? batch.token[t + 1] : -1);
                assert_int_equal(batch.weight[t] > 0, answer);
            }
            assert_int_equal(batch.token[batch.starts[s + 1] - 1], TOKEN_END);
            assert_true(batch.weight[batch.starts[s + 1] - 1] <= 0);
        }
    }
    packer_free(packer);
}

static void an_epoch_does_not_depend_on_those_before(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    const struct packing_settings settings = settings_for(OBJECTIVE_SET);
    struct packer *first = NULL, *second = NULL;
    struct batch a, b;
    assert_true(packer_create(&first, &settings, &train, NULL, &error));
    assert_true(packer_create(&second, &settings, &train, NULL, &error));
    packer_begin_epoch(first, 0);
    packer_begin_epoch(first, 1);
    packer_begin_epoch(second, 1);
    assert_true(packer_batch(first, 0, 1, &a, &error));
    assert_true(packer_batch(first, 1, 1, &a, &error));
    assert_true(packer_batch(second, 1, 1, &b, &error));
    assert_int_equal(a.tokens, b.tokens);
    assert_memory_equal(a.token, b.token, sizeof(int32_t) * (size_t)a.tokens);
    packer_free(first);
    packer_free(second);
}

/* A part of a batch is what the whole batch has there, weights and all. */
static void check_part(const struct batch *whole, const struct batch *part)
{
    const int64_t first = part->first_token;
    assert_memory_equal(part->token, whole->token + first, sizeof(int32_t) * (size_t)part->tokens);
    assert_memory_equal(part->position, whole->position + first, sizeof(int32_t) * (size_t)part->tokens);
    assert_memory_equal(part->weight, whole->weight + first, sizeof(float) * (size_t)part->tokens);
    for (int64_t t = 0; t < part->tokens; t++) {
        const int64_t count = part->target_starts[t + 1] - part->target_starts[t];
        const int64_t expected = whole->target_starts[first + t + 1] - whole->target_starts[first + t];
        assert_int_equal(count, expected);
        assert_memory_equal(part->target_items + part->target_starts[t],
                            whole->target_items + whole->target_starts[first + t],
                            sizeof(int32_t) * (size_t)count);
    }
}

/* Batches that hold something of a rank's run, counted one by one. */
static void check_run_batches(struct packer *parts, int ranks)
{
    const int64_t batches = packer_batch_count(parts);
    for (int rank = 0; rank < ranks; rank++) {
        const struct packer_run run = packer_divide(parts, 0, batches, rank, ranks);
        int64_t counted = 0;
        for (int64_t b = 0; b < batches; b++) {
            struct error error = ERROR_INITIALIZER;
            struct batch part;
            assert_true(packer_batch_part(parts, b, run, 0.5, &part, &error));
            counted += part.sequences > 0;
        }
        assert_int_equal(packer_run_batches(parts, 0, batches, run), counted);
    }
}

/* By batches the runs cover all sequences as well, and where ranks and batches divide each other none lies in more batches than it
 * must. */
static void check_division_by_batches(struct packer *parts, int ranks)
{
    for (int64_t batches = 1; batches <= packer_batch_count(parts); batches++) {
        int64_t next = 0;
        for (int rank = 0; rank < ranks; rank++) {
            const struct packer_run run = packer_divide_by_batches(parts, 0, batches, rank, ranks);
            const int64_t own = packer_run_batches(parts, 0, batches, run);
            assert_int_equal(run.begin, next);
            assert_true(run.end >= run.begin);
            next = run.end;
            if (batches % ranks == 0)
                assert_int_equal(own, batches / ranks);
            if (ranks % batches == 0)
                assert_in_range(own, 0, 1);
        }
        const struct packer_run all = packer_divide(parts, 0, batches, 0, 1);
        assert_int_equal(next, all.end);
    }
}

/* The runs of all ranks are all sequences of all batches, in order. */
static void check_division(struct packer *whole, struct packer *parts, int ranks)
{
    struct error error = ERROR_INITIALIZER;
    const int64_t batches = packer_batch_count(whole);
    int64_t next = 0;
    for (int rank = 0; rank < ranks; rank++) {
        const struct packer_run run = packer_divide(parts, 0, batches, rank, ranks);
        assert_int_equal(run.begin, next);
        next = run.end;
    }
    assert_int_equal(next, packer_sequence_count(whole));
    check_run_batches(parts, ranks);
    check_division_by_batches(parts, ranks);
    for (int64_t b = 0; b < batches; b++) {
        int64_t tokens = 0;
        for (int rank = 0; rank < ranks; rank++) {
            const struct packer_run run = packer_divide(parts, 0, batches, rank, ranks);
            struct batch all, part;
            assert_true(packer_batch(whole, b, 0.5, &all, &error));
            assert_true(packer_batch_part(parts, b, run, 0.5, &part, &error));
            if (part.tokens > 0)
                assert_int_equal(part.first_token, tokens);
            tokens += part.tokens;
            check_part(&all, &part);
        }
        assert_int_equal(tokens, packer_batch_tokens(whole, b));
    }
}

static void ranks_divide_the_sequences_of_a_step(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct packing_settings settings = settings_for(OBJECTIVE_SET);
    struct packer *whole = NULL, *parts = NULL;
    settings.context_weight = 1.5;
    assert_true(packer_create(&whole, &settings, &train, NULL, &error));
    assert_true(packer_create(&parts, &settings, &train, NULL, &error));
    packer_begin_epoch(whole, 3);
    packer_begin_epoch(parts, 3);
    assert_true(packer_batch_count(whole) > 1);
    for (int ranks = 1; ranks <= 20; ranks++) /* more than there are sequences, too */
        check_division(whole, parts, ranks);
    packer_free(whole);
    packer_free(parts);
}

static void a_withheld_pair_stops(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    const struct packing_settings settings = settings_for(OBJECTIVE_SET);
    int64_t clean_starts[] = {0, 1, 1, 2, 2, 2}, leaking_starts[] = {0, 1, 1, 2, 3, 3};
    int32_t indices[] = {0, 1, 8};
    const struct csr clean = {USERS, ITEMS, clean_starts, indices},
                     leaking = {USERS, ITEMS, leaking_starts, indices};
    struct packer *packer = NULL;
    bool fine = true;
    assert_true(
        packer_create(&packer, &settings, &train, (const struct csr *const[2]){&clean, &leaking}, &error));
    packer_begin_epoch(packer, 0);
    for (int64_t b = 0; fine && b < packer_batch_count(packer); b++) {
        struct batch batch;
        fine = packer_batch(packer, b, 1, &batch, &error);
    }
    assert_false(fine);
    assert_non_null(strstr(error.message, "user 3, item 8"));
    assert_non_null(strstr(error.message, "test"));
    packer_free(packer);
}

static void schedule_rises_and_falls(void **state)
{
    (void)state;
    const struct schedule cosine = {SCHEDULE_COSINE, 2.0, 0.1, 0.1};
    const struct schedule linear = {SCHEDULE_LINEAR, 2.0, 0.0, 0.0};
    assert_true(fabs(schedule_rate(&cosine, 0.05) - 1.0) < 1e-12);
    assert_true(fabs(schedule_rate(&cosine, 0.1) - 2.0) < 1e-12);
    assert_true(fabs(schedule_rate(&cosine, 0.55) - 1.1) < 1e-12);
    assert_true(fabs(schedule_rate(&cosine, 1.0) - 0.2) < 1e-12);
    assert_true(fabs(schedule_rate(&linear, 0.75) - 0.5) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_sequence_has_every_item_once),
        cmocka_unit_test(cuts_are_uniform),
        cmocka_unit_test(time_order_keeps_the_newest),
        cmocka_unit_test(contexts_differ_by_draw_alone),
        cmocka_unit_test(set_objective_learns_what_is_left),
        cmocka_unit_test(next_objective_learns_the_next_token),
        cmocka_unit_test(an_epoch_does_not_depend_on_those_before),
        cmocka_unit_test(ranks_divide_the_sequences_of_a_step),
        cmocka_unit_test(a_withheld_pair_stops),
        cmocka_unit_test(schedule_rises_and_falls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
