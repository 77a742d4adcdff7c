#include "models/language/beam_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/interrupt.h"
#include "models/language/token_candidates.h"

#define ADVICE "lower generate.batch"

/* A way of going on from a beam of the same search. */
struct expansion {
    int64_t parent, place; /* the beam's number, the token's place among those that follow it */
    int32_t token;
    double log_probability, key; /* key: less what diversity takes off */
};

/* One context of a user. Its beams and slots have the numbers index * beams .. + beams - 1; group g's begin at
 * g * (beams / groups). */
struct running_search {
    int64_t user, context;
    int32_t base;         /* position of the context's last token */
    bool first;           /* there is one beam, the context itself, from which all groups go on */
    int64_t *live, *most; /* [groups]: beams, and how many there may be */
};

/* Tokens of any kind that follow, where the rules list none. */
struct free_tokens {
    struct arena arena;
    struct tensor column, score, mask_rows, mask_starts, mask;
    int32_t *host_column;
    real *host_score;
    int64_t count; /* a row */
};

struct beam_search {
    struct transformer *model;
    struct beam_settings settings;
    struct beam_rules rules;
    struct context_cache contexts;
    struct candidates candidates;
    struct free_tokens free_tokens;
    int64_t searches, width, classes, tokens; /* width: of a group */
    int64_t count;                            /* searches under way */
    struct running_search *running;
    struct beam *beam, *next;         /* [searches * beams] */
    bool *filled;                     /* [searches * beams]: the slot has the context */
    int64_t *row;                     /* [searches * beams]: of a live beam in the step */
    int32_t *slot, *token, *position; /* [searches * beams], a step */
    struct expansion *best;           /* [beams], of all groups */
    int64_t *chosen;                  /* [groups] */
    bool *slot_used, *parent_free;    /* [beams], by slot */
};

/* ---- creation ----------------------------------------------------------------------------------------- */

static void lay_out_free(struct beam_search *search)
{
    struct free_tokens *const free_tokens = &search->free_tokens;
    struct arena *const arena = &free_tokens->arena;
    const int64_t rows = search->searches * search->settings.beams;
    free_tokens->column = arena_tensor_2d(arena, DTYPE_I32, rows, free_tokens->count);
    free_tokens->score = arena_tensor_2d(arena, DTYPE_REAL, rows, free_tokens->count);
    free_tokens->mask_rows = arena_tensor_1d(arena, DTYPE_I32, rows);
    free_tokens->mask_starts = arena_tensor_1d(arena, DTYPE_I64, 2);
    free_tokens->mask = arena_tensor_1d(arena, DTYPE_I32, 1);
}

/* Twice the beams: as many may end. */
static bool create_free(struct beam_search *search, struct error *error)
{
    struct free_tokens *const free_tokens = &search->free_tokens;
    const int64_t wanted = 2 * search->width * search->settings.groups;
    const int64_t rows = search->searches * search->settings.beams;
    free_tokens->count = wanted < search->classes ? wanted : search->classes;
    free_tokens->arena = arena_measure(transformer_backend(search->model), "beams");
    free_tokens->host_column = malloc((size_t)(rows * free_tokens->count) * sizeof(int32_t));
    free_tokens->host_score = malloc((size_t)(rows * free_tokens->count) * sizeof(real));
    if (!free_tokens->host_column || !free_tokens->host_score)
        return error_memory(error, "the tokens of beams", (size_t)(rows * free_tokens->count) * 8, ADVICE);
    lay_out_free(search);
    if (!arena_reserve(&free_tokens->arena, 0, ADVICE, error))
        return false;
    lay_out_free(search);
    return true;
}

static bool allocate_beams(struct beam_search *search)
{
    const size_t beams = (size_t)(search->searches * search->settings.beams);
    search->beam = calloc(beams, sizeof *search->beam);
    search->next = calloc(beams, sizeof *search->next);
    if (!search->beam || !search->next)
        return false;
    for (size_t i = 0; i < beams; i++) {
        search->beam[i].payload = calloc(1, search->rules.payload_bytes + 1);
        search->next[i].payload = calloc(1, search->rules.payload_bytes + 1);
        if (!search->beam[i].payload || !search->next[i].payload)
            return false;
    }
    return true;
}

static bool allocate_searches(struct beam_search *search)
{
    const size_t groups = (size_t)search->settings.groups;
    search->running = calloc((size_t)search->searches, sizeof *search->running);
    for (int64_t i = 0; search->running && i < search->searches; i++) {
        search->running[i].live = calloc(groups, sizeof *search->running[i].live);
        search->running[i].most = calloc(groups, sizeof *search->running[i].most);
        if (!search->running[i].live || !search->running[i].most)
            return false;
    }
    return search->running != NULL;
}

