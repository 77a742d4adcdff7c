/* Prompts whose users and items are several tokens: what is in them, what is left out, and where the loss is. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "models/language/packing.h"
#include "tests/prompt_layouts.h"

enum { USERS = 12, ITEMS = 70, LONGEST = 30, LONG = 256 };

/* User u has between 0 and LONGEST items. */
struct world {
    int64_t starts[USERS + 1];
    int32_t items[USERS * LONGEST];
    struct csr train;
};

static void make_world(struct world *world)
{
    world->starts[0] = 0;
    for (int64_t user = 0; user < USERS; user++) {
        struct random_stream stream = random_stream_open(5, RANDOM_TEST, 0, (uint64_t)user);
        const int64_t count = user < 4 ? user : (int64_t)random_below(&stream, LONGEST + 1);
        int32_t all[ITEMS];
        for (int32_t item = 0; item < ITEMS; item++)
            all[item] = item;
        random_shuffle(&stream, all, ITEMS);
        memcpy(world->items + world->starts[user], all, (size_t)count * sizeof *all);
        world->starts[user + 1] = world->starts[user] + count;
    }
    world->train = (struct csr){USERS, ITEMS, world->starts, world->items};
}

/* What stands in a prompt. */
struct reading {
    int64_t user, shown, cut;
    int32_t items[LONG]; /* those of the context first */
    int64_t context;     /* its tokens */
};

/* Fails unless the tokens are a context, or a whole sequence. */
static struct reading read_prompt(const int32_t *tokens, int64_t length, bool whole)
{
    struct reading reading = {.user = tokens[2] - WORD_USER};
    int64_t at = 2 + (reading.user % 3 == 0 ? 2 : 1);
    assert_true(tokens[0] == 1 && tokens[1] == 2 && tokens[at - 1] == tokens[2]);
    const int32_t opening = tokens[at++];
    reading.cut = read_words(reading.items, tokens, length, &at, 0);
    assert_int_equal(opening, reading.cut > 0 ? 3 : 9);
    assert_true(tokens[at] == 4 && tokens[at + 1] == 5 && tokens[at + 2] == tokens[2]);
    at += 3 + (reading.user % 3 == 0);
    assert_int_equal(tokens[at++], 6);
    reading.context = at;
    reading.shown = reading.cut + read_words(reading.items + reading.cut, tokens, length, &at, WORD_ANSWER);
    if (whole)
        assert_true(tokens[at++] == WORD_CLOSING && tokens[at++] == WORD_END);
    assert_int_equal(at, length);
    return reading;
}

static bool holds(const int32_t *items, int64_t count, int32_t item)
{
    for (int64_t i = 0; i < count; i++)
        if (items[i] == item)
            return true;
    return false;
}

/* Different items, all of the user's. */
static void assert_items_of(const struct world *world, const struct reading *reading)
{
    const int64_t begin = world->starts[reading->user], count = world->starts[reading->user + 1] - begin;
    assert_true(reading->shown <= count);
    for (int64_t i = 0; i < reading->shown; i++) {
        assert_true(holds(world->items + begin, count, reading->items[i]));
        assert_false(holds(reading->items, i, reading->items[i]));
    }
}

static int64_t item_count(const struct world *world, int64_t user)
{
    return world->starts[user + 1] - world->starts[user];
}

/* Whole items only, as many as fit: an item is at most 5 tokens wherever it stands, and a prompt ends with 2. */
static void check_context(const struct world *world, const struct prompt_settings *settings, int32_t user)
{
    const int32_t *items = world->items + world->starts[user];
    const int64_t count = item_count(world, user);
    int32_t *tokens = malloc((size_t)settings->length_maximum * sizeof *tokens);
    const int64_t length = prompt_context(tokens, settings, user, items, count, 3, 1);
    const struct reading reading = read_prompt(tokens, length, false);
    assert_int_equal(reading.user, user);
    assert_items_of(world, &reading);
    assert_true(length <= prompt_length_bound(settings, user, items, count));
    assert_true(reading.shown == count || length + 2 + 5 + 2 > settings->length_maximum);
    if (!settings->shuffle)
        assert_memory_equal(reading.items, items + count - reading.shown,
                            (size_t)reading.shown * sizeof *items);
    free(tokens);
}

static void check_training(const struct world *world, const struct prompt_settings *settings, int32_t user)
{
    const int64_t count = item_count(world, user);
    const struct prompt_draw draw = {.user = user, .seed = 4};
    int32_t *tokens = malloc((size_t)settings->length_maximum * sizeof *tokens), order[LONGEST];
    const struct prompt_sequence made =
        prompt_training(tokens, order, settings, &draw, world->items + world->starts[user], count);
    const struct reading reading = read_prompt(tokens, made.length, true);
    assert_items_of(world, &reading);
    assert_true(made.length <= settings->length_maximum);
    assert_int_equal(reading.shown, made.shown);
    assert_int_equal(reading.cut, made.cut);
    assert_int_equal(reading.context, made.answer + 1);
    assert_int_equal(tokens[made.end], WORD_CLOSING);
    assert_memory_equal(reading.items, order, (size_t)reading.shown * sizeof *order);
    assert_true(reading.shown == count || made.length + 2 + 5 > settings->length_maximum);
    assert_true(reading.shown < 2 ? reading.cut == 0 : reading.cut > 0 && reading.cut < reading.shown);
    free(tokens);
}

