/* Lists and rankings of items of several tokens against what the model says of them without cache and trie. The number of
 * items that are drawn to find an invalid one is IDREC_ITEMS where that is set. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "core/interrupt.h"
#include "models/language/item_beams.h"
#include "models/language/item_ranker.h"
#include "models/language/list_beams.h"
#include "models/language/list_sampler.h"
#include "tests/item_models.h"

/* A model, a catalogue, prompts and train items. */
struct scene {
    struct backend *backend;
    struct transformer *model;
    struct prompt_layout layout;
    struct item_writer writer;
    struct csr train;
    struct prompt_settings prompt;
};

enum { LONGEST = 200 };

static struct scene make_scene(int threads, int64_t items, int64_t users, int64_t had, int32_t words,
                               bool joined)
{
    struct error error = ERROR_INITIALIZER;
    struct scene scene = {.backend = open_backend(threads)};
    scene.model = make_model(scene.backend, model_settings(TOKENS, 2, true), LONGEST);
    scene.layout = make_layout(items, users, words, joined);
    require(item_writer_create(&scene.writer, &scene.layout.answer, ENDS, &error), &error);
    scene.train = make_train(users, items, had);
    return scene;
}

static struct prompt_settings prompt_of(const struct scene *scene)
{
    return (struct prompt_settings){.layout = &scene->layout, .shuffle = true, .length_maximum = 100};
}

static void free_scene(struct scene *scene)
{
    item_writer_free(&scene->writer);
    prompt_layout_free(&scene->layout);
    csr_free(&scene->train);
    transformer_free(scene->model);
    backend_close(scene->backend);
}

static bool has_item(const struct csr *train, int64_t user, int32_t item)
{
    for (int64_t i = train->starts[user]; i < train->starts[user + 1]; i++)
        if (train->indices[i] == item)
            return true;
    return false;
}

static int64_t context_of(const struct scene *scene, int32_t *token, int64_t user, uint64_t seed,
                          uint64_t draw)
{
    const struct prompt_settings prompt = prompt_of(scene);
    return prompt_context(token, &prompt, (int32_t)user, scene->train.indices + scene->train.starts[user],
                          csr_row_length(&scene->train, user), seed, draw);
}

/* ---- sampling ------------------------------------------------------------------------------------------- */

static struct list_sampler_settings sampling_of(const struct scene *scene)
{
    return (struct list_sampler_settings){.prompt = prompt_of(scene),
                                          .writer = &scene->writer,
                                          .batch = 64,
                                          .cache_bytes = (size_t)1 << 28,
                                          .samples = 1,
                                          .contexts = 1,
                                          .items_maximum = 6,
                                          .sampling = {.temperature = 1.0f, .top_p = 1.0f, .seed = 5},
                                          .constrained = true};
}

static struct proposal_list draw_lists(const struct scene *scene,
                                       const struct list_sampler_settings *settings)
{
    struct error error = ERROR_INITIALIZER;
    struct proposal_list list = {.count = 0};
    struct list_sampler *sampler;
    require(list_sampler_create(&sampler, scene->model, settings, &scene->train, &error), &error);
    require(list_sampler_run(sampler, 0, scene->train.rows, &list, &error), &error);
    list_sampler_free(sampler);
    proposal_list_sort(&list);
    return list;
}

static void check_lists(const struct scene *scene, const struct proposal_list *list)
{
    for (int64_t i = 0, first = 0; i < list->count; i++) {
        const struct proposal *row = &list->row[i];
        if (i > 0 && (row->user != row[-1].user || row->sample != row[-1].sample))
            first = i;
        assert_int_equal(row->position, i - first);
        assert_in_range(row->item, 0, scene->layout.answer.first.count - 1);
        assert_false(has_item(&scene->train, row->user, row->item));
        assert_true(row->log_probability <= 1e-6f);
        for (int64_t j = first; j < i; j++)
            assert_int_not_equal(list->row[j].item, row->item);
    }
    assert_int_equal(list->valid, list->count);
    assert_int_equal(list->invalid + list->already_seen + list->duplicate, 0);
}