static bool allocate(struct beam_search *search, struct error *error)
{
    const size_t beams = (size_t)(search->searches * search->settings.beams);
    search->filled = calloc(beams, sizeof *search->filled);
    search->row = calloc(beams, sizeof *search->row);
    search->slot = calloc(beams, sizeof *search->slot);
    search->token = calloc(beams, sizeof *search->token);
    search->position = calloc(beams, sizeof *search->position);
    search->best = calloc((size_t)search->settings.beams, sizeof *search->best);
    search->chosen = calloc((size_t)search->settings.groups, sizeof *search->chosen);
    search->slot_used = calloc((size_t)search->settings.beams, sizeof *search->slot_used);
    search->parent_free = calloc((size_t)search->settings.beams, sizeof *search->parent_free);
    if (allocate_beams(search) && allocate_searches(search) && search->filled && search->row &&
        search->slot && search->token && search->position && search->best && search->chosen &&
        search->slot_used && search->parent_free)
        return true;
    return error_memory(error, "the beams of a batch",
                        beams * (2 * search->rules.payload_bytes + 2 * sizeof(struct beam)), ADVICE);
}

bool beam_search_create(struct beam_search **search, struct transformer *model,
                        const struct beam_settings *settings, const struct beam_rules *rules,
                        const struct csr *train, struct error *error)
{
    struct beam_search *made = calloc(1, sizeof *made);
    *search = NULL;
    if (!made)
        return error_memory(error, "beam search", sizeof *made, NULL);
    const struct transformer_settings *shape = transformer_settings_of(model);
    const struct context_settings contexts = {.prompt = settings->prompt,
                                              .seed = settings->seed,
                                              .batch = settings->batch > settings->beams ? settings->batch
                                                                                         : settings->beams,
                                              .least = settings->beams,
                                              .cache_bytes = settings->cache_bytes,
                                              .tokens_after = rules->depth_maximum + 1};
    made->model = model;
    made->settings = *settings;
    made->rules = *rules;
    made->width = settings->beams / settings->groups;
    made->classes = shape->classes > 0 ? shape->classes : shape->vocabulary;
    bool done = context_cache_create(&made->contexts, model, &contexts, train, error);
    made->searches = done ? made->contexts.rows / settings->beams : 0;
    done = done && allocate(made, error) &&
           (rules->list ? candidates_create(&made->candidates, transformer_backend(model),
                                            made->searches * settings->beams, rules->tokens_maximum, error)
                        : create_free(made, error));
    if (!done) {
        beam_search_free(made);
        return false;
    }
    *search = made;
    return true;
}

static void free_beams(struct beam *beam, int64_t count)
{
    for (int64_t i = 0; beam && i < count; i++) {
        written_list_free(&beam[i].list);
        free(beam[i].payload);
    }
    free(beam);
}

void beam_search_free(struct beam_search *search)
{
    if (!search)
        return;
    free_beams(search->beam, search->searches * search->settings.beams);
    free_beams(search->next, search->searches * search->settings.beams);
    for (int64_t i = 0; search->running && i < search->searches; i++) {
        free(search->running[i].live);
        free(search->running[i].most);
    }
    candidates_free(&search->candidates);
    arena_release(&search->free_tokens.arena);
    free(search->free_tokens.host_column);
    free(search->free_tokens.host_score);
    context_cache_free(&search->contexts);
    free(search->running);
    free(search->filled);
    free(search->row);
    free(search->slot);
    free(search->token);
    free(search->position);
    free(search->best);
    free(search->chosen);
    free(search->slot_used);
    free(search->parent_free);
    free(search);
}

void beam_search_print_memory(const struct beam_search *search, FILE *stream)
{
    cache_print_memory(search->contexts.cache, stream);
}

int64_t beam_search_width(const struct beam_search *search)
{
    return search->searches;
}

int64_t beam_search_tokens(const struct beam_search *search)
{
    return search->tokens;
}

/* ---- a step -------------------------------------------------------------------------------------------- */

/* Calls for the live beams of all searches, by number. */
#define EACH_LIVE_BEAM(search, index, group, number)                                                         \
    for (int64_t index = 0; index < (search)->searches; index++)                                             \
        for (int64_t group = 0; group < (search)->settings.groups; group++)                                  \
            for (int64_t number = index * (search)->settings.beams + group * (search)->width;                \
                 number < index * (search)->settings.beams + group * (search)->width +                       \
                              (search)->running[index].live[group];                                          \
                 number++)

