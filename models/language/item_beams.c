#include "models/language/item_beams.h"

#include <math.h>
#include <stdlib.h>

#include "models/language/best_items.h"

#define ADVICE "lower generate.batch"

/* An item that a context's beams have found. */
struct found_item {
    int64_t user, context;
    int32_t item;
    double log_probability;
};

struct item_beams {
    struct item_beams_settings settings;
    const struct csr *train;
    struct beam_search *search;
    int64_t *found_count;      /* [searches] */
    struct scored_item *found; /* [searches, items_maximum], best first */
    int64_t count, capacity;
    struct found_item *result; /* of the contexts that are done */
};

/* ---- the rules ----------------------------------------------------------------------------------------- */

static const struct item_trie *trie_of(const struct item_beams *beams, const struct beam *beam)
{
    return beam->list.further ? &beams->settings.writer->next : &beams->settings.writer->first;
}

static bool has_children(const struct item_trie *trie, int32_t node)
{
    return trie->first_child[node] < trie->first_child[node + 1];
}

static bool begin(void *self, int64_t search, int64_t user, struct beam *beam, struct error *error)
{
    struct item_beams *const beams = self;
    int64_t count;
    const int32_t *items = context_items(beams->train, user, &count);
    beams->found_count[search] = 0;
    return written_list_begin(&beam->list, beams->settings.writer,
                              beams->settings.search.prompt.layout->joined && count > 0, items, count, error);
}

static int64_t list_tokens(void *self, const struct beam *beam, int32_t *token)
{
    const struct item_beams *const beams = self;
    const struct item_writer *const writer = beams->settings.writer;
    const int64_t count = item_writer_continuing(writer, &beam->list, token);
    if (written_list_pending(writer, &beam->list) < 0)
        return count;
    return count + item_writer_stops(writer, token + count);
}

static void keep(struct item_beams *beams, int64_t search, int32_t item, double log_probability)
{
    const int64_t maximum = beams->settings.items_maximum;
    struct scored_item *const found = beams->found + search * maximum;
    for (int64_t i = 0; beams->settings.search.groups > 1 && i < beams->found_count[search]; i++)
        if (found[i].item == item)
            return; /* another group's */
    beams->found_count[search] =
        best_items_add(found, beams->found_count[search], maximum, item, log_probability);
}

static bool finish(void *self, int64_t search, const struct beam *beam, const struct beam_tokens *tokens,
                   struct error *error)
{
    struct item_beams *const beams = self;
    const struct item_trie *const trie = trie_of(beams, beam);
    const int32_t pending = written_list_pending(beams->settings.writer, &beam->list);
    double stop = 0.0;
    (void)error;
    for (int64_t i = 0; i < tokens->count; i++) {
        const int32_t child = item_trie_child(trie, beam->list.node, tokens->token[i]);
        if (child < 0)
            stop += exp((double)tokens->value[i]);
        else if (!has_children(trie, child))
            keep(beams, search, trie->item[child], beam->log_probability + (double)tokens->value[i]);
    }
    if (pending >= 0)
        keep(beams, search, pending, beam->log_probability + log(stop));
    return true;
}

static bool extends(void *self, const struct beam *beam, const struct beam_tokens *tokens, int64_t place)
{
    const struct item_trie *const trie = trie_of(self, beam);
    const int32_t child = item_trie_child(trie, beam->list.node, tokens->token[place]);
    return child >= 0 && has_children(trie, child);
}

static bool extend(void *self, int64_t search, struct beam *beam, const struct beam_tokens *tokens,
                   int64_t place, bool *ended, struct error *error)
{
    (void)search;
    (void)ended;
    (void)error;
    beam->list.node = item_trie_child(trie_of(self, beam), beam->list.node, tokens->token[place]);
    return true;
}

static bool is_done(void *self, int64_t search, double best_log_probability)
{
    const struct item_beams *const beams = self;
    const int64_t maximum = beams->settings.items_maximum;
    return beams->found_count[search] == maximum &&
           beams->found[(search + 1) * maximum - 1].score >= best_log_probability;
}

static bool end(void *self, int64_t search, int64_t user, int64_t context, struct error *error)
{
    struct item_beams *const beams = self;
    const int64_t count = beams->found_count[search];
    const struct scored_item *found = beams->found + search * beams->settings.items_maximum;
    if (beams->count + count > beams->capacity) {
        const int64_t capacity = 2 * beams->capacity + count;
        struct found_item *grown = realloc(beams->result, (size_t)capacity * sizeof *grown);
        if (!grown)
            return error_memory(error, "the items found", (size_t)capacity * sizeof *grown, NULL);
        beams->result = grown;
        beams->capacity = capacity;
    }
    for (int64_t i = 0; i < count; i++)
        beams->result[beams->count++] = (struct found_item){user, context, found[i].item, found[i].score};
    return true;
}

