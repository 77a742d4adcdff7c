#include "models/language/list_beams.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/best_items.h"

#define ADVICE "lower generate.batch"

/* What a beam keeps: its items, or, unconstrained, its tokens. */
struct written {
    int64_t items, tokens;
    double item_log_probability; /* of what is written of the next item */
    double score;                /* of a complete list */
    bool cut;                    /* ended by the limit on tokens */
    bool unfinished;             /* cut within an item */
    /* struct scored_item [items_maximum], or int32_t and float [tokens_maximum] each */
    _Alignas(struct scored_item) char part[];
};

struct list_beams {
    struct list_beams_settings settings;
    const struct csr *train;
    struct beam_search *search;
    struct beam_rules rules;
    int64_t lists;        /* kept a search */
    int64_t *found_count; /* [searches] */
    char *
        found; /* [searches, lists + 2] of payload_bytes, best first; then room for one that leaves and one that comes */
    struct answer answer;
    struct proposal_list *result;
};

static struct scored_item *items_of(struct written *written)
{
    return (struct scored_item *)written->part;
}

static int32_t *tokens_of(struct written *written)
{
    return (int32_t *)written->part;
}

static float *log_probabilities_of(const struct list_beams *beams, struct written *written)
{
    return (float *)(tokens_of(written) + beams->settings.tokens_maximum);
}

static struct written *found_of(const struct list_beams *beams, int64_t search, int64_t place)
{
    return (struct written *)(beams->found +
                              (size_t)(search * (beams->lists + 2) + place) * beams->rules.payload_bytes);
}

/* ---- the rules ----------------------------------------------------------------------------------------- */

static bool begin(void *self, int64_t search, int64_t user, struct beam *beam, struct error *error)
{
    struct list_beams *const beams = self;
    int64_t count;
    const int32_t *items = context_items(beams->train, user, &count);
    beams->found_count[search] = 0;
    memset(beam->payload, 0, beams->rules.payload_bytes);
    return written_list_begin(&beam->list, beams->settings.writer,
                              beams->settings.search.prompt.layout->joined && count > 0, items, count, error);
}

/* Keeps a complete list when it is among the best. */
static void keep(struct list_beams *beams, int64_t search, const struct written *list, double log_probability)
{
    const size_t bytes = beams->rules.payload_bytes;
    const double score = log_probability / (double)(list->tokens > 0 ? list->tokens : 1);
    int64_t place = beams->found_count[search];
    for (; place > 0 && score > found_of(beams, search, place - 1)->score; place--)
        memcpy(found_of(beams, search, place), found_of(beams, search, place - 1), bytes);
    memcpy(found_of(beams, search, place), list, bytes);
    found_of(beams, search, place)->score = score;
    if (beams->found_count[search] < beams->lists)
        beams->found_count[search]++;
}

static int64_t list_allowed(void *self, const struct beam *beam, int32_t *token)
{
    int64_t continuing;
    return item_writer_allowed(((struct list_beams *)self)->settings.writer, &beam->list, token, &continuing);
}

static bool continues(const struct list_beams *beams, const struct beam *beam, int32_t token)
{
    const struct item_writer *const writer = beams->settings.writer;
    return item_trie_child(beam->list.further ? &writer->next : &writer->first, beam->list.node, token) >= 0;
}

/* The logarithm of the probability that no longer item goes on from a pending one. */
static double log_stop(const struct list_beams *beams, const struct beam *beam,
                       const struct beam_tokens *tokens)
{
    double sum = 0.0;
    for (int64_t i = 0; i < tokens->count; i++)
        if (!continues(beams, beam, tokens->token[i]))
            sum += exp((double)tokens->value[i]);
    return log(sum);
}

static void add_item(struct written *written, int32_t item)
{
    items_of(written)[written->items++] = (struct scored_item){item, written->item_log_probability};
    written->item_log_probability = 0.0;
}

