#include "experiments/plan_exchange.h"

#include <math.h>

#include "core/comm.h"
#include "experiments/plan_units.h"

/* The rest is taken to be alike. */
enum { COUNTED_STEPS = 100 };

/* The most batches that a rank has a part of, as the trainer divides a step. */
static int64_t rounds_of(const struct packer *packer, bool by_batches, int64_t first, int64_t batches,
                         int ranks)
{
    int64_t most = 0;
    for (int rank = 0; rank < ranks; rank++) {
        const struct packer_run run = by_batches
                                          ? packer_divide_by_batches(packer, first, batches, rank, ranks)
                                          : packer_divide(packer, first, batches, rank, ranks);
        const int64_t own = packer_run_batches(packer, first, batches, run);
        most = own > most ? own : most;
    }
    return most;
}

static double mean_rounds(const struct packer *packer, bool by_batches, int64_t accumulation, int ranks)
{
    const int64_t all = packer_batch_count(packer);
    int64_t sum = 0, steps = 0;
    for (int64_t first = 0; first < all && steps < COUNTED_STEPS; first += accumulation, steps++)
        sum += rounds_of(packer, by_batches, first, all - first < accumulation ? all - first : accumulation,
                         ranks);
    return steps > 0 ? (double)sum / (double)steps : 0;
}

void plan_exchange_count(struct plan_exchange *exchange, struct transformer *model,
                         const struct packer *packer, int64_t accumulation, double link)
{
    const struct communicator *const communicator = transformer_backend(model)->communicator;
    *exchange = (struct plan_exchange){.link = link};
    if (!communicator || communicator->size == 1)
        return;
    const struct tensor gradients = transformer_trained_gradients(model);
    const double ranks = communicator->size;
    const double round = transformer_gathered_bytes(model, 2) - transformer_gathered_bytes(model, 1);
    const double layers = (double)transformer_settings_of(model)->layers;
    exchange->ranks = communicator->size;
    exchange->rounds =
        mean_rounds(packer, transformer_base_is_sharded(model), accumulation, communicator->size);
    exchange->sums = exchange->weights = (ranks - 1) / ranks * (double)tensor_bytes(&gradients);
    exchange->layers = exchange->rounds * round;
    if (round > 0) /* a pass forward and one backward gather all layers but two */
        exchange->validated_layers = round / 2 * layers / (layers - 2);
}

void plan_exchange_step(struct plan_exchange *exchange, double computing)
{
    exchange->computing = exchange->seconds = computing;
    if (exchange->link > 0)
        exchange->seconds = fmax(computing, (exchange->sums + exchange->layers) / exchange->link) +
                            exchange->weights / exchange->link;
}

double plan_exchange_validation(const struct plan_exchange *exchange, double computing, double batches)
{
    return exchange->link > 0 ? fmax(computing, batches * exchange->validated_layers / exchange->link)
                              : computing;
}

void plan_exchange_print(const struct plan_exchange *exchange, FILE *stream)
{
    const double bytes = exchange->sums + exchange->weights + exchange->layers;
    char sent[32], layers[32], computing[32], step[32];
    if (exchange->ranks == 0)
        return;
    fprintf(stream, "    exchange: each of %d ranks sends %s a step", exchange->ranks,
            plan_bytes_text(sent, bytes));
    if (exchange->layers > 0)
        fprintf(stream, ", %s of it frozen layers in %.3g round%s", plan_bytes_text(layers, exchange->layers),
                exchange->rounds, exchange->rounds == 1 ? "" : "s");
    if (exchange->link > 0)
        fprintf(stream, ": %.3g s at %.4g GB/s; computing takes %s, the step %s\n", bytes / exchange->link,
                exchange->link / 1e9, plan_seconds_text(computing, exchange->computing),
                plan_seconds_text(step, exchange->seconds));
    else
        fprintf(stream, "; --link would tell how long that takes\n");
}

json_t *plan_exchange_json(const struct plan_exchange *exchange)
{
    if (exchange->ranks == 0)
        return json_null();
    return json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "ranks", exchange->ranks, "rounds",
                     exchange->rounds, "sum_bytes", exchange->sums, "weight_bytes", exchange->weights,
                     "layer_bytes", exchange->layers, "validated_layer_bytes", exchange->validated_layers,
                     "link_bytes_per_second", exchange->link, "computing_seconds", exchange->computing,
                     "step_seconds", exchange->seconds);
}