static void nothing_is_split_and_little_left_out(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    const struct prompt_layout *layout = layout_of_words(ITEMS, USERS);
    const int64_t least = prompt_length_minimum(layout, USERS);
    assert_int_equal(least, 10 + 5 + 2);
    for (int64_t length = least; length < 160; length += 1 + length / 20)
        for (int way = 0; way < 2 * USERS; way++) {
            const struct prompt_settings settings = {layout, way % 2, length};
            check_context(&world, &settings, way / 2);
            if (item_count(&world, way / 2) > 0)
                check_training(&world, &settings, way / 2);
        }
}

static void every_item_is_in_the_context_or_the_answer(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    const struct prompt_settings settings = {
        .layout = layout_of_words(ITEMS, USERS), .shuffle = true, .length_maximum = LONG};
    int cuts[LONGEST + 1] = {0};
    for (uint64_t epoch = 0; epoch < 100; epoch++)
        for (int32_t user = 1; user < USERS; user++) {
            const struct prompt_draw draw = {
                .user = user, .seed = 1, .epoch = epoch, .index = (uint64_t)user};
            int32_t tokens[LONG], order[LONGEST];
            if (item_count(&world, user) == 0)
                continue;
            const struct prompt_sequence made = prompt_training(
                tokens, order, &settings, &draw, world.items + world.starts[user], item_count(&world, user));
            const struct reading reading = read_prompt(tokens, made.length, true);
            assert_items_of(&world, &reading);
            assert_int_equal(reading.shown, item_count(&world, user));
            cuts[reading.cut] += user == 3;
        }
    assert_int_equal(cuts[1] + cuts[2], 100); /* of three items */
    assert_in_range(cuts[1], 30, 70);
}

static void a_question_has_the_answer_that_is_asked_for(void **state)
{
    (void)state;
    struct world world;
    make_world(&world);
    const struct prompt_layout *layout = layout_of_words(ITEMS, USERS);
    const int32_t answer[] = {1, 5, 16, 64, 2};
    for (int64_t length = prompt_length_minimum(layout, USERS); length < 160; length += 3)
        for (int32_t user = 0; user < USERS; user++) {
            const struct prompt_settings settings = {
                .layout = layout, .shuffle = true, .length_maximum = length};
            int32_t *tokens = malloc((size_t)length * sizeof *tokens);
            const struct prompt_question made =
                prompt_question(tokens, &settings, user, world.items + world.starts[user],
                                item_count(&world, user), answer, 5, 3, 0);
            struct reading reading = read_prompt(tokens, made.length, false);
            assert_true(made.length <= length - 2 && made.answers >= 1);
            assert_int_equal(reading.context, made.answer + 1);
            assert_int_equal(reading.shown - reading.cut, made.answers);
            assert_memory_equal(reading.items + reading.cut, answer, (size_t)made.answers * sizeof *answer);
            reading.shown = reading.cut;
            assert_items_of(&world, &reading);
            assert_true(length < 60 || made.answers == 5);
            free(tokens);
        }
}

/* ---- packing ------------------------------------------------------------------------------------------ */

static struct packing_settings packing_for(int64_t length)
{
    return (struct packing_settings){
        .prompt = {.layout = layout_of_words(ITEMS, USERS), .shuffle = true, .length_maximum = length},
        .objective = OBJECTIVE_NEXT,
        .full = true,
        .random_cuts = 3,
        .batch_tokens = length + 40,
        .seed = 7,
    };
}

/* The tokens from the answer's first to the last of all learn, and with loss_on `all` all but the first do. */
static void check_sequence(const struct batch *batch, int64_t s, bool answer_only, double power)
{
    const int64_t first = batch->starts[s], length = batch->starts[s + 1] - first;
    const struct reading reading = read_prompt(batch->token + first, length, true);
    double scale = 0;
    for (int64_t i = 0; i < length; i++) {
        const bool learns = i + 1 < length && i >= (answer_only ? reading.context - 1 : 1);
        const double weight = (double)batch->weight[first + i];
        assert_int_equal(batch->position[first + i], i);
        assert_int_equal(batch->target[first + i], learns ? batch->token[first + i + 1] : -1);
        assert_true((weight > 0) == learns);
        if (learns && !(scale > 0))
            scale = weight / pow((double)i / (double)length, power);
        assert_true(!learns || fabs(weight - scale * pow((double)i / (double)length, power)) < 1e-5 * weight);
    }
    assert_int_equal(batch->target[first + length - 2], WORD_END);
}