static int64_t stage_rows(struct beam_search *search)
{
    int64_t rows = 0;
    EACH_LIVE_BEAM(search, index, group, number)
    {
        const struct beam *beam = &search->beam[number];
        search->row[number] = rows;
        search->slot[rows] = beam->slot;
        search->token[rows] = beam->token;
        search->position[rows++] = beam->position;
    }
    return rows;
}

static bool pick_free(struct beam_search *search, int64_t rows, const struct tensor *scores,
                      struct error *error)
{
    struct free_tokens *const free_tokens = &search->free_tokens;
    struct backend *const backend = transformer_backend(search->model);
    const struct tensor used = tensor_rows(scores, 0, rows);
    const struct tensor mask_rows = tensor_rows(&free_tokens->mask_rows, 0, rows);
    struct tensor column = tensor_rows(&free_tokens->column, 0, rows);
    struct tensor score = tensor_rows(&free_tokens->score, 0, rows);
    op_topk_masked(backend, &column, &score, NULL, &used, &mask_rows, &free_tokens->mask_starts,
                   &free_tokens->mask);
    tensor_download(backend, free_tokens->host_column, &column);
    tensor_download(backend, free_tokens->host_score, &score);
    return backend_synchronize(backend, error);
}

/* Decodes all beams and fetches the log-probabilities of what may follow. */
static bool decode(struct beam_search *search, struct error *error)
{
    struct backend *const backend = transformer_backend(search->model);
    const int64_t rows = stage_rows(search);
    struct tensor logits;
    search->tokens += rows;
    cache_decode(search->contexts.cache,
                 &(struct decode_step){rows, search->slot, search->token, search->position}, &logits);
    op_log_softmax_masked(backend, &logits, NULL, search->classes);
    if (!search->rules.list)
        return pick_free(search, rows, &logits, error);
    EACH_LIVE_BEAM(search, index, group, number)
    {
        const int64_t row = search->row[number];
        search->candidates.count[row] = search->rules.list(search->rules.self, &search->beam[number],
                                                           candidates_tokens(&search->candidates, row));
    }
    return candidates_pick(&search->candidates, rows, &logits, error);
}

static struct beam_tokens tokens_behind(const struct beam_search *search, int64_t number)
{
    const int64_t row = search->row[number];
    const struct free_tokens *const free_tokens = &search->free_tokens;
    if (search->rules.list)
        return (struct beam_tokens){search->candidates.count[row],
                                    candidates_tokens(&search->candidates, row),
                                    candidates_values(&search->candidates, row)};
    return (struct beam_tokens){free_tokens->count, free_tokens->host_column + row * free_tokens->count,
                                free_tokens->host_score + row * free_tokens->count};
}

static bool check_numbers(const struct beam_tokens *tokens, struct error *error)
{
    for (int64_t i = 0; i < tokens->count; i++)
        if (isnan(tokens->value[i]))
            return error_set(error, ERROR_RUN,
                             "the logits are not numbers; train the model again with a lower learning rate");
    return true;
}

/* ---- choice -------------------------------------------------------------------------------------------- */

static bool is_better(const struct expansion *a, const struct expansion *b)
{
    if (a->key != b->key)
        return a->key > b->key;
    return a->parent != b->parent ? a->parent < b->parent : a->token < b->token;
}

/* Puts an expansion among the `count` best, sorted. */
static int64_t add_expansion(struct expansion *best, int64_t count, int64_t maximum, struct expansion added)
{
    if (maximum == 0 || (count == maximum && !is_better(&added, &best[count - 1])))
        return count;
    int64_t place = count < maximum ? count++ : count - 1;
    for (; place > 0 && is_better(&added, &best[place - 1]); place--)
        best[place] = best[place - 1];
    best[place] = added;
    return count;
}

/* How often the groups before `group` have chosen a token at this step. */
static int64_t times_chosen(const struct beam_search *search, int64_t group, int32_t token)
{
    int64_t times = 0;
    for (int64_t g = 0; g < group; g++)
        for (int64_t i = 0; i < search->chosen[g]; i++)
            times += search->best[g * search->width + i].token == token;
    return times;
}

