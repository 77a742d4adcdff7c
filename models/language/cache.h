/*
 * cache.h: decoding with the keys and values of all earlier tokens kept. A cache holds `slots` sequences of
 * up to `capacity` tokens, as many as memory allows: for a large model and long prompts a few. A prompt is read in a packed pass together with others; then its sequence goes on
 * by a token a step.
 *
 * The last token of a prompt is not read but decoded. Reading therefore computes no logits, and of the last
 * layer only keys and values.
 *
 * The bits of a sequence's logits depend neither on the other sequences nor on when it is read: every pass is
 * padded to a multiple of GEMM_ROW_BLOCK rows, by rows that belong to no slot.
 *
 * Errors stick to the model's backend; backend_synchronize() reports them.
 */
#ifndef IDREC_MODELS_LANGUAGE_CACHE_H
#define IDREC_MODELS_LANGUAGE_CACHE_H

#include "models/language/transformer.h"

struct cache;

struct cache_settings {
    int64_t slots;       /* at least 1 */
    int64_t capacity;    /* tokens of a sequence */
    int64_t pass_tokens; /* read in one pass; 0: what suits the device; raised to what one sequence needs */
};

struct slots_wanted {
    int64_t capacity;
    int64_t most,
        least;    /* slots that are of use, and those without which nothing can be done; 1 <= least <= most */
    size_t bytes; /* that keys and values may occupy; 0: what suits the device */
};

/* As many slots as are of use and fit. What suits a GPU is nine tenths of what it has free besides the activations, in
 * whole GiB, so that what others hold there seldom matters; the CPU 1 GiB, or half of what is free where GEMM_ROW_BLOCK
 * slots need more; and the least where that is less. Of a GPU of which nobody knows what is free (a plan's) it is all. Fails when the least do not fit into `bytes`. */
bool cache_choose_slots(int64_t *slots, const struct transformer *model, const struct slots_wanted *wanted,
                        struct error *error);

/* The model must outlive the cache. Fails when the device has too little memory. */
bool cache_create(struct cache **cache, struct transformer *model, const struct cache_settings *settings,
                  struct error *error);
void cache_free(struct cache *cache);
/* From here on the sequences are another model's, of the same shape and backend; what the slots hold is void. */
void cache_use(struct cache *cache, const struct transformer *model);
/* The arenas' table. */
void cache_print_memory(const struct cache *cache, FILE *stream);

/* Puts the tokens of a new sequence into a slot: 1 <= count < capacity. They are read at the latest by the
 * next cache_decode(). */
void cache_read(struct cache *cache, int32_t slot, const int32_t *tokens, int64_t count);
/* The same for a sequence whose first `shared` tokens slot `from` already has (it was filled before the last
 * cache_flush() or cache_decode()): only the `count` tokens behind them are read, shared + count < capacity. What many
 * prompts begin with is so computed once. */
void cache_extend(struct cache *cache, int32_t slot, int32_t from, int64_t shared, const int32_t *tokens,
                  int64_t count);
/* Gives slot `to` the tokens begin .. end - 1 of slot `from`, both of which stay as they are until the next
 * cache_decode(). What the queue reads into `from` is there by then. */
void cache_share(struct cache *cache, int32_t to, int32_t from, int64_t begin, int64_t end);

/* The next token of `count` sequences: token[i] at position[i] (tokens before it) of slot[i]. */
struct decode_step {
    int64_t count; /* at most the slots */
    const int32_t *slot, *token, *position;
};
/* logits becomes a view [count rounded up to GEMM_ROW_BLOCK, transformer_logit_columns()], valid until the next call;
 * rows from `count` on mean nothing. */
void cache_decode(struct cache *cache, const struct decode_step *step, struct tensor *logits);

/* The same steps without the host between them: what each row decodes is in device memory, where op_advance() changes it.
 * cache_flush() reads what is queued; then cache_step() only calls operators and may be recorded in a graph. */
void cache_flush(struct cache *cache);
void cache_step(struct cache *cache, struct decode_rows rows, struct tensor *logits);

static inline int64_t round_to_row_block(int64_t rows)
{
    return (rows + GEMM_ROW_BLOCK - 1) / GEMM_ROW_BLOCK * GEMM_ROW_BLOCK;
}

#endif