static void constrained_lists_hold_no_invalid_item(void **state)
{
    const char *wanted = getenv("IDREC_ITEMS");
    const int64_t most = wanted ? atoll(wanted) : 20000;
    (void)state;
    for (int joined = 0; joined < 2; joined++) {
        struct scene scene = make_scene(2, 300, 50, 12, 20 * joined, joined == 1);
        struct list_sampler_settings settings = sampling_of(&scene);
        int64_t count = 0;
        settings.samples = 40;
        settings.contexts = 3;
        settings.sampling.top_p = joined ? 0.9f : 1.0f;
        for (; count < most / 2; settings.sampling.seed++) {
            struct proposal_list list = draw_lists(&scene, &settings);
            check_lists(&scene, &list);
            assert_int_equal(list.incomplete, 0);
            count += list.count;
            proposal_list_free(&list);
        }
        if (wanted)
            printf("%lld items of several tokens, 0 invalid\n", (long long)count);
        free_scene(&scene);
    }
}

/* The limit on tokens cuts items off, which are counted and left out. */
static void cut_items_are_left_out(void **state)
{
    (void)state;
    struct scene scene = make_scene(1, 300, 30, 12, 3, false);
    struct list_sampler_settings settings = sampling_of(&scene);
    settings.tokens_maximum = 7;
    settings.samples = 10;
    struct proposal_list list = draw_lists(&scene, &settings);
    check_lists(&scene, &list);
    assert_true(list.incomplete > 5);
    proposal_list_free(&list);
    free_scene(&scene);
}

/* ---- frequencies ---------------------------------------------------------------------------------------- */

enum { CODES = 5, LEFT = 4, OUTCOMES = 32, LISTS = 100 };

/* What a user may be given: complete token strings of lists of up to three items, and the first two items of each. */
struct possible_lists {
    int64_t count;
    int32_t token[LISTS][24];
    int64_t length[LISTS];
    int32_t item[LISTS][2]; /* -1: none */
};

/* "1", "12", "123", "2", "13": every other one goes on from "1". */
static const int64_t numbers[CODES] = {1, 12, 123, 2, 13};

static void add_list(struct possible_lists *lists, const struct item_tokens *items, const int32_t *item,
                     int64_t count)
{
    const int64_t place = lists->count++;
    int64_t length = 0;
    for (int64_t i = 0; i < count; i++) {
        const struct token_rows *rows = i == 0 ? &items->first : &items->next;
        memcpy(lists->token[place] + length, rows->token + rows->starts[item[i]],
               (size_t)token_row_length(rows, item[i]) * sizeof(int32_t));
        length += token_row_length(rows, item[i]);
    }
    lists->token[place][length++] = ENDS;
    lists->length[place] = length;
    for (int i = 0; i < 2; i++)
        lists->item[place][i] = i < count ? item[i] : -1;
}

static struct possible_lists list_possible(const struct item_tokens *items, int32_t had)
{
    struct possible_lists lists = {.count = 0};
    add_list(&lists, items, NULL, 0);
    for (int32_t a = 0; a < CODES; a++)
        for (int32_t b = -1; b < CODES; b++)
            for (int32_t c = -1; c < (b < 0 ? 0 : CODES); c++)
                if (a != had && b != had && c != had && a != b && a != c && (b != c || b < 0))
                    add_list(&lists, items, (const int32_t[]){a, b, c}, 1 + (b >= 0) + (c >= 0));
    return lists;
}

/* Outcome: the first two items, as digits with base CODES + 1. */
static int outcome_of(const int32_t item[2])
{
    return (item[0] + 1) * (CODES + 1) + item[1] + 1;
}

struct enumeration {
    struct transformer *model;
    const struct possible_lists *lists;
    int32_t context[LONGEST];
    int64_t length;
    double probability[(CODES + 1) * (CODES + 1)];
};