/* ---- creation ------------------------------------------------------------------------------------------ */

static bool allocate(struct item_beams *beams, struct error *error)
{
    const size_t searches = (size_t)beam_search_width(beams->search);
    const size_t count = searches * (size_t)beams->settings.items_maximum;
    beams->found_count = calloc(searches, sizeof *beams->found_count);
    beams->found = calloc(count, sizeof *beams->found);
    return (beams->found_count && beams->found) ||
           error_memory(error, "the items found", count * sizeof *beams->found, ADVICE);
}

bool item_beams_create(struct item_beams **beams, struct transformer *model,
                       const struct item_beams_settings *settings, const struct csr *train,
                       struct error *error)
{
    struct item_beams *made = calloc(1, sizeof *made);
    *beams = NULL;
    if (!made)
        return error_memory(error, "beam search", sizeof *made, NULL);
    made->settings = *settings;
    made->train = train;
    const struct beam_rules rules = {.self = made,
                                     .tokens_maximum = settings->writer->allowed_maximum,
                                     .depth_maximum = settings->writer->length_maximum,
                                     .begin = begin,
                                     .list = list_tokens,
                                     .finish = finish,
                                     .extends = extends,
                                     .extend = extend,
                                     .is_done = is_done,
                                     .end = end};
    if (!beam_search_create(&made->search, model, &settings->search, &rules, train, error) ||
        !allocate(made, error)) {
        item_beams_free(made);
        return false;
    }
    *beams = made;
    return true;
}

void item_beams_free(struct item_beams *beams)
{
    if (!beams)
        return;
    beam_search_free(beams->search);
    free(beams->found_count);
    free(beams->found);
    free(beams->result);
    free(beams);
}

void item_beams_print_memory(const struct item_beams *beams, FILE *stream)
{
    beam_search_print_memory(beams->search, stream);
}

int64_t item_beams_tokens(const struct item_beams *beams)
{
    return beam_search_tokens(beams->search);
}

/* ---- results ------------------------------------------------------------------------------------------- */

static int compare_found(const void *a, const void *b)
{
    const struct found_item *x = a, *y = b;
    if (x->user != y->user)
        return x->user < y->user ? -1 : 1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return (x->context > y->context) - (x->context < y->context);
}

/* What the contexts of a user, results first .. last - 1 by item, have found becomes his ranking. */
static bool append_user(struct item_beams *beams, int64_t first, int64_t last, struct proposal_list *list,
                        struct error *error)
{
    const int64_t maximum = beams->settings.items_maximum;
    struct scored_item *const best = beams->found; /* free between runs */
    int64_t count = 0;
    for (int64_t i = first, next; i < last; i = next) {
        double sum = 0.0;
        for (next = i; next < last && beams->result[next].item == beams->result[i].item; next++)
            sum += exp(beams->result[next].log_probability);
        count = best_items_add(best, count, maximum, beams->result[i].item,
                               log(sum / (double)beams->settings.search.contexts));
    }
    for (int64_t rank = 0; rank < count; rank++) {
        struct proposal proposal = {.user = (int32_t)beams->result[first].user,
                                    .item = best[rank].item,
                                    .position = (int32_t)rank,
                                    .log_probability = (float)best[rank].score};
        for (int64_t i = first; i < last; i++)
            proposal.votes += beams->result[i].item == best[rank].item;
        if (!proposal_list_append(list, proposal, error))
            return false;
    }
    list->valid += count;
    return true;
}

bool item_beams_run(struct item_beams *beams, int64_t first_user, int64_t user_count,
                    struct proposal_list *list, struct error *error)
{
    beams->count = 0;
    list->requested += user_count * beams->settings.items_maximum;
    if (!beam_search_run(beams->search, first_user, user_count, error))
        return false;
    if (beams->count > 0)
        qsort(beams->result, (size_t)beams->count, sizeof *beams->result, compare_found);
    for (int64_t first = 0, last; first < beams->count; first = last) {
        for (last = first; last < beams->count && beams->result[last].user == beams->result[first].user;)
            last++;
        if (!append_user(beams, first, last, list, error))
            return false;
    }
    proposal_list_sort(list);
    return true;
}