static void expand_beam(struct beam_search *search, int64_t index, int64_t group, int64_t number)
{
    const struct beam_settings *const settings = &search->settings;
    const struct beam_tokens tokens = tokens_behind(search, number);
    const struct beam *const beam = &search->beam[number];
    struct expansion *const best = search->best + group * search->width;
    for (int64_t place = 0; place < tokens.count; place++) {
        const double log_probability = beam->log_probability + (double)tokens.value[place];
        if (tokens.token[place] < 0 || isinf(log_probability) ||
            (search->rules.extends && !search->rules.extends(search->rules.self, beam, &tokens, place)))
            continue;
        struct expansion added = {number, place, tokens.token[place], log_probability, log_probability};
        if (settings->diversity > 0.0 && group > 0)
            added.key -= settings->diversity * (double)times_chosen(search, group, added.token);
        search->chosen[group] =
            add_expansion(best, search->chosen[group], search->running[index].most[group], added);
    }
}

/* Groups choose in turn; at first all go on from the context. */
static void choose(struct beam_search *search, int64_t index)
{
    const struct running_search *const running = &search->running[index];
    for (int64_t group = 0; group < search->settings.groups; group++) {
        const int64_t first = index * search->settings.beams + (running->first ? 0 : group * search->width);
        const int64_t live = running->first ? 1 : running->live[group];
        search->chosen[group] = 0;
        for (int64_t i = 0; i < live; i++)
            expand_beam(search, index, group, first + i);
    }
}

static bool finish_beams(struct beam_search *search, int64_t index, struct error *error)
{
    const struct beam_settings *const settings = &search->settings;
    const struct running_search *const running = &search->running[index];
    for (int64_t group = 0; group < settings->groups; group++)
        for (int64_t i = 0; i < running->live[group]; i++) {
            const int64_t number = index * settings->beams + group * search->width + i;
            const struct beam_tokens tokens = tokens_behind(search, number);
            if (!check_numbers(&tokens, error) ||
                (search->rules.finish &&
                 !search->rules.finish(search->rules.self, index, &search->beam[number], &tokens, error)))
                return false;
        }
    return true;
}

/* ---- going on ------------------------------------------------------------------------------------------ */

/* The slot of a beam that goes on from `parent`: the parent's own, or, when another has taken that, one that no beam needs
 * any more, with a copy. */
static int32_t take_slot(struct beam_search *search, int64_t index, const struct beam *parent,
                         bool *parent_free)
{
    const int32_t first = (int32_t)(index * search->settings.beams);
    int32_t slot = parent->slot;
    if (!*parent_free) {
        slot = first;
        while (search->slot_used[slot - first])
            slot++;
        const int64_t begin = search->filled[slot] ? search->running[index].base + 1 : 0;
        cache_share(search->contexts.cache, slot, parent->slot, begin, parent->position + 1);
    }
    *parent_free = false;
    search->slot_used[slot - first] = search->filled[slot] = true;
    return slot;
}

/* Slots of beams that go on stay with the first that goes on from them. */
static void mark_parents(struct beam_search *search, int64_t index)
{
    const int64_t first = index * search->settings.beams;
    memset(search->slot_used, 0, (size_t)search->settings.beams * sizeof *search->slot_used);
    for (int64_t group = 0; group < search->settings.groups; group++)
        for (int64_t i = 0; i < search->chosen[group]; i++)
            search->slot_used[search->beam[search->best[group * search->width + i].parent].slot - first] =
                true;
}

static bool extend_beam(struct beam_search *search, int64_t index, const struct expansion *expansion,
                        struct beam *made, bool *ended, struct error *error)
{
    const struct beam *const parent = &search->beam[expansion->parent];
    const struct beam_tokens tokens = tokens_behind(search, expansion->parent);
    if (!written_list_copy(&made->list, &parent->list, error))
        return false;
    memcpy(made->payload, parent->payload, search->rules.payload_bytes);
    made->log_probability = expansion->log_probability;
    made->token = expansion->token;
    made->position = parent->position + 1;
    *ended = false;
    return search->rules.extend(search->rules.self, index, made, &tokens, expansion->place, ended, error);
}