/* Adds the probability of all that begins with `written` tokens behind the context. */
static void enumerate(struct enumeration *walk, int64_t written, double probability)
{
    bool allowed[TOKENS] = {false}, decided = true;
    int outcome = -1;
    double log_probability[TOKENS], sum = 0.0;
    for (int64_t i = 0; i < walk->lists->count; i++) {
        if (walk->lists->length[i] < written ||
            memcmp(walk->lists->token[i], walk->context + walk->length, (size_t)written * 4) != 0)
            continue;
        decided = decided && (outcome < 0 || outcome == outcome_of(walk->lists->item[i]));
        outcome = outcome_of(walk->lists->item[i]);
        if (walk->lists->length[i] > written)
            allowed[walk->lists->token[i][written]] = true;
    }
    if (decided) {
        walk->probability[outcome] += probability;
        return;
    }
    next_log_probabilities(log_probability, walk->model, walk->context, walk->length + written);
    for (int t = 0; t < TOKENS; t++)
        sum += allowed[t] ? exp(log_probability[t]) : 0.0;
    for (int t = 0; t < TOKENS; t++)
        if (allowed[t]) {
            walk->context[walk->length + written] = t;
            enumerate(walk, written + 1, probability * exp(log_probability[t]) / sum);
        }
}

static struct scene make_code_scene(int64_t users)
{
    struct error error = ERROR_INITIALIZER;
    struct scene scene = make_scene(2, CODES, users, 1, 18, false);
    item_writer_free(&scene.writer);
    item_tokens_free(&scene.layout.answer);
    scene.layout.answer = (struct item_tokens){.first = {.count = 0}};
    for (int i = 0; i < CODES; i++)
        add_number(&scene.layout.answer, numbers[i]);
    require(item_writer_create(&scene.writer, &scene.layout.answer, ENDS, &error), &error);
    for (int64_t user = 0; user < users; user++) { /* all alike: each has item 3 */
        scene.train.starts[user + 1] = user + 1;
        scene.train.indices[user] = 3;
    }
    return scene;
}

static void frequencies_are_exact(void **state)
{
    enum { DRAWS = 20000 };
    (void)state;
    struct scene scene = make_code_scene(1);
    const struct possible_lists lists = list_possible(&scene.layout.answer, 3);
    struct enumeration walk = {.model = scene.model, .lists = &lists};
    struct list_sampler_settings settings = sampling_of(&scene);
    double counts[(CODES + 1) * (CODES + 1)] = {0}, chi_square = 0.0, sum = 0.0;
    int classes = 0;
    settings.samples = DRAWS;
    settings.items_maximum = 2;
    walk.length = context_of(&scene, walk.context, 0, settings.sampling.seed, 0);
    enumerate(&walk, 0, 1.0);
    struct proposal_list list = draw_lists(&scene, &settings);
    check_lists(&scene, &list);
    int64_t nothing = DRAWS;
    for (int64_t i = 0; i < list.count; i++) {
        if (list.row[i].position > 0)
            continue;
        const bool two = i + 1 < list.count && list.row[i + 1].position == 1;
        const int outcome = outcome_of((const int32_t[]){list.row[i].item, two ? list.row[i + 1].item : -1});
        counts[outcome]++;
        nothing--;
        if (two)
            assert_true(fabs(log(walk.probability[outcome]) - (double)list.row[i].log_probability -
                             (double)list.row[i + 1].log_probability) < 1e-4);
    }
    counts[0] = (double)nothing;
    for (int i = 0; i < (CODES + 1) * (CODES + 1); i++) {
        sum += walk.probability[i];
        assert_true(counts[i] == 0 || walk.probability[i] > 0.0);
        if (walk.probability[i] * DRAWS < 5.0)
            continue;
        chi_square += pow(counts[i] - walk.probability[i] * DRAWS, 2) / (walk.probability[i] * DRAWS);
        classes++;
    }
    assert_true(fabs(sum - 1.0) < 1e-9);
    assert_true(classes >= 6);
    const double freedom = classes - 1, z = 4.0; /* Wilson and Hilferty 1931 */
    assert_true(chi_square < freedom * pow(1.0 - 2.0 / (9.0 * freedom) + z * sqrt(2.0 / (9.0 * freedom)), 3));
    proposal_list_free(&list);
    free_scene(&scene);
}

/* ---- ranking -------------------------------------------------------------------------------------------- */

enum { CATALOGUE = 130, TOP = 10 };

struct scored {
    int32_t item;
    double score;
};

static int compare_scored(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1) : x->item - y->item;
}

