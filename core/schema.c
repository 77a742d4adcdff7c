#include "core/schema.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define LARGE 9007199254740992.0 /* 2^53: integers up to here are exact as doubles */

#define SECTION(path, help) {SCHEMA_SECTION, false, path, NULL, 0, 0, NULL, help, false},
#define MAPPINGS(path, value, help) {SCHEMA_MAPPINGS, false, path, value, 0, 0, NULL, help, false},
#define BOOLEAN(path, value, help) {SCHEMA_BOOLEAN, false, path, value, 0, 0, NULL, help, false},
#define INTEGER(path, value, low, high, help) {SCHEMA_INTEGER, false, path, value, low, high, NULL, help, false},
#define INTEGERS(path, value, low, high, help) {SCHEMA_INTEGER, true, path, value, low, high, NULL, help, false},
#define NUMBER(path, value, low, high, help) {SCHEMA_NUMBER, false, path, value, low, high, NULL, help, false},
#define NUMBERS(path, value, low, high, help) {SCHEMA_NUMBER, true, path, value, low, high, NULL, help, false},
#define STRING(path, value, help) {SCHEMA_STRING, false, path, value, 0, 0, NULL, help, false},
#define STRINGS(path, value, help) {SCHEMA_STRING, true, path, value, 0, 0, NULL, help, false},
#define TEXT(path, value, help) {SCHEMA_STRING, false, path, value, 0, 0, NULL, help, true},
#define FILE_PATH(path, value, help) {SCHEMA_PATH, false, path, value, 0, 0, NULL, help, false},
#define VERBATIM(path, value, help) {SCHEMA_VERBATIM, false, path, value, 0, 0, NULL, help, false},
#define CHOICE(path, value, choices, help) {SCHEMA_STRING, false, path, value, 0, 0, choices, help, false},
#define CHOICES(path, value, choices, help) {SCHEMA_STRING, true, path, value, 0, 0, choices, help, false},

/* What both trainings of the language model share. */
#define TRAINING(stage, epochs_value, loss_value, rate, schedule_value, warmup_value, decay, average_value)          \
    INTEGER(stage ".epochs", epochs_value, 0, 1e6, "passes over the users; used when `steps` is 0")                  \
    INTEGER(stage ".steps", "0", 0, 1e9, "optimizer steps; 0: as many as `epochs` takes")                            \
    CHOICE(stage ".objective", "auto", "auto|set|next",                                                              \
           "set: every item still to come is a target of each position; next: only the next token is; auto: set "    \
           "where an item is one token and next where it is several")                                                \
    CHOICE(stage ".loss_on", loss_value, "answer|all",                                                               \
           "where the loss counts: on the answer alone, or on the whole prompt and answer")                          \
    NUMBER(stage ".context_weight", "1", 0, 100,                                                                     \
           "a position after a share s of its sequence counts s to this power: contexts as long as those of "        \
           "generation count most; 0: all alike")                                                                    \
    NUMBER(stage ".learning_rate", rate, 0, 10, "peak learning rate of AdamW")                                       \
    CHOICE(stage ".schedule", schedule_value, "cosine|linear|constant", "decay of the learning rate after warm-up")  \
    INTEGER(stage ".warmup_steps", "0", 0, 1e9, "steps of linear warm-up; 0: by `warmup`")                           \
    NUMBER(stage ".warmup", warmup_value, 0, 1, "share of all steps used for linear warm-up")                        \
    NUMBER(stage ".weight_decay", decay, 0, 10, "decoupled weight decay of matrices")                                \
    NUMBER(stage ".beta1", "0.9", 0, 0.999999, "AdamW's decay of the first moment")                                  \
    NUMBER(stage ".beta2", "0.99", 0, 0.9999999, "AdamW's decay of the second moment")                               \
    NUMBER(stage ".clip", "1.0", 0, 1e9, "largest global norm of the gradient; 0: no clipping")                      \
    INTEGER(stage ".tokens_per_batch", "2048", 16, 1e7,                                                              \
           "most tokens packed into one batch; raised to the longest sequence")                                      \
    INTEGER(stage ".sequences_per_batch", "0", 0, 1e7, "most sequences in one batch; 0: as many as fit")             \
    INTEGER(stage ".accumulate", "1", 1, 1e6, "batches whose gradients are added up to one step")                    \
    CHOICE(stage ".select", "likelihood", "likelihood|ndcg|last",                                                    \
           "what the best epoch is best at on the validation data; ndcg: of the ranking, at 20; last: the last "     \
           "weights are kept, whatever validation says")                                                             \
    INTEGER(stage ".patience", "5", 0, 1e6,                                                                          \
            "evaluations without a better one before training stops; 0: never")                                       \
    INTEGER(stage ".evaluate_every", "1", 1, 1e6, "epochs between two evaluations of the validation likelihood")     \
    NUMBER(stage ".average", average_value, 0, 0.999999,                                                             \
           "decay of the exponential moving average of the weights that is evaluated and kept; 0: no average")       \
    BOOLEAN(stage ".recompute", "false", "save memory: run each layer's forward pass again in the backward pass")