/* Whether the list is complete as soon as no longer item goes on from the pending one, whatever comes. */
static bool stops_full(const struct list_beams *beams, const struct beam *beam)
{
    return written_list_pending(beams->settings.writer, &beam->list) >= 0 && beam->list.node > 0 &&
           beam->list.items + 1 == beams->settings.items_maximum;
}

/* A list that is full with its pending item ends by any token that does not go on with that; and one that nothing can
 * follow has ended. */
static bool finish(void *self, int64_t search, const struct beam *beam, const struct beam_tokens *tokens,
                   struct error *error)
{
    struct list_beams *const beams = self;
    struct written *const room = found_of(beams, search, beams->lists + 1);
    (void)error;
    if (tokens->count == 0) {
        keep(beams, search, beam->payload, beam->log_probability);
    } else if (stops_full(beams, beam)) {
        const double stop = log_stop(beams, beam, tokens);
        memcpy(room, beam->payload, beams->rules.payload_bytes);
        room->item_log_probability += stop;
        room->tokens++;
        add_item(room, written_list_pending(beams->settings.writer, &beam->list));
        keep(beams, search, room, beam->log_probability + stop);
    }
    return true;
}

static bool extends(void *self, const struct beam *beam, const struct beam_tokens *tokens, int64_t place)
{
    return !stops_full(self, beam) || continues(self, beam, tokens->token[place]);
}

static bool extend_items(void *self, int64_t search, struct beam *beam, const struct beam_tokens *tokens,
                         int64_t place, bool *ended, struct error *error)
{
    struct list_beams *const beams = self;
    struct written *const written = beam->payload;
    const int32_t token = tokens->token[place];
    double log_probability = (double)tokens->value[place];
    struct written_step step;
    if (beam->list.node > 0 && written_list_pending(beams->settings.writer, &beam->list) >= 0 &&
        !continues(beams, beam, token)) {
        const double stop = log_stop(beams, beam, tokens);
        written->item_log_probability += stop;
        log_probability -= stop;
    }
    if (!item_writer_take(&step, beams->settings.writer, &beam->list, token, error))
        return false;
    if (step.before >= 0)
        add_item(written, step.before);
    written->item_log_probability += log_probability;
    if (step.with >= 0)
        add_item(written, step.with);
    written->tokens++;
    written->cut = !step.ends && written->tokens == beams->settings.tokens_maximum;
    written->unfinished = written->cut && beam->list.node > 0;
    *ended = step.ends || written->cut || written->items == beams->settings.items_maximum;
    if (*ended)
        keep(beams, search, written, beam->log_probability);
    return true;
}

static bool extend_freely(void *self, int64_t search, struct beam *beam, const struct beam_tokens *tokens,
                          int64_t place, bool *ended, struct error *error)
{
    struct list_beams *const beams = self;
    struct written *const written = beam->payload;
    const int32_t token = tokens->token[place];
    (void)error;
    *ended = token == beams->settings.writer->end;
    if (!*ended) {
        tokens_of(written)[written->tokens] = token;
        log_probabilities_of(beams, written)[written->tokens++] = (float)tokens->value[place];
        written->cut = *ended = written->tokens == beams->settings.tokens_maximum;
    }
    if (*ended)
        keep(beams, search, written, beam->log_probability);
    return true;
}

/* ---- results ------------------------------------------------------------------------------------------- */

static bool append_items(struct list_beams *beams, struct written *written, int64_t user, int64_t sample,
                         struct error *error)
{
    for (int64_t i = 0; i < written->items; i++) {
        const struct proposal proposal = {.user = (int32_t)user,
                                          .item = items_of(written)[i].item,
                                          .sample = (int32_t)sample,
                                          .position = (int32_t)i,
                                          .log_probability = (float)items_of(written)[i].score};
        if (!proposal_list_append(beams->result, proposal, error))
            return false;
    }
    beams->result->valid += written->items;
    beams->result->incomplete += written->unfinished;
    return true;
}