/* Sets the probabilities after one context; those of the user's items are 0. Returns their sum. */
static double score_all(const struct scene *scene, double *probability, int64_t user, uint64_t draw)
{
    int32_t context[LONGEST];
    double sum = 0.0;
    const int64_t length = context_of(scene, context, user, 5, draw);
    const bool joined = scene->layout.joined && csr_row_length(&scene->train, user) > 0;
    const struct token_rows *rows = joined ? &scene->layout.answer.next : &scene->layout.answer.first;
    for (int32_t item = 0; item < CATALOGUE; item++) {
        const bool had = has_item(&scene->train, user, item);
        probability[item] = had ? 0.0 : exp(row_log_probability(scene->model, context, length, rows, item));
        sum += probability[item];
    }
    return sum;
}

static void check_ranking(const struct scene *scene, const struct proposal_list *list, int64_t users,
                          int64_t contexts, bool normalised)
{
    assert_int_equal(list->count, users * TOP);
    for (int64_t user = 0; user < users; user++) {
        struct scored expected[CATALOGUE];
        double probability[CATALOGUE];
        for (int32_t item = 0; item < CATALOGUE; item++)
            expected[item] = (struct scored){item, 0.0};
        for (int64_t context = 0; context < contexts; context++) {
            const double sum = score_all(scene, probability, user, (uint64_t)context);
            for (int32_t item = 0; item < CATALOGUE; item++)
                expected[item].score += probability[item] / (normalised ? sum : 1.0) / (double)contexts;
        }
        qsort(expected, CATALOGUE, sizeof *expected, compare_scored);
        for (int64_t rank = 0; rank < TOP; rank++) {
            const struct proposal *row = &list->row[user * TOP + rank];
            assert_int_equal(row->user, user);
            assert_int_equal(row->item, expected[rank].item);
            assert_true(fabs((double)row->log_probability - log(expected[rank].score)) < 1e-4);
        }
    }
}

static struct item_ranker_settings ranking_of(const struct scene *scene)
{
    return (struct item_ranker_settings){.prompt = prompt_of(scene),
                                         .writer = &scene->writer,
                                         .batch = 64,
                                         .cache_bytes = (size_t)1 << 28,
                                         .contexts = 2,
                                         .items_maximum = TOP,
                                         .seed = 5};
}

static struct proposal_list rank(const struct scene *scene, const struct item_ranker_settings *settings)
{
    struct error error = ERROR_INITIALIZER;
    struct proposal_list list = {.count = 0};
    struct item_ranker *ranker;
    require(item_ranker_create(&ranker, scene->model, settings, &scene->train, &error), &error);
    require(item_ranker_run(ranker, 0, scene->train.rows, &list, &error), &error);
    item_ranker_free(ranker);
    return list;
}

/* The last user has no items. */
static void remove_items(struct scene *scene)
{
    scene->train.starts[scene->train.rows] = scene->train.starts[scene->train.rows - 1];
}

static void rankings_are_exact(void **state)
{
    (void)state;
    for (int joined = 0; joined < 2; joined++) {
        struct scene scene = make_scene(2, CATALOGUE, 4, 6, joined ? 19 : 2, joined == 1);
        const struct item_ranker_settings settings = ranking_of(&scene);
        remove_items(&scene);
        struct proposal_list list = rank(&scene, &settings);
        check_ranking(&scene, &list, 4, 2, true);
        proposal_list_free(&list);
        free_scene(&scene);
    }
}

/* ---- beams ---------------------------------------------------------------------------------------------- */

static struct proposal_list rank_by_beams(const struct scene *scene, int64_t beams, int64_t groups,
                                          double diversity, int64_t contexts, int64_t batch)
{
    struct error error = ERROR_INITIALIZER;
    struct proposal_list list = {.count = 0};
    struct item_beams *search;
    const struct item_beams_settings settings = {.search = {.prompt = prompt_of(scene),
                                                            .batch = batch,
                                                            .cache_bytes = (size_t)1 << 28,
                                                            .contexts = contexts,
                                                            .beams = beams,
                                                            .groups = groups,
                                                            .diversity = diversity,
                                                            .seed = 5},
                                                 .writer = &scene->writer,
                                                 .items_maximum = TOP};
    require(item_beams_create(&search, scene->model, &settings, &scene->train, &error), &error);
    require(item_beams_run(search, 0, scene->train.rows, &list, &error), &error);
    item_beams_free(search);
    return list;
}