const struct schema_entry schema[] = {
    STRING("name", "null", "name of the experiment and of its folder; null: the file's name without its extension")
    INTEGER("seed", "1", 0, LARGE, "seed of everything random but the recommenders' own seeds, which count from it")
    CHOICE("device", "auto", "auto|cpu|cuda|cuda:N",
           "auto: a GPU where one is built in and answers, else the CPU; cuda: the first GPU; cuda:N: the one that "
           "`idrec devices` lists by that number")
    INTEGER("threads", "0", 0, 4096, "CPU threads; 0: all")
    BOOLEAN("fast", "false",
            "a GPU's matrix products of f32 by TF32 tensor cores (operands rounded to 10 bits after the point), sums in any "
            "order: results are less precise and no longer the same in each run; changes nothing on the CPU")
    FILE_PATH("output", "null", "folder of the run; null: runs/NAME below the current folder")

    SECTION("data", "The interactions: where they are, how they are read, filtered and split.")
    FILE_PATH("data.path", "null", "the file with the interactions; may be compressed with gzip. Not needed when "
                                   "`data.split.method` is provided")
    CHOICE("data.format", "auto", "auto|recbole|csv|tsv|movielens|adjacency|sequence|selfrec|hdf5",
           "layout of the file; see data-formats.md")
    SECTION("data.columns", "Columns of csv and tsv files: numbers from 0, or names of a header line.")
    STRING("data.columns.user", "null", "column of the user's id; with user and item null, well-known names are "
                                        "looked for in the header line (user_id, userId, movieId, timestamp, ...)")
    STRING("data.columns.item", "null", "column of the item's id")
    STRING("data.columns.rating", "null", "column of the rating; null: none")
    STRING("data.columns.time", "null", "column of the time; null: none")
    NUMBER("data.min_rating", "0", -1e9, 1e9, "rows with a lower rating are left out; 0: no threshold")
    INTEGER("data.users", "0", 0, LARGE,
            "most users: as many are drawn at random with `seed`, for a trial on a part of large data; 0: all")
    INTEGER("data.k_core", "0", 0, 1e6, "users and items with fewer interactions are left out until none is left")
    SECTION("data.split", "How interactions are divided into train, validation and test.")
    CHOICE("data.split.method", "random", "random|leave_one_out|temporal|provided",
           "random: by ratio for each user; leave_one_out: each user's last two; temporal: by ratio at two global "
           "times; provided: files of their own")
    NUMBERS("data.split.ratios", "[0.8, 0.1, 0.1]", 0, 1, "shares of train, validation and test")
    FILE_PATH("data.split.train", "null", "provided: the train file")
    FILE_PATH("data.split.validation", "null", "provided: the validation file; null: drawn from train")
    FILE_PATH("data.split.test", "null", "provided: the test file")
    NUMBER("data.split.validation_ratio", "0.1", 0, 0.9,
           "provided without a validation file: the share of each user's train interactions taken for it")

    SECTION("language_model", "The generator: a decoder of the Llama family.")
    CHOICE("language_model.vocabulary", "ids", "ids|text",
           "ids: a token for each item, trained from scratch; text: a pretrained checkpoint")
    CHOICE("language_model.indexing", "auto", "auto|ids|text|collaborative|collaborative_ids",
           "what an item is written as; ids: a token of its own; text: its name; collaborative: codes that begin alike for items "
           "that users have in common; collaborative_ids: such codes, then a token of its own; auto: ids where the vocabulary is "
           "ids, text where it is text")
    CHOICE("language_model.names", "index", "index|raw|relabelled|random",
           "what users and items are called in text; index: their numbers from 0; raw: their ids in the input; relabelled: the "
           "numbers in a random order; random: six random letters")
    INTEGER("language_model.clusters", "20", 2, 1e6, "collaborative: parts that a group of items is cut into")
    INTEGER("language_model.cluster_size", "200", 1, 1e6, "collaborative: most items of a group that is not cut further")
    INTEGER("language_model.members", "1", 1, 64,
            "models that are trained alike but for their seeds, each as long as one; generation takes the mean of their "
            "probabilities. More than one: method ranking, and a token for each item")
    INTEGER("language_model.layers", "1", 1, 1000, "transformer layers")
    INTEGER("language_model.width", "64", 2, 65536, "width of the hidden state")
    INTEGER("language_model.heads", "2", 1, 1024, "query heads")
    INTEGER("language_model.key_heads", "0", 0, 1024, "key and value heads; 0: as many as query heads")
    INTEGER("language_model.head_width", "0", 0, 4096, "width of a head; 0: width / heads")
    INTEGER("language_model.hidden", "0", 0, 1e6, "width of the feed-forward layer; 0: 8/3 of the width, rounded up to 16")
    BOOLEAN("language_model.positions", "false",
            "rotary positions; without them the order of a prompt is seen only through the causal mask")
    NUMBER("language_model.rope_theta", "10000", 1, 1e12, "base of the rotary frequencies")
    BOOLEAN("language_model.tied", "true", "the output layer shares the embedding's weights")
    BOOLEAN("language_model.attention_bias", "false", "biases on queries, keys and values")
    BOOLEAN("language_model.user_tokens", "false", "a token for each user as well")
    NUMBER("language_model.dropout", "0.4", 0, 0.99, "dropout on the embedding and both residual branches")
    CHOICE("language_model.initial", "auto", "auto|spectral|random",
           "start of pretraining: spectral: the leading singular directions of the train interactions; random: noise; auto: "
           "spectral with the vocabulary `ids` and a token for each item, else random")
    CHOICE("language_model.precision", "auto", "auto|f32|bf16",
           "how activations, caches and the weights that are read are stored; auto: f32; bf16: half the memory, and products "
           "by a GPU's tensor cores; trained weights, their gradients and losses stay f32")
    NUMBER("language_model.norm_epsilon", "1e-5", 1e-12, 1e-1, "epsilon of RMSNorm")
    FILE_PATH("language_model.checkpoint", "null",
              "text: a Hugging Face folder with config.json, *.safetensors and tokenizer.json; null: a model of the shape "
              "above, from scratch, over the tokens of `tokenizer`")
    FILE_PATH("language_model.tokenizer", "null", "text: a tokenizer.json; null: the checkpoint's")

    SECTION("prompts", "How a user's interactions become training sequences: context, then answer.")
    BOOLEAN("prompts.full", "true", "one sequence a user with the full list")
    INTEGER("prompts.random_cuts", "20", 0, 1e5, "sequences a user that are cut at a random place into context and answer")
    CHOICE("prompts.template", "default", "default|sequence",
           "ids: default: a separator between context and answer; sequence: none, for the next item in order of time")
    BOOLEAN("prompts.shuffle", "true",
            "a fresh random order for each sequence; false: the order of time. Where `data.split.method` is leave_one_out or temporal "
            "and an item is a token of the vocabulary `ids`, generated by ranking, it is false, and all defaults marked `in order of time` "
            "hold, unless this key is written (with false, too, the other defaults are the general ones) or `prompts.template` or "
            "`pretrain.objective` asks for something else than `sequence` and `next`")
    INTEGER("prompts.length", "2048", 8, 1048576, "most tokens of a sequence; what does not fit is left out of the context")
    SECTION("prompts.text", "text: the words around a user's items. The defaults are those of LLM4IDRec's published code.")
    TEXT("prompts.text.context",
           "\"Given the user(u{user})'s clicked list items:{items}, predict what is the list items to recommend to the "
           "user(u{user}). Please only answer the item IDs.\"",
           "the context; {user} and {items} are replaced")
    TEXT("prompts.text.answer", "\"{items}\"", "the answer, after which the tokenizer's end of text follows")
    TEXT("prompts.text.item", "null", "how an item is written in both; null: i{item}, or {item} alone where items are no names")
    TEXT("prompts.text.separator", "null",
           "what stands between two items; null: a comma, or nothing where items are no names")
    BOOLEAN("prompts.text.answer_apart", "true",
            "the answer is encoded as a text of its own, as the published code does it; false: it goes on from the context")
    CHOICE("prompts.text.chat", "none", "none|llama2|llama3|chatml|mistral",
           "chat format that the context is put into as the user's message")

    SECTION("pretrain", "Training of the base model from scratch on the train interactions.")
    BOOLEAN("pretrain.enabled", "true", "false: the base stays as initialised (or as the checkpoint has it)")
    TRAINING("pretrain", "12", "all", "4e-3", "cosine", "0.05", "0.01", "0.99")

    SECTION("finetune", "Fine-tuning of the base model on prompts.")
    CHOICE("finetune.base", "precision", "precision|int8|nf4",
           "how the linear layers that stay frozen are stored, here and when the finished model is used: as language_model.precision says, in 8 bits (1.06 bytes a weight), or in 4 (0.56)")
    BOOLEAN("finetune.shard_base", "false",
            "method lora by several ranks: each keeps its part of the frozen layers and gathers whole ones as it needs them, a layer "
            "ahead; less memory, more to exchange (docs/scaling.md); false: each keeps all")
    CHOICE("finetune.method", "lora", "lora|full|none", "lora: low-rank adapters, base frozen; full: every weight; none: skip")
    INTEGER("finetune.rank", "8", 1, 4096, "rank of the adapters")
    NUMBER("finetune.alpha", "32", 0, 1e6, "scale of the adapters: alpha / rank multiplies their output")
    BOOLEAN("finetune.rslora", "false",
            "rank-stabilized adapters: alpha / sqrt(rank) multiplies their output, so that it keeps its size at high ranks")
    NUMBER("finetune.dropout", "0.05", 0, 0.99, "dropout on the adapters' input")
    CHOICES("finetune.targets", "[q, v]", "q|k|v|o|gate|up|down", "linear layers that get an adapter")
    TRAINING("finetune", "1", "answer", "1e-3", "linear", "0", "0", "0.99")

    SECTION("generate", "Generation of interactions for every user.")
    CHOICE("generate.method", "ranking", "ranking|sampling|beam|beam_lists",
           "ranking: each user's most probable items, among all; sampling: lists drawn token by token; beam: the most probable "
           "items by beam search over an item's tokens, for large catalogues of items of several tokens; beam_lists: the most "
           "probable whole lists by beam search")
    INTEGER("generate.contexts", "1", 1, 1e4,
            "shuffled contexts a user; ranking and beam average over them, sampling and beam_lists use each. A model of one layer without "
            "positions does not see their order, so that one is enough")
    INTEGER("generate.samples", "4", 1, 1e5, "sampling, beam_lists: lists a user; list s follows context s modulo contexts")
    NUMBER("generate.temperature", "0.8", 0, 100, "sampling: divides the logits; 0: the most probable token")
    NUMBER("generate.top_p", "0.9", 1e-6, 1, "sampling: only the most probable tokens up to this mass; 1: off")
    INTEGER("generate.top_k", "0", 0, 1e9, "sampling: only this many of the most probable tokens; 0: off")
    INTEGER("generate.beams", "20", 1, 1e4, "beam, beam_lists: beams behind a context")
    INTEGER("generate.beam_groups", "1", 1, 1e4,
            "beam, beam_lists: groups of beams, each of the same size, that `diversity` keeps apart")
    NUMBER("generate.diversity", "0", 0, 1e3,
           "beam, beam_lists: what a token's log-probability loses in the choice of a group's beams for each beam of an earlier "
           "group that has taken it at the same step")
    INTEGER("generate.max_items", "20", 1, 1e5, "items of a list")
    INTEGER("generate.max_tokens", "0", 0, 1e6,
            "sampling, beam_lists, where an item is several tokens: most tokens of a list; an item that it cuts off is left out. "
            "0: what `max_items` items can need")
    BOOLEAN("generate.constrained", "true", "only items that the user has not interacted with can be drawn; false: "
                                            "anything, and what is invalid is counted")
    INTEGER("generate.batch", "256", 1, 1e6,
            "most sequences decoded together, lowered to what fits into `memory`; does not change the result on the CPU, and on a "
            "GPU only by rounding")
    NUMBER("generate.memory", "0", 0, 1e6,
           "GiB of keys and values of the sequences decoded together, here and by the recommender language_model; 0: on a GPU nine "
           "tenths of what is free there besides the activations, on the CPU 1, or up to half of what is free where 64 sequences "
           "need more. One sequence must fit (beam, beam_lists: all beams)")

    SECTION("augment", "Filters and choice of what is added to the recommenders' training data.")
    CHOICE("augment.select", "validation", "validation|fixed",
           "validation: the best of the candidates below, nothing among them, on validation data; fixed: the first one")
    CHOICES("augment.use", "[none, exclude_from_negatives, positives]", "none|positives|exclude_from_negatives|both",
            "candidates: nothing; rows added as positives; rows only kept out of the negatives; both")
    INTEGERS("augment.per_user", "[1, 5, 10]", 0, 1e6, "candidates: rows added for each user")
    NUMBERS("augment.proportional", "[]", 0, 1e3, "candidates: rows added for each user as a share of the user's history")
    NUMBERS("augment.thresholds", "[]", 0, 1,
            "candidates: quantile of log-probability over all rows below which rows are refused")
    MAPPINGS("augment.filters", "[{name: catalogue}, {name: seen}, {name: duplicate}]",
             "filters in the order in which they are applied; each refused row is counted under the first that refuses it")
    CHOICE("augment.filters[].name", "catalogue",
           "catalogue|seen|duplicate|incomplete_tail|confidence|cap_user|cap_item|history_quantile",
           "catalogue: not an item; seen: in the user's train data; duplicate: generated before; incomplete_tail: the "
           "last item of a list that was cut off; confidence: below the minimum; cap_user, cap_item: more than `maximum` "
           "rows; history_quantile: users with more history than the `quantile`")
    NUMBER("augment.filters[].minimum_log_probability", "-1e30", -1e30, 0, "confidence: lowest log-probability kept")
    INTEGER("augment.filters[].minimum_votes", "1", 1, 1e6, "confidence: fewest lists that hold the item")
    INTEGER("augment.filters[].maximum", "1000000", 0, 1e9, "cap_user, cap_item: most rows, the most probable first")
    NUMBER("augment.filters[].quantile", "1.0", 0, 1, "history_quantile: users at or below this quantile get rows")
    CHOICES("augment.ensemble", "[item_knn, ease, gf_cf]", "popularity|item_knn|ease|slim|gf_cf|als|bpr_mf|lightgcn|sasrec|bert4rec",
            "rankers whose lists are fused with the language model's before rows are chosen, by reciprocal ranks; they are "
            "fitted on the train interactions, with the settings of `recommenders:` where one of the model is among them, those "
            "that train by epochs until validation gets no better; []: the language model's rows alone. The arm control.ensemble adds their rows without the language model's")
    CHOICE("augment.ensemble_select", "validation", "validation|all",
           "which lists are fused, all with the same weight; validation: the language model's and those that, added to it one by "
           "one, make the fused list better on validation by `select_metric` at `select_k`; all: every one")
    NUMBER("augment.weight", "1.0", 0, 1e3, "weight of a synthetic row in the recommenders' loss")
    INTEGER("augment.select_seeds", "2", 2, 1000, "training seeds for each candidate and for the baseline it is paired with")
    CHOICE("augment.select_metric", "ndcg", "recall|ndcg|precision|hit|mrr|map", "metric of the choice")
    INTEGER("augment.select_k", "20", 1, 1000, "its cut")
    NUMBER("augment.margin", "1", 0, 100,
           "a candidate is chosen only if its mean gain on validation exceeds this many of its standard errors")

    MAPPINGS("recommenders", "[{model: bpr_mf}, {model: lightgcn}]",
             "Recommenders trained on every arm. `[{model: NAME}]` is enough: defaults that differ between models stand behind the "
             "general one.")
    CHOICE("recommenders[].model", "bpr_mf",
           "popularity|item_knn|ease|slim|als|gf_cf|bpr_mf|lightgcn|sgl|simgcl|xsimgcl|ncl|sasrec|bert4rec|cl4srec|language_model",
           "which one. Of the keys below a model reads those that name it or name none; \"graph\" are lightgcn, sgl, simgcl, "
           "xsimgcl and ncl, \"sequential\" are sasrec, bert4rec and cl4srec. language_model is the run's own language model")
    INTEGER("recommenders[].width", "64", 1, 65536, "embedding width")
    INTEGER("recommenders[].layers", "3", 0, 64, "graph: propagation layers; sequential: transformer blocks")
    CHOICE("recommenders[].optimizer", "adam", "adam|sgd",
           "adam: mini-batches; sgd: bpr_mf, one triple at a time in conflict-free blocks, by the CPU's cores whatever the "
           "device")
    NUMBER("recommenders[].learning_rate", "1e-3", 0, 10, "learning rate")
    NUMBER("recommenders[].regularization", "1e-4", 0, 1e9,
           "L2 regularisation: of the embeddings of a batch; sequential: of all parameters; ease, slim: of the item weights; "
           "als: of all factors")
    NUMBER("recommenders[].initial_deviation", "0.1", 0, 10, "standard deviation of the initial embeddings")
    INTEGER("recommenders[].batch", "2048", 1, 1e8, "interactions a batch (sequential: see `sequences`); language_model: contexts "
            "scored, or beams decoded together, which changes no result on the CPU")
    INTEGER("recommenders[].epochs", "1000", 1, 1e6, "most epochs; als: sweeps over users and items")
    INTEGER("recommenders[].patience", "50", 0, 1e6, "epochs without a better validation score before training stops; 0: never")
    INTEGER("recommenders[].evaluate_every", "5", 1, 1e6, "epochs between two evaluations")
    INTEGER("recommenders[].neighbors", "100", 0, 1e6,
            "item_knn: most similar items kept for each item, at least 1; slim: items considered for each item, 0: all")
    NUMBER("recommenders[].shrinkage", "10", 0, 1e6, "item_knn: added to the denominator of a similarity; bm25 has none")
    CHOICE("recommenders[].similarity", "cosine", "cosine|jaccard|conditional|dice|tf_idf|bm25",
           "item_knn: similarity of two items; tf_idf: cosine, bm25: product, of weights in which users of few items count more")
    NUMBER("recommenders[].l1", "1", 0, 1e6, "slim: L1 regularisation of the item weights")
    NUMBER("recommenders[].confidence", "1", 0, 1e6, "als: an interaction of weight w has confidence 1 + confidence * w")
    INTEGER("recommenders[].components", "256", 1, 65536, "gf_cf: singular vectors of the ideal low-pass filter")
    NUMBER("recommenders[].low_pass_weight", "0.3", 0, 1e3, "gf_cf: weight of the ideal low-pass filter beside the linear one")
    INTEGER("recommenders[].heads", "1", 1, 1024, "sequential: attention heads")
    INTEGER("recommenders[].length", "200", 1, 65536, "sequential: most items of a sequence, the latest ones are kept")
    INTEGER("recommenders[].sequences", "128", 1, 1e6, "sequential: users' sequences a batch")
    NUMBER("recommenders[].dropout", "0.2", 0, 0.99, "sequential: dropout on embeddings and both branches of a block")
    CHOICE("recommenders[].loss", "cross_entropy", "binary|gbce|cross_entropy|sampled_softmax",
           "sasrec, cl4srec: cross_entropy: over all items; binary, gbce (calibrated, see `calibration`), sampled_softmax: "
           "against `negatives`")
    INTEGER("recommenders[].negatives", "256", 1, 1e6, "sasrec, cl4srec: negatives drawn for each position")
    NUMBER("recommenders[].calibration", "0.75", 0, 1, "gbce: 0 is binary cross-entropy, 1 calibrates fully")
    NUMBER("recommenders[].mask_share", "0.2", 0.01, 1, "bert4rec: share of a sequence that is masked")
    CHOICE("recommenders[].synthetic_position", "targets", "targets|prepended|appended|inserted|none",
           "sequential: where synthetic interactions enter a user's sequence; targets: not into it, each is to be predicted "
           "behind it; inserted: at places drawn at random")
    CHOICE("recommenders[].view", "edge_drop", "edge_drop|node_drop|random_walk|crop|mask|reorder|any",
           "contrasted views; sgl: edge_drop, node_drop or random_walk; cl4srec: crop, mask, reorder or any of these")
    NUMBER("recommenders[].view_share", "0.1", 0, 1,
           "sgl: share of edges or nodes dropped; cl4srec: share of a sequence cut off, masked or reordered")
    NUMBER("recommenders[].contrast_weight", "0.1", 0, 1e6,
           "weight of the contrastive loss, a mean over the batch; the defaults are those of large sparse data sets, small "
           "dense ones need far less (xsimgcl on MovieLens 100k: 0.01)")
    NUMBER("recommenders[].temperature", "0.2", 1e-3, 1e3, "temperature of the contrastive loss")
    NUMBER("recommenders[].noise", "0.1", 0, 1e3, "simgcl, xsimgcl: length of the noise added at each layer")
    INTEGER("recommenders[].contrast_layer", "1", 0, 64,
            "xsimgcl: the layer that is contrasted with the mean; ncl: half the layer that is contrasted with the embedding")
    NUMBER("recommenders[].item_share", "1.5", 0, 1e3, "ncl: weight of items' contrast beside users'")
    NUMBER("recommenders[].prototype_weight", "2.048e-4", 0, 1e6,
           "ncl: weight of the contrast with prototypes, a mean over the batch")
    INTEGER("recommenders[].clusters", "2000", 1, 1e7, "ncl: prototypes of users, and of items")
    INTEGER("recommenders[].warm_up", "20", 0, 1e6, "ncl: epochs before prototypes count")
    CHOICE("recommenders[].ranking", "exact", "exact|beam",
           "language_model; exact: by the probability of every item; beam: by beam search over the tokens of an item, for large "
           "catalogues of items of several tokens, which finds only what its beams lead to")
    INTEGER("recommenders[].contexts", "1", 1, 1e4,
            "language_model: shuffled contexts a user, over which probabilities are averaged; see `generate.contexts`")
    INTEGER("recommenders[].beams", "20", 1, 1e4, "language_model, ranking: beam: beams behind a context")
    INTEGER("recommenders[].ranked_items", "500", 1, 1e7,
            "language_model: best items that are kept for each user; those beyond have no score and are never recommended")

    SECTION("experiment", "Arms and seeds.")
    CHOICES("experiment.arms", "[original, augmented, control.random, control.popularity, control.itemknn, control.self, control.ensemble]",
            "original|augmented|control.random|control.popularity|control.itemknn|control.self|control.ensemble|control.permuted|"
            "control.generator|control.fusion",
            "training sets that are compared; the controls add as many rows as `augmented` does, but for two that train nothing: "
            "control.generator is the language model's own ranking, control.fusion that ranking fused with the recommender's of "
            "`original`")
    INTEGER("experiment.seeds", "5", 1, 10000, "training seeds of every recommender in every arm")
    BOOLEAN("experiment.divide_fits", "false",
            "several ranks: those do each training of bpr_mf (optimizer adam), lightgcn, sasrec and bert4rec together, one training "
            "after another: tables, batches and the users that are ranked are divided among them. Without it, and for all other "
            "recommenders and trials of `tune`, a rank does whole trainings, and ranks take turns. Results are the same, those of "
            "sasrec and bert4rec but for rounding")
    INTEGER("experiment.parallel", "0", 0, 4096, "trainings at a time; 0: as many as threads, and 4 on a GPU")
    VERBATIM("experiment.sweep", "{}",
             "makes the experiment a study: a mapping of keys, as on the command line, to lists of their values, such as "
             "{generate.contexts: [1, 4], \"recommenders[0].width\": [32, 64]}; every combination is a trial; see studies.md")
    VERBATIM("experiment.sweep_list", "[]",
             "more trials of the study, one for each mapping of keys to values, such as {name: no-finetuning, "
             "finetune.method: none}; `name` names its folder")
    STRING("experiment.reference", "null",
           "the trial of a study that the others are compared with, by its name; null: the first")
    INTEGER("experiment.trials_at_once", "0", 0, 4096,
            "trials of a study that one process runs at a time; 0: as many as threads, 1 on a GPU")
    NUMBER("experiment.trials_memory", "0", 0, 1e6,
           "memory in GB (10^9 bytes) that the trials of one process may take together; 0: what is free when it starts")
    SECTION("experiment.fusion", "The arm control.fusion: reciprocal rank fusion; see method.md.")
    NUMBERS("experiment.fusion.weights", "[0.25, 0.5, 0.75]", 0, 1,
            "control.fusion: weights of the language model's ranking, of which each fit takes the best on validation; the "
            "recommender's has the rest")
    NUMBER("experiment.fusion.constant", "60", 0, 1e6,
           "control.fusion: an item's score is the sum over both rankings of weight / (constant + rank)")
    INTEGER("experiment.fusion.depth", "200", 1, 1e6, "control.fusion: ranks of each ranking that are read, and of the fused one kept")

    SECTION("tune", "The search for better settings of the recommenders: `idrec tune`; see tuning.md.")
    MAPPINGS("tune.space", "[]", "settings that are searched; each needs `low` and `high`, or `values`")
    STRING("tune.space[].key", "null", "a key of `recommenders[]`, but model, epochs, patience and evaluate_every")
    STRING("tune.space[].recommender", "null",
           "the only one whose setting it is, by its folder's name: the model, with -2, -3, ... where a model repeats; null: "
           "of all that read the key")
    NUMBER("tune.space[].low", "null", -1e9, 1e9, "lowest value")
    NUMBER("tune.space[].high", "null", -1e9, 1e9, "highest value")
    CHOICE("tune.space[].scale", "linear", "linear|log", "how values are spread between both; whole numbers stay whole")
    STRINGS("tune.space[].values", "[]", "values to choose from, instead of `low` and `high`")
    CHOICE("tune.method", "halving", "halving|random",
           "halving: all trials begin with `first_epochs`, and the best of each rung go on; random: each trains to its end")
    INTEGER("tune.trials", "32", 1, 10000, "trials for each recommender in each arm; the first is the configuration as written")
    INTEGER("tune.reduction", "3", 2, 100,
            "halving: one trial of this many goes on to the next rung, which trains this many times as long")
    INTEGER("tune.first_epochs", "20", 1, 1e6, "halving: epochs of the first rung, rounded up to `evaluate_every`")
    CHOICES("tune.arms", "[original]",
            "original|augmented|control.random|control.popularity|control.itemknn|control.ensemble|control.permuted",
            "arms that are tuned, each with the same trials; original is always among them. An arm that is not takes what was "
            "found for original")
    BOOLEAN("tune.use", "false",
            "train every recommender in every arm with the best settings found; `idrec run` then tunes before it trains")

    SECTION("evaluate", "Metrics and the rules of their computation.")
    INTEGERS("evaluate.k", "[10, 20]", 1, 1000, "cuts of the ranking, at most 8")
    CHOICES("evaluate.metrics", "[recall, ndcg]", "recall|ndcg|precision|hit|mrr|map", "metrics of the report")
    CHOICE("evaluate.protocol", "clean", "clean|test_selected",
           "clean: everything is chosen on validation, test is read once; test_selected: the best epoch on test, as "
           "much published code does it, only for comparison with published tables")
    CHOICE("evaluate.mask", "original", "original|augmented",
           "original: only real train items are hidden from the ranking; augmented: synthetic ones too")
    INTEGER("evaluate.resamples", "2000", 100, 1e6, "bootstrap resamples of an interval")
    INTEGER("evaluate.flips", "20000", 1000, 1e7,
            "random signs of the test over users. p is at least 1 / (flips + 1), which the correction multiplies by up to the "
            "number of comparisons: many comparisons need many")
    INTEGER("evaluate.history_groups", "4", 1, 32,
            "groups of users by the length of their train history that the audit tells apart, of about equal size; see metrics.md")
    NUMBER("evaluate.head_share", "0.8", 0, 1,
           "the most popular items that have this share of the train interactions are the short head, the others the long tail")
    MAPPINGS("evaluate.attributes", "[]",
             "attributes of users or items by which the audit groups as well, from files of text: fields between tabs, bars or "
             "commas (told by the first line)")
    CHOICE("evaluate.attributes[].of", "user", "user|item", "whose attribute it is")
    FILE_PATH("evaluate.attributes[].path", "null", "the file; each id on one line at most, other ids than the data's are left out")
    STRING("evaluate.attributes[].id", "\"0\"",
           "column of the ids: its number from 0, or its name in a header line (of `name:type` the name)")
    STRING("evaluate.attributes[].column", "\"1\"", "column of the attribute, likewise; at most 64 different values")

    SECTION("report", "What is written beside the report.")
    BOOLEAN("report.tensorboard", "false",
            "the learning curves and final metrics as files of TensorBoard, below tensorboard/; `idrec tensorboard` writes them at any "
            "time, while the run goes on too")

    SECTION("recipe", "Published figures that the experiment is to reach. Only `idrec reproduce` reads them; see reproduction.md.")
    STRING("recipe.recommender", "null",
           "whose figures they are, by its folder's name: the model, with -2, -3, ... where a model repeats; null: the only one's")
    MAPPINGS("recipe.expected", "[]", "the published figures")
    STRING("recipe.expected[].metric", "null", "as in results.json, such as ndcg@20; the cut must be among `evaluate.k`")
    NUMBER("recipe.expected[].value", "null", 0, 1, "the figure as published")
    NUMBER("recipe.expected[].tolerance", "0.01", 0, 1,
           "a figure counts as reached from value * (1 - tolerance) on, whatever it is above")
    NUMBER("recipe.expected[].measured", "null", 0, 1, "what this recipe reached on `recipe.machine`; null: not measured")
    STRING("recipe.source", "null", "who published the figures, and where")
    STRING("recipe.published_protocol", "null", "how they were obtained: split, ranking, on what the epoch was chosen")
    NUMBER("recipe.minutes", "null", 0, 1e6, "how long the run took on `recipe.machine`, or is expected to take")
    STRING("recipe.machine", "null", "processors or GPU that `minutes` and `measured` belong to")
};

