/*
 * language_model.h: what the stages of the language model share: its vocabulary, prompts and settings as the
 * configuration gives them, the training run of pretrain and finetune, and the finished model.
 */
#ifndef IDREC_EXPERIMENTS_LANGUAGE_MODEL_H
#define IDREC_EXPERIMENTS_LANGUAGE_MODEL_H

#include "core/interactions.h"
#include "experiments/language_prompts.h"
#include "experiments/run.h"
#include "models/language/prompt.h"
#include "models/language/ranker.h"
#include "models/language/sampler.h"
#include "models/language/trainer.h"
#include "models/language/transformer.h"

/* What the configuration says of a model and its training; what the stages below are made of. */
bool language_precision(enum precision *precision, const struct run *run, struct error *error);
struct transformer_settings language_base_settings(const struct config *config,
                                                   const struct language_prompts *prompts,
                                                   enum precision precision);
struct lora_settings language_adapter_settings(const struct config *config);
struct packing_settings language_packing_settings(const struct run *run, const char *stage,
                                                  const struct prompt_settings *prompt);
enum frozen_storage language_frozen_storage(const struct run *run);
/* Of an epoch that has begun. */
struct trainer_settings language_trainer_settings(const struct run *run, const char *stage,
                                                  const struct packer *packer);
struct sampler_settings language_sampler_settings(const struct run *run,
                                                  const struct language_prompts *prompts);
struct ranker_settings language_ranker_settings(const struct run *run,
                                                const struct language_prompts *prompts);

/* The hash of a text, of whether the device is fast, of the files that the vocabulary `text` reads, of sections of the configuration and of the contents of files of the
 * run's folder, which may be absent; both lists end with NULL. What is half done goes on only where it is the same. */
bool language_fingerprint(uint64_t *hash, const struct run *run, const char *text,
                          const char *const *sections, const char *const *files, struct error *error);

/* A member of what the configuration leads to: base, base with adapter, or the fully fine-tuned one; for
 * inference over batches of at most tokens_maximum tokens and sequences_maximum sequences. */
bool language_model_open(struct transformer **model, const struct run *run, int64_t member,
                         int64_t tokens_maximum, int64_t sequences_maximum, struct error *error);

/* Whether the training that came last had the end of a list among its targets. */
bool language_end_is_trained(const struct config *config);

/* One training of the language model on a data set, as the section `stage` ("pretrain", "finetune") says. It points into
 * itself: it is not to be copied. */
struct language_training {
    const char *stage;
    int64_t member;                    /* that is trained: language_members() one after another */
    struct communicator *communicator; /* whose ranks train together; NULL: one process */
    enum precision precision;
    enum frozen_storage frozen;
    struct dataset dataset;
    struct csr train_sorted, validation_sorted, test_sorted;
    struct language_prompts prompts;
    struct packing_settings packing;
    int64_t sequences_maximum; /* of a batch */
};
bool language_training_open(struct language_training *training, const struct run *run, const char *stage,
                            struct error *error);
/* Trains every member that an interrupted attempt has not finished. `train` makes and saves one, whose `part` (as of
 * language_member_folder()) is then complete. */
typedef bool train_member_function(const struct language_training *training, struct run *run,
                                   struct stage_cost *cost, struct error *error);
bool language_training_run_members(struct language_training *training, struct run *run, const char *part,
                                   train_member_function *train, struct stage_cost *cost,
                                   struct error *error);
/* Trains; adds to *cost. The model of every rank then holds the weights to keep. */
bool language_training_run(const struct language_training *training, struct run *run,
                           struct transformer *model, struct stage_cost *cost, struct error *error);
void language_training_close(struct language_training *training);

#endif