/* As many beams as inner nodes on a level: nothing is lost. */
static void wide_beams_are_exact(void **state)
{
    (void)state;
    for (int joined = 0; joined < 2; joined++) {
        struct scene scene = make_scene(2, CATALOGUE, 4, 6, joined ? 19 : 2, joined == 1);
        remove_items(&scene);
        struct proposal_list list = rank_by_beams(&scene, 20, 1, 0.0, 1, 64);
        check_ranking(&scene, &list, 4, 1, false);
        proposal_list_free(&list);
        free_scene(&scene);
    }
}

/* With few beams items may be missed, but those found have their probability. */
static void narrow_beams_find_true_probabilities(void **state)
{
    (void)state;
    struct scene scene = make_scene(1, CATALOGUE, 4, 6, 20, false);
    for (int groups = 1; groups <= 2; groups++) {
        struct proposal_list list = rank_by_beams(&scene, 4, groups, 3.0 * (groups - 1), 1, 64);
        assert_true(list.count > 8);
        for (int64_t i = 0; i < list.count; i++) {
            double probability[CATALOGUE];
            score_all(&scene, probability, list.row[i].user, 0);
            assert_true(fabs((double)list.row[i].log_probability - log(probability[list.row[i].item])) <
                        1e-4);
            for (int64_t j = 0; j < i; j++)
                assert_true(list.row[i].user != list.row[j].user || list.row[i].item != list.row[j].item);
        }
        proposal_list_free(&list);
    }
    free_scene(&scene);
}

static struct list_beams_settings list_beams_of(const struct scene *scene, int64_t beams)
{
    return (struct list_beams_settings){.search = {.prompt = prompt_of(scene),
                                                   .batch = 64,
                                                   .cache_bytes = (size_t)1 << 28,
                                                   .contexts = 1,
                                                   .beams = beams,
                                                   .groups = 1,
                                                   .seed = 5},
                                        .writer = &scene->writer,
                                        .samples = 4,
                                        .items_maximum = 2,
                                        .constrained = true};
}

static struct proposal_list search_lists(const struct scene *scene,
                                         const struct list_beams_settings *settings)
{
    struct error error = ERROR_INITIALIZER;
    struct proposal_list list = {.count = 0};
    struct list_beams *search;
    require(list_beams_create(&search, scene->model, settings, &scene->train, &error), &error);
    require(list_beams_run(search, 0, scene->train.rows, &list, &error), &error);
    list_beams_free(search);
    proposal_list_sort(&list);
    return list;
}

/* The score of every list of at most two items: its log-probability by the number of its tokens. */
static int64_t score_lists(struct enumeration *walk, const struct item_tokens *items, struct scored *scored)
{
    int64_t count = 0;
    for (int32_t a = 0; a < CODES; a++)
        for (int32_t b = -1; b < CODES; b++) {
            if (a == 3 || b == 3 || a == b)
                continue;
            const struct token_rows *const rows[2] = {&items->first, &items->next};
            const int32_t item[2] = {a, b};
            double sum = 0.0, log_probability[TOKENS];
            int64_t length = walk->length;
            for (int i = 0; i < (b < 0 ? 1 : 2); i++)
                for (int64_t t = rows[i]->starts[item[i]]; t < rows[i]->starts[item[i] + 1]; t++) {
                    next_log_probabilities(log_probability, walk->model, walk->context, length);
                    sum += log_probability[rows[i]->token[t]];
                    walk->context[length++] = rows[i]->token[t];
                }
            next_log_probabilities(log_probability, walk->model, walk->context, length);
            const bool longer = numbers[b < 0 ? a : b] == 1 || numbers[b < 0 ? a : b] == 12;
            double tokens = (double)(length - walk->length);
            if (b < 0) {
                sum += log_probability[ENDS];
                tokens++;
            } else if (longer && !(numbers[b] == 12 && numbers[a] == 123)) {
                sum += log(exp(log_probability[COMMA]) + exp(log_probability[ENDS]));
                tokens++;
            }
            scored[count++] = (struct scored){outcome_of(item), sum / tokens};
        }
    return count;
}