/* What differs from the default for one model, in the order of the schema's keys. */
static const struct {
    const char *path, *model, *value;
} model_defaults[] = {
    {"recommenders[].layers", "sasrec", "2"},
    {"recommenders[].layers", "bert4rec", "2"},
    {"recommenders[].layers", "cl4srec", "2"},
    {"recommenders[].regularization", "ease", "200"},
    {"recommenders[].regularization", "slim", "100"},
    {"recommenders[].regularization", "als", "1e-2"},
    {"recommenders[].regularization", "sasrec", "0"},
    {"recommenders[].regularization", "bert4rec", "0"},
    {"recommenders[].regularization", "cl4srec", "0"},
    {"recommenders[].initial_deviation", "sgl", "0.01"},
    {"recommenders[].initial_deviation", "simgcl", "0.01"},
    {"recommenders[].initial_deviation", "xsimgcl", "0.01"},
    {"recommenders[].initial_deviation", "ncl", "0.01"},
    {"recommenders[].initial_deviation", "sasrec", "0.02"},
    {"recommenders[].initial_deviation", "bert4rec", "0.02"},
    {"recommenders[].initial_deviation", "cl4srec", "0.02"},
    {"recommenders[].batch", "language_model", "256"},
    {"recommenders[].epochs", "als", "15"},
    {"recommenders[].view", "cl4srec", "any"},
    {"recommenders[].view_share", "cl4srec", "0.5"},
    {"recommenders[].contrast_weight", "simgcl", "0.5"},
    {"recommenders[].contrast_weight", "xsimgcl", "0.2"},
    {"recommenders[].contrast_weight", "ncl", "2.048e-3"},
    {"recommenders[].temperature", "xsimgcl", "0.15"},
    {"recommenders[].temperature", "ncl", "0.05"},
    {"recommenders[].temperature", "cl4srec", "1"},
    {"recommenders[].noise", "xsimgcl", "0.2"},
};