static void the_loss_is_exactly_on_the_answer(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct world world;
    make_world(&world);
    for (int way = 0; way < 8; way++) {
        struct packing_settings settings = packing_for(way % 2 ? 40 : LONG);
        struct packer *packer = NULL;
        int64_t tokens = 0, sequences = 0;
        settings.answer_only = way & 2;
        settings.context_weight = way & 4 ? 1.5 : 0;
        settings.batch_sequences = way & 4 ? 3 : 0;
        require(packer_create(&packer, &settings, &world.train, NULL, &error), &error);
        packer_begin_epoch(packer, 1);
        for (int64_t b = 0; b < packer_batch_count(packer); b++) {
            struct batch batch;
            double sum = 0;
            require(packer_batch(packer, b, 0.5, &batch, &error), &error);
            assert_true(batch.tokens <= settings.batch_tokens);
            assert_true(batch.sequences <= packer_sequences_maximum(&settings, &world.train));
            for (int64_t s = 0; s < batch.sequences; s++)
                check_sequence(&batch, s, settings.answer_only, settings.context_weight);
            for (int64_t t = 0; t < batch.tokens; t++)
                sum += (double)batch.weight[t];
            assert_true(fabs(sum - 0.5) < 1e-6);
            tokens += batch.tokens;
            sequences += batch.sequences;
        }
        assert_int_equal(sequences, packer_sequence_count(packer));
        assert_int_equal(tokens, packer_epoch_tokens(packer));
        assert_true((packer_left_out(packer) > 0) == (way % 2 == 1));
        assert_true((packer_shortened(packer) > 0) == (way % 2 == 1));
        packer_free(packer);
    }
}

/* Users whose items all fit in the longest way of writing are not shortened; counts are those of the sequences. */
static void what_is_left_out_is_counted(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct world world;
    make_world(&world);
    const struct packing_settings settings = packing_for(60);
    struct packer *packer = NULL;
    int64_t left_out = 0, lacking[USERS] = {0}, shortened = 0;
    require(packer_create(&packer, &settings, &world.train, NULL, &error), &error);
    packer_begin_epoch(packer, 3);
    for (int64_t b = 0; b < packer_batch_count(packer); b++) {
        struct batch batch;
        require(packer_batch(packer, b, 1, &batch, &error), &error);
        for (int64_t s = 0; s < batch.sequences; s++) {
            const struct reading reading =
                read_prompt(batch.token + batch.starts[s], batch.starts[s + 1] - batch.starts[s], true);
            const int64_t lacks = item_count(&world, reading.user) - reading.shown;
            left_out += lacks;
            lacking[reading.user] += lacks;
        }
    }
    for (int user = 0; user < USERS; user++)
        shortened += lacking[user] > 0;
    assert_true(left_out > 0);
    assert_int_equal(packer_left_out(packer), left_out);
    assert_int_equal(packer_shortened(packer), shortened);
    packer_free(packer);
}

static void what_cannot_be_packed_is_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct world world;
    struct packer *packer = NULL;
    make_world(&world);
    struct packing_settings settings = packing_for(LONG);
    settings.objective = OBJECTIVE_SET;
    assert_false(packer_create(&packer, &settings, &world.train, NULL, &error));
    assert_non_null(strstr(error.message, "use `next`"));
    error = ERROR_INITIALIZER;
    settings = packing_for(16);
    assert_false(packer_create(&packer, &settings, &world.train, NULL, &error));
    assert_non_null(strstr(error.message, "prompts.length is 16, and the longest prompt takes 17"));
    assert_int_equal(error.kind, ERROR_USAGE);
}

static void a_withheld_pair_stops(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct world world;
    struct packer *packer = NULL;
    bool fine = true;
    make_world(&world);
    int64_t starts[USERS + 1] = {0};
    for (int64_t user = 3; user <= USERS; user++)
        starts[user] = 1;
    int32_t withheld[] = {world.items[world.starts[2] + 1]}; /* the second item of user 2 */
    const struct csr test = {USERS, ITEMS, starts, withheld};
    const struct packing_settings settings = packing_for(20); /* whether or not it is in the prompt */
    require(
        packer_create(&packer, &settings, &world.train, (const struct csr *const[2]){NULL, &test}, &error),
        &error);
    packer_begin_epoch(packer, 0);
    for (int64_t b = 0; fine && b < packer_batch_count(packer); b++) {
        struct batch batch;
        fine = packer_batch(packer, b, 1, &batch, &error);
    }
    assert_false(fine);
    assert_int_equal(packer_leak(packer)->user, 2);
    assert_int_equal(packer_leak(packer)->item, withheld[0]);
    packer_free(packer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_split_and_little_left_out),
        cmocka_unit_test(every_item_is_in_the_context_or_the_answer),
        cmocka_unit_test(a_question_has_the_answer_that_is_asked_for),
        cmocka_unit_test(the_loss_is_exactly_on_the_answer),
        cmocka_unit_test(what_is_left_out_is_counted),
        cmocka_unit_test(what_cannot_be_packed_is_refused),
        cmocka_unit_test(a_withheld_pair_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