static void wide_list_beams_are_exact(void **state)
{
    (void)state;
    struct scene scene = make_code_scene(2);
    struct enumeration walk = {.model = scene.model};
    struct scored scored[OUTCOMES];
    const struct list_beams_settings settings = list_beams_of(&scene, 60);
    struct proposal_list list = search_lists(&scene, &settings);
    check_lists(&scene, &list);
    for (int32_t user = 0; user < 2; user++) {
        walk.length = context_of(&scene, walk.context, user, 5, 0);
        const int64_t count = score_lists(&walk, &scene.layout.answer, scored);
        qsort(scored, (size_t)count, sizeof *scored, compare_scored);
        int64_t empty = 0;
        for (int32_t sample = 0; sample < 4; sample++) {
            int32_t item[2] = {-1, -1};
            for (int64_t i = 0; i < list.count; i++)
                if (list.row[i].user == user && list.row[i].sample == sample)
                    item[list.row[i].position] = list.row[i].item;
            if (item[0] < 0)
                empty++; /* the list of no items is one, too */
            else
                assert_int_equal(outcome_of(item), scored[sample - empty].item);
        }
        assert_true(empty <= 1);
    }
    proposal_list_free(&list);
    free_scene(&scene);
}

/* Groups that are kept apart begin with different tokens. */
static void diverse_groups_differ(void **state)
{
    (void)state;
    struct scene scene = make_scene(1, 90, 3, 5, 4, false);
    struct list_beams_settings settings = list_beams_of(&scene, 4);
    settings.search.groups = 4;
    settings.items_maximum = 4;
    for (int strong = 0; strong < 2; strong++) {
        settings.search.diversity = strong ? 20.0 : 1e-9;
        struct proposal_list list = search_lists(&scene, &settings);
        int64_t different = 0, same = 0;
        check_lists(&scene, &list);
        for (int64_t i = 0; i < list.count; i++)
            for (int64_t j = 0; j < i; j++)
                if (list.row[i].user == list.row[j].user && list.row[i].position == list.row[j].position &&
                    list.row[i].sample != list.row[j].sample)
                    ++*(list.row[i].item == list.row[j].item ? &same : &different);
        assert_true(strong ? different > same : different == 0 && same > 0);
        proposal_list_free(&list);
    }
    free_scene(&scene);
}

/* ---- unconstrained --------------------------------------------------------------------------------------- */

static void free_lists_are_read_and_counted(void **state)
{
    struct error error = ERROR_INITIALIZER;
    (void)state;
    struct scene scene = make_scene(1, 20, 40, 8, 4, false);
    struct answer_parser *parser;
    struct list_sampler_settings settings = sampling_of(&scene);
    require(answer_parser_create(&parser, &scene.writer, NULL, &error), &error);
    settings.constrained = false;
    settings.parser = parser;
    settings.samples = 20;
    settings.tokens_maximum = 30;
    struct proposal_list list = draw_lists(&scene, &settings);
    assert_int_equal(list.valid + list.already_seen + list.duplicate, list.count);
    assert_true(list.count > 0 && list.invalid > 0 && list.incomplete > 0);
    assert_int_equal(list.invalid, list.malformed + list.unknown);
    proposal_list_free(&list);
    struct list_beams_settings beams = list_beams_of(&scene, 4);
    beams.constrained = false;
    beams.parser = parser;
    beams.tokens_maximum = 12;
    list = search_lists(&scene, &beams);
    assert_int_equal(list.valid + list.already_seen + list.duplicate, list.count);
    proposal_list_free(&list);
    answer_parser_free(parser);
    free_scene(&scene);
}

/* ---- independence ----------------------------------------------------------------------------------------- */

static void assert_same(const struct proposal_list *a, const struct proposal_list *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->row, b->row, (size_t)a->count * sizeof *a->row);
}

/* What one way of decoding gives: sampled, ranked and searched. */
enum { RESULTS = 4 };