/* What differs from the default for a language model that reads histories in order of time. */
static const struct {
    const char *path, *value;
} ordered_defaults[] = {
    {"language_model.layers", "2"},
    {"language_model.width", "128"},
    {"language_model.heads", "4"},
    {"language_model.positions", "true"},
    {"language_model.dropout", "0.5"},
    {"prompts.random_cuts", "0"},
    {"prompts.template", "sequence"},
    {"prompts.shuffle", "false"},
    {"prompts.length", "512"},
    {"pretrain.epochs", "40"},
    {"pretrain.objective", "next"},
    {"pretrain.context_weight", "0"},
    {"pretrain.select", "ndcg"},
    {"finetune.objective", "next"},
    {"finetune.loss_on", "all"},
    {"finetune.context_weight", "0"},
    {"finetune.select", "ndcg"},
    {"augment.per_user", "[]"},
    {"augment.proportional", "[0.1, 0.3, 1]"},
    {"augment.ensemble", "[item_knn, ease, gf_cf, sasrec]"},
};
/* clang-format on */

const size_t schema_count = sizeof schema / sizeof *schema;

static const char *ordered_default(const struct schema_entry *entry)
{
    for (size_t i = 0; i < sizeof ordered_defaults / sizeof *ordered_defaults; i++)
        if (strcmp(ordered_defaults[i].path, entry->path) == 0)
            return ordered_defaults[i].value;
    return NULL;
}