static bool extend_beams(struct beam_search *search, int64_t index, struct error *error)
{
    struct running_search *const running = &search->running[index];
    const int64_t first = index * search->settings.beams;
    bool *const parent_free = search->parent_free;
    memset(parent_free, 1, (size_t)search->settings.beams * sizeof *parent_free);
    mark_parents(search, index);
    for (int64_t group = 0; group < search->settings.groups; group++) {
        int64_t live = 0;
        for (int64_t i = 0; i < search->chosen[group]; i++) {
            const struct expansion *const expansion = &search->best[group * search->width + i];
            struct beam *const made = &search->next[first + group * search->width + live];
            const struct beam *const parent = &search->beam[expansion->parent];
            bool ended;
            if (!extend_beam(search, index, expansion, made, &ended, error))
                return false;
            running->most[group] -= ended && search->rules.shrinks;
            if (ended)
                continue;
            made->slot = take_slot(search, index, parent, &parent_free[parent->slot - first]);
            live++;
        }
        running->live[group] = live;
    }
    running->first = false;
    for (int64_t i = 0; i < search->settings.beams; i++) {
        const struct beam swapped = search->beam[first + i];
        search->beam[first + i] = search->next[first + i];
        search->next[first + i] = swapped;
    }
    return true;
}

/* ---- searches ------------------------------------------------------------------------------------------ */

struct search_jobs {
    const int64_t *order;
    int64_t next, count; /* of users times contexts */
};

static bool begin_search(struct beam_search *search, int64_t index, struct search_jobs *jobs,
                         struct error *error)
{
    const struct beam_settings *const settings = &search->settings;
    struct running_search *const running = &search->running[index];
    struct beam *const beam = &search->beam[index * settings->beams];
    const int64_t tokens = search->contexts.tokens;
    running->user = jobs->order[jobs->next / settings->contexts];
    running->context = jobs->next % settings->contexts;
    running->first = true;
    for (int64_t group = 0; group < settings->groups; group++) {
        running->live[group] = group == 0;
        running->most[group] = search->width;
    }
    for (int64_t i = 0; i < settings->beams; i++)
        search->filled[index * settings->beams + i] = i == 0;
    beam->slot = (int32_t)(index * settings->beams);
    running->base =
        (int32_t)context_cache_read(&search->contexts, beam->slot, running->user, running->context);
    beam->position = running->base;
    beam->token = search->contexts.prompt[running->base];
    beam->log_probability = 0.0;
    search->tokens += search->contexts.tokens - tokens;
    jobs->next++;
    search->count++;
    return search->rules.begin(search->rules.self, index, running->user, beam, error);
}

/* Whether any beam is left that can add something. */
static bool goes_on(const struct beam_search *search, int64_t index)
{
    const struct beam_settings *const settings = &search->settings;
    const struct running_search *const running = &search->running[index];
    double best = -INFINITY;
    for (int64_t group = 0; group < settings->groups; group++)
        for (int64_t i = 0; i < running->live[group]; i++)
            best =
                fmax(best, search->beam[index * settings->beams + group * search->width + i].log_probability);
    return best > -INFINITY &&
           (!search->rules.is_done || !search->rules.is_done(search->rules.self, index, best));
}

static bool step_search(struct beam_search *search, int64_t index, struct error *error)
{
    struct running_search *const running = &search->running[index];
    if (!finish_beams(search, index, error))
        return false;
    choose(search, index);
    if (!extend_beams(search, index, error))
        return false;
    if (goes_on(search, index))
        return true;
    for (int64_t group = 0; group < search->settings.groups; group++)
        running->live[group] = 0;
    search->count--;
    cache_flush(
        search->contexts.cache); /* copies that the next search's context must not be overwritten by */
    return search->rules.end(search->rules.self, index, running->user, running->context, error);
}

static bool is_running(const struct beam_search *search, int64_t index)
{
    for (int64_t group = 0; group < search->settings.groups; group++)
        if (search->running[index].live[group] > 0)
            return true;
    return false;
}

static bool run_jobs(struct beam_search *search, struct search_jobs *jobs, struct error *error)
{
    search->count = 0;
    for (int64_t index = 0; index < search->searches; index++)
        for (int64_t group = 0; group < search->settings.groups; group++)
            search->running[index].live[group] = 0;
    for (;;) {
        for (int64_t index = 0; index < search->searches && jobs->next < jobs->count; index++)
            if (!is_running(search, index) && !begin_search(search, index, jobs, error))
                return false;
        if (search->count == 0)
            return true;
        if (!interrupt_check(error) || !decode(search, error))
            return false;
        for (int64_t index = 0; index < search->searches; index++)
            if (is_running(search, index) && !step_search(search, index, error))
                return false;
    }
}

bool beam_search_run(struct beam_search *search, int64_t first_user, int64_t user_count, struct error *error)
{
    int64_t *order = context_order(search->contexts.train, first_user, user_count, error);
    struct search_jobs jobs = {.order = order, .count = user_count * search->settings.contexts};
    const bool done = order && run_jobs(search, &jobs, error);
    free(order);
    return done;
}