static void generate_all(struct proposal_list *results, int threads, int64_t batch)
{
    struct scene scene = make_scene(threads, CATALOGUE, 30, 7, 20, false);
    struct list_sampler_settings sampling = sampling_of(&scene);
    struct item_ranker_settings ranking = ranking_of(&scene);
    struct list_beams_settings beams = list_beams_of(&scene, 4);
    sampling.samples = 7;
    sampling.contexts = 2;
    sampling.batch = ranking.batch = beams.search.batch = batch;
    beams.search.groups = 2;
    beams.search.diversity = 0.5;
    results[0] = draw_lists(&scene, &sampling);
    results[1] = rank(&scene, &ranking);
    results[2] = rank_by_beams(&scene, 6, 2, 0.5, 2, batch);
    results[3] = search_lists(&scene, &beams);
    free_scene(&scene);
}

/* With one thread and many rows, and with two and as many slots as there may be, user by user. */
static void results_depend_on_neither_batch_nor_threads(void **state)
{
    struct proposal_list expected[RESULTS], found[RESULTS];
    (void)state;
    generate_all(expected, 1, 192);
    for (int i = 0; i < SLOT_COUNTS; i++) {
        generate_all(found, 2, slot_counts[i]);
        for (int result = 0; result < RESULTS; result++) {
            assert_same(&expected[result], &found[result]);
            proposal_list_free(&found[result]);
        }
    }
    for (int result = 0; result < RESULTS; result++)
        proposal_list_free(&expected[result]);
}

/* Beams need as many slots as there are beams, and one for what all prompts begin with. */
static void beams_that_do_not_fit_are_refused(void **state)
{
    struct error error = ERROR_INITIALIZER;
    struct list_beams *search;
    (void)state;
    struct scene scene = make_scene(1, CATALOGUE, 2, 7, 20, false);
    struct list_beams_settings settings = list_beams_of(&scene, 4);
    settings.search.cache_bytes = 50000;
    assert_false(list_beams_create(&search, scene.model, &settings, &scene.train, &error));
    assert_int_equal(error.kind, ERROR_USAGE);
    assert_non_null(strstr(error.message, "keys and values of 5 sequences"));
    free_scene(&scene);
}

/* ---- interrupts: the last test, since a signal stays ------------------------------------------------------- */

static void signals_end_a_run(void **state)
{
    struct error error = ERROR_INITIALIZER;
    struct proposal_list list = {.count = 0};
    struct list_sampler *sampler;
    struct item_ranker *ranker;
    (void)state;
    struct scene scene = make_scene(1, CATALOGUE, 4, 7, 4, false);
    const struct list_sampler_settings sampling = sampling_of(&scene);
    const struct item_ranker_settings ranking = ranking_of(&scene);
    require(list_sampler_create(&sampler, scene.model, &sampling, &scene.train, &error), &error);
    require(item_ranker_create(&ranker, scene.model, &ranking, &scene.train, &error), &error);
    interrupt_install();
    raise(SIGTERM);
    assert_false(list_sampler_run(sampler, 0, 4, &list, &error));
    assert_int_equal(error.kind, ERROR_INTERRUPTED);
    assert_false(item_ranker_run(ranker, 0, 4, &list, &error));
    list_sampler_free(sampler);
    item_ranker_free(ranker);
    proposal_list_free(&list);
    free_scene(&scene);
}

int main(int argument_count, char **arguments)
{
    (void)argument_count;
    backend_prepare_process(arguments);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constrained_lists_hold_no_invalid_item),
        cmocka_unit_test(cut_items_are_left_out),
        cmocka_unit_test(frequencies_are_exact),
        cmocka_unit_test(rankings_are_exact),
        cmocka_unit_test(wide_beams_are_exact),
        cmocka_unit_test(narrow_beams_find_true_probabilities),
        cmocka_unit_test(wide_list_beams_are_exact),
        cmocka_unit_test(diverse_groups_differ),
        cmocka_unit_test(free_lists_are_read_and_counted),
        cmocka_unit_test(results_depend_on_neither_batch_nor_threads),
        cmocka_unit_test(beams_that_do_not_fit_are_refused),
        cmocka_unit_test(signals_end_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