const char *schema_default(const struct schema_entry *entry, const char *model, bool in_order)
{
    for (size_t i = 0; model && i < sizeof model_defaults / sizeof *model_defaults; i++)
        if (strcmp(model_defaults[i].path, entry->path) == 0 && strcmp(model_defaults[i].model, model) == 0)
            return model_defaults[i].value;
    const char *const ordered = in_order ? ordered_default(entry) : NULL;
    return ordered ? ordered : entry->default_value;
}

void schema_write_defaults(FILE *stream, const struct schema_entry *entry)
{
    fprintf(stream, "`%s`", entry->default_value);
    if (ordered_default(entry))
        fprintf(stream, ", in order of time `%s`", ordered_default(entry));
    for (size_t i = 0; i < sizeof model_defaults / sizeof *model_defaults; i++)
        if (strcmp(model_defaults[i].path, entry->path) == 0)
            fprintf(stream, ", %s `%s`", model_defaults[i].model, model_defaults[i].value);
}

const struct schema_entry *schema_find(const char *pattern)
{
    for (size_t i = 0; i < schema_count; i++)
        if (strcmp(schema[i].path, pattern) == 0)
            return &schema[i];
    return NULL;
}

bool schema_is_child(const char *parent, const char *pattern)
{
    const size_t length = strlen(parent);
    if (length > 0 && (strncmp(pattern, parent, length) != 0 || pattern[length] != '.'))
        return false;
    return strchr(pattern + length + (length > 0), '.') == NULL;
}