static bool append_read(struct list_beams *beams, struct written *written, int64_t user, int64_t sample,
                        struct error *error)
{
    int64_t count;
    const int32_t *had = context_items(beams->train, user, &count);
    return answer_parse(&beams->answer, beams->settings.parser, tokens_of(written),
                        log_probabilities_of(beams, written), written->tokens,
                        beams->settings.search.prompt.layout->joined && count > 0, written->cut,
                        beams->settings.items_maximum, error) &&
           answer_propose(&beams->answer, beams->result, (int32_t)user, (int32_t)sample, had, count, error);
}

static bool end(void *self, int64_t search, int64_t user, int64_t context, struct error *error)
{
    struct list_beams *const beams = self;
    for (int64_t place = 0; place < beams->found_count[search]; place++) {
        const int64_t sample = place * beams->settings.search.contexts + context;
        struct written *const written = found_of(beams, search, place);
        if (sample >= beams->settings.samples)
            break;
        if (!(beams->settings.constrained ? append_items(beams, written, user, sample, error)
                                          : append_read(beams, written, user, sample, error)))
            return false;
    }
    return true;
}

/* ---- creation ------------------------------------------------------------------------------------------ */

static struct beam_rules make_rules(struct list_beams *beams)
{
    const struct list_beams_settings *const settings = &beams->settings;
    const size_t parts = settings->constrained
                             ? (size_t)settings->items_maximum * sizeof(struct scored_item)
                             : (size_t)settings->tokens_maximum * (sizeof(int32_t) + sizeof(float));
    struct beam_rules rules = {.self = beams,
                               .payload_bytes = (sizeof(struct written) + parts + 15) / 16 * 16,
                               .tokens_maximum = settings->writer->allowed_maximum,
                               .depth_maximum = settings->tokens_maximum,
                               .shrinks = true,
                               .begin = begin,
                               .extend = extend_freely,
                               .end = end};
    if (settings->constrained) {
        rules.list = list_allowed;
        rules.finish = finish;
        rules.extends = extends;
        rules.extend = extend_items;
    }
    return rules;
}

static bool allocate(struct list_beams *beams, struct error *error)
{
    const size_t searches = (size_t)beam_search_width(beams->search);
    const size_t count = searches * (size_t)(beams->lists + 2);
    beams->found_count = calloc(searches, sizeof *beams->found_count);
    beams->found = calloc(count, beams->rules.payload_bytes);
    return (beams->found_count && beams->found) ||
           error_memory(error, "the lists found", count * beams->rules.payload_bytes, ADVICE);
}

bool list_beams_create(struct list_beams **beams, struct transformer *model,
                       const struct list_beams_settings *settings, const struct csr *train,
                       struct error *error)
{
    struct list_beams *made = calloc(1, sizeof *made);
    *beams = NULL;
    if (!made)
        return error_memory(error, "beam search", sizeof *made, NULL);
    made->settings = *settings;
    made->train = train;
    made->lists = (settings->samples + settings->search.contexts - 1) / settings->search.contexts;
    const int64_t needed = settings->items_maximum * settings->writer->length_maximum + 1;
    if (settings->tokens_maximum == 0 || (settings->constrained && settings->tokens_maximum > needed))
        made->settings.tokens_maximum = needed;
    made->rules = make_rules(made);
    if (!beam_search_create(&made->search, model, &settings->search, &made->rules, train, error) ||
        !allocate(made, error)) {
        list_beams_free(made);
        return false;
    }
    *beams = made;
    return true;
}

void list_beams_free(struct list_beams *beams)
{
    if (!beams)
        return;
    beam_search_free(beams->search);
    answer_free(&beams->answer);
    free(beams->found_count);
    free(beams->found);
    free(beams);
}

void list_beams_print_memory(const struct list_beams *beams, FILE *stream)
{
    beam_search_print_memory(beams->search, stream);
}

int64_t list_beams_tokens(const struct list_beams *beams)
{
    return beam_search_tokens(beams->search);
}

bool list_beams_run(struct list_beams *beams, int64_t first_user, int64_t user_count,
                    struct proposal_list *list, struct error *error)
{
    list->requested += user_count * beams->settings.samples * beams->settings.items_maximum;
    beams->result = list;
    return beam_search_run(beams->search, first_user, user_count, error);
}