const char *schema_key(const char *pattern)
{
    const char *dot = strrchr(pattern, '.');
    return dot ? dot + 1 : pattern;
}

bool schema_nullable(const struct schema_entry *entry)
{
    return entry->default_value && strcmp(entry->default_value, "null") == 0;
}

/* Whether `text` is the first `size` letters of `choice`, where ":N" at the end stands for any whole number. */
static bool is_choice(const char *choice, size_t size, const char *text)
{
    const size_t digits = size >= 2 && strncmp(choice + size - 2, ":N", 2) == 0 ? 1 : 0;
    if (strncmp(choice, text, size - digits) != 0)
        return false;
    const size_t count = strspn(text + size - digits, "0123456789");
    return digits ? count >= 1 && count <= 4 && text[size - digits + count] == '\0' : text[size] == '\0';
}

bool schema_allows(const char *choices, const char *text)
{
    for (const char *choice = choices; choice && *choice; choice += *choice == '|') {
        const size_t size = strcspn(choice, "|");
        if (is_choice(choice, size, text))
            return true;
        choice += size;
    }
    return false;
}

size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    size_t row[LONGEST + 1];
    const size_t rows = strnlen(a, LONGEST), columns = strnlen(b, LONGEST);
    for (size_t j = 0; j <= columns; j++)
        row[j] = j;
    for (size_t i = 1; i <= rows; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            const size_t moved = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            diagonal = row[j];
            row[j] = replaced < moved ? replaced : moved;
        }
    }
    return row[columns];
}

const char *schema_nearest(const char *parent, const char *key)
{
    const char *nearest = NULL;
    size_t least = strlen(key) / 3 + 2;
    for (size_t i = 0; i < schema_count; i++) {
        if (!schema_is_child(parent, schema[i].path))
            continue;
        const size_t distance = edit_distance(key, schema_key(schema[i].path));
        if (distance < least) {
            least = distance;
            nearest = schema_key(schema[i].path);
        }
    }
    for (size_t i = 0; !nearest && i < schema_count; i++)
        if (strcmp(schema_key(schema[i].path), key) == 0)
            nearest = schema[i].path;
    return nearest;
}

static void to_lower_case(char *lower, size_t size, const char *text)
{
    size_t length = 0;
    for (; text[length] && length + 1 < size; length++)
        lower[length] = (char)tolower((unsigned char)text[length]);
    lower[length] = '\0';
}

bool schema_nearest_choice(const char *choices, const char *text, char *choice, size_t size)
{
    char lower[64], candidate[64];
    to_lower_case(lower, sizeof lower, text);
    size_t least = strlen(lower) / 3 + 2;
    const size_t far = least;
    for (const char *next = choices; *next; next += *next == '|') {
        const size_t length = strcspn(next, "|");
        snprintf(candidate, sizeof candidate, "%.*s", (int)length, next);
        next += length;
        const size_t distance = edit_distance(lower, candidate);
        if (distance >= least || strchr(candidate, ':'))
            continue;
        least = distance;
        snprintf(choice, size, "%s", candidate);
    }
    return least < far;
}

/* A path as it is written on the command line, for the first element of a list. */
static void add_path(char *names, size_t size, const char *path)
{
    const size_t length = strlen(names);
    const char *element = strstr(path, "[]");
    const int head = element ? (int)(element - path) : (int)strlen(path);
    snprintf(names + length, size - length, "%s%.*s%s%s", length > 0 ? " or " : "", head, path,
             element ? "[0]" : "", element ? element + 2 : "");
}

bool schema_suggest(const char *parent, const char *key, char *names, size_t size)
{
    const char *nearest = schema_nearest(parent, key);
    names[0] = '\0';
    if (!nearest || strcmp(schema_key(nearest), key) != 0)
        snprintf(names, size, "%s", nearest ? nearest : "");
    else
        for (size_t i = 0; i < schema_count; i++)
            if (strcmp(schema_key(schema[i].path), key) == 0)
                add_path(names, size, schema[i].path);
    return names[0] != '\0';
}
