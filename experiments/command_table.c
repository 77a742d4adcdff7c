#include "experiments/command.h"
#include "experiments/compare.h"

#define OVERRIDES                                                                                            \
    "CONFIG is a YAML file (docs/configuration.md has every key). key.path=value on the command line wins "  \
    "over "                                                                                                  \
    "it.\n\nExamples:\n"

static const struct argp_option config_options[] = {
    {"reference", OPTION_FIRST + 0, NULL, 0, "Print docs/configuration.md: every key, default and meaning",
     0},
    {0}};
static const struct argp_option json_options[] = {{"json", OPTION_FIRST + 0, NULL, 0, "Print JSON", 0}, {0}};
#define TRACE                                                                                                \
    {                                                                                                        \
        "trace", OPTION_FIRST + 0, "FILE", 0,                                                                \
            "Write what the first steps of each training do, for chrome://tracing and Perfetto", 0           \
    }
static const struct argp_option trace_options[] = {TRACE, {0}};
static const struct argp_option run_options[] = {
    TRACE,
    {"trial", OPTION_FIRST + 1, "NAME", 0, "Of a study: this trial alone, in this process", 0},
    {"through", OPTION_FIRST + 2, "STAGE", 0, "With --trial: the last stage (default report)", 0},
    {"threads", OPTION_FIRST + 3, "N", 0, "With --trial: CPU threads (default: as the configuration says)",
     0},
    {"put-aside", OPTION_FIRST + 4, NULL, 0,
     "With --trial: end with status 76 where it would wait for fits that other trials train", 0},
    {0}};
static const struct argp_option reproduce_options[] = {
    {"list", OPTION_FIRST + 0, NULL, 0, "Tell what recipes there are, and run nothing", 0},
    {"markdown", OPTION_FIRST + 1, NULL, 0, "Print the table as Markdown", 0},
    {"json", OPTION_FIRST + 2, NULL, 0, "Print JSON", 0},
    {0}};
static const struct argp_option compare_options[] = {
    {"arm", OPTION_FIRST + 0, "ARM", 0,
     "What the recommenders trained on (default: augmented where both runs have it, else original)", 0},
    {"against-arm", OPTION_FIRST + 1, "ARM", 0, "The arm of the first run (default: the same)", 0},
    {"metric", OPTION_FIRST + 2, "NAME", 0, "One of them alone, for example ndcg@20 (default: all)", 0},
    {"recommender", OPTION_FIRST + 3, "NAME", 0, "One of them alone (default: all that both runs have)", 0},
    {"json", OPTION_FIRST + 4, NULL, 0, "Print JSON", 0},
    {"markdown", OPTION_FIRST + 5, NULL, 0, "Print the tables as Markdown", 0},
    {0}};
static const struct argp_option tensorboard_options[] = {
    {"every", OPTION_FIRST + 0, "SECONDS", 0, "Write them again so often, until interrupted", 0}, {0}};
static const struct argp_option recommend_options[] = {
    {"recommender", OPTION_FIRST + 0, "NAME", 0, "Which one of the run, for example lightgcn (needed)", 0},
    {"users", OPTION_FIRST + 1, "FILE", 0, "Ids of users, one a line; all users when not given", 0},
    {"k", OPTION_FIRST + 2, "K", 0, "Items for each user (default 20)", 0},
    {"device", OPTION_FIRST + 3, "NAME", 0, "auto, cpu, cuda or cuda:N (default: as the run was configured)",
     0},
    {"arm", OPTION_FIRST + 4, "ARM", 0, "What it trained on (default: augmented, else original)", 0},
    {"seed", OPTION_FIRST + 5, "N", 0, "Which of its trainings (default: the lowest seed)", 0},
    {0}};
static const struct argp_option export_options[] = {
    {"recommender", OPTION_FIRST + 0, "NAME", 0, "Which one of the run, for example lightgcn (needed)", 0},
    {"output", OPTION_FIRST + 1, "FILE", 0, "The HDF5 file to write (needed)", 0},
    {"users", OPTION_FIRST + 2, "FILE", 0, "Ids of users, one a line; all users when not given", 0},
    {"scores", OPTION_FIRST + 3, NULL, 0, "Write the score of every item for each user too", 0},
    {"device", OPTION_FIRST + 4, "NAME", 0, "auto, cpu, cuda or cuda:N (default: as the run was configured)",
     0},
    {"arm", OPTION_FIRST + 5, "ARM", 0, "What it trained on (default: augmented, else original)", 0},
    {"seed", OPTION_FIRST + 6, "N", 0, "Which of its trainings (default: the lowest seed)", 0},
    {0}};
static const struct argp_option merge_options[] = {
    {"dtype", OPTION_FIRST + 0, "TYPE", 0, "f32, bf16 or f16 for all weights (default: as the base has them)",
     0},
    {"shard-bytes", OPTION_FIRST + 1, "N", 0, "Most bytes of weights in a file (default 5000000000)", 0},
    {0}};
static const struct argp_option score_options[] = {
    {"tokens", OPTION_FIRST + 0, "N,N,...", 0, "The tokens by their numbers", 0},
    {"text", OPTION_FIRST + 1, "TEXT", 0, "A text, which the model's tokenizer.json turns into tokens", 0},
    {"adapter", OPTION_FIRST + 2, "DIR", 0, "A folder of peft to put on the model", 0},
    {"top", OPTION_FIRST + 3, "N", 0, "Next tokens in the table (default 10)", 0},
    {"json", OPTION_FIRST + 4, NULL, 0, "Print JSON, with the logits of all next tokens", 0},
    {"device", OPTION_FIRST + 5, "NAME", 0, "auto, cpu, cuda or cuda:N (default auto)", 0},
    {0}};
static const struct argp_option plan_options[] = {
    {"json", OPTION_FIRST + 0, NULL, 0, "Print JSON", 0},
    {"memory", OPTION_FIRST + 1, "SIZE", 0, "What the plan is to fit into, as 12GB (default: what is free)",
     0},
    {"users", OPTION_FIRST + 2, "N", 0, "Users, where the data are not at hand", 0},
    {"items", OPTION_FIRST + 3, "N", 0, "Items, likewise", 0},
    {"interactions", OPTION_FIRST + 4, "N", 0, "Training rows, likewise", 0},
    {"spread", OPTION_FIRST + 5, "X", 0,
     "Deviation of the logarithm of a user's rows, likewise (default 1; 0: all have as many)", 0},
    {"tokens-per-item", OPTION_FIRST + 6, "X", 0,
     "Tokens of an item in text, its comma included (default: its digits and two)", 0},
    {"device-tflops", OPTION_FIRST + 7, "X", 0, "Plan for a device of that many TFLOP/s; nothing is measured",
     0},
    {"efficiency", OPTION_FIRST + 8, "X", 0, "The share of them that is reached (default 0.4)", 0},
    {"bandwidth", OPTION_FIRST + 9, "X", 0, "Its memory in GB/s, which bounds what computes little", 0},
    {"seconds", OPTION_FIRST + 10, "X", 0, "Most that measuring one thing may take (default 2)", 0},
    {"trial", OPTION_FIRST + 11, "NAME", 0, "One trial of a study alone, in full", 0},
    {"ranks", OPTION_FIRST + 12, "N", 0, "Ranks of the run, each with such a device (docs/scaling.md)", 0},
    {"link", OPTION_FIRST + 13, "X", 0, "What a rank can send to the others, in GB/s", 0},
    {0}};
static const struct argp_option synthesize_options[] = {
    {"users", OPTION_FIRST + 0, "N", 0, "Users (default 1000)", 0},
    {"items", OPTION_FIRST + 1, "N", 0, "Items (default 600)", 0},
    {"interactions", OPTION_FIRST + 2, "MEAN", 0, "Interactions of a user, on average (default 30)", 0},
    {"factors", OPTION_FIRST + 3, "N", 0, "Length of the hidden vectors of users and items (default 8)", 0},
    {"blocks", OPTION_FIRST + 4, "N", 0, "Blocks of users and of items with a taste in common (default 10)",
     0},
    {"noise", OPTION_FIRST + 5, "SHARE", 0, "How much of a choice ignores taste, 0 to 1 (default 0.1)", 0},
    {"popularity-skew", OPTION_FIRST + 6, "X", 0, "0: all items are equally popular (default 0.5)", 0},
    {"preferred", OPTION_FIRST + 7, "SHARE", 0, "Share of the items that a user truly prefers (default 0.1)",
     0},
    {"seed", OPTION_FIRST + 8, "N", 0, "Seed (default 1)", 0},
    {0}};

/* Every single stage is called alike. */
#define STAGE(name, does, options, example)                                                                  \
    {                                                                                                        \
        name, does, "CONFIG [key.path=value ...]",                                                           \
            OVERRIDES "  idrec " name " " example                                                            \
                      "\n\nThe stage is skipped when its results are there and belong "                      \
                      "to the same settings. The stages before it must be done; `idrec run` does them all.", \
            options, 1, WORDS_MAXIMUM, command_stage                                                         \
    }

const struct command commands[] = {
    {"run", "Run every stage that is not yet done, then the report", "CONFIG [key.path=value ...]",
     OVERRIDES "  idrec run configs/quickstart.yaml\n"
               "  idrec run configs/datasets/ml-100k.yaml seed=2 output=runs/second\n"
               "  idrec run my.yaml 'recommenders=[{model: bpr_mf}]'\n\n"
               "A run that was stopped goes on where it was when the same command is given again. A changed "
               "setting reruns "
               "the stages that read it and those after them.\n\n"
               "A CONFIG with experiment.sweep or experiment.sweep_list is a study: each of its trials is a "
               "run of its own "
               "below the study's folder, several run at a time, and what they have in common is computed "
               "once. Any number "
               "of processes, on all hosts that share the folder, may be given the same command: they divide "
               "the trials "
               "among themselves (docs/studies.md).\n\n"
               "Ranks of one run train the language model together, and divide generation and the fits of "
               "recommenders; "
               "those of a study divide its trials: mpirun -n 4 idrec run CONFIG (docs/scaling.md).",
     run_options, 1, WORDS_MAXIMUM, command_run_config},
    {"status", "Tell how far the trials of a study are, and why some failed", "STUDY [key.path=value ...]",
     "STUDY is the configuration of a study, or the folder of one. Times left are estimated from the trials "
     "that are "
     "done.\n\nExamples:\n  idrec status configs/ablations/quick.yaml\n  idrec status runs/quick --json",
     json_options, 1, WORDS_MAXIMUM, command_status},
    {"plan", "Tell the memory, disk and time that a run will take, before it starts",
     "CONFIG [key.path=value ...]",
     OVERRIDES
     "  idrec plan configs/datasets/ml-1m.yaml\n"
     "  idrec plan my.yaml experiment.parallel=1 --memory=8GB\n"
     "  idrec plan my.yaml --users=31668 --items=38048 --interactions=1237259\n"
     "  idrec plan my.yaml --device-tflops=990 --efficiency=0.4 --bandwidth=4800\n"
     "  idrec plan my.yaml --device-tflops=990 --ranks=8 --link=450 finetune.shard_base=true\n"
     "  idrec plan my-study.yaml --trial=width=64\n\n"
     "Nothing is written. The input is read, tokens and operations are counted by the code that will do the "
     "work, and some batches of every model are run on the configured device to see how fast it is: about "
     "half a minute in all. A stage that can stop early has two times: when its patience runs out at once, "
     "and "
     "when all its epochs are done. Of a study each trial has a line; what trials have in common counts "
     "once. What does not fit is told with the setting to lower. docs/planning.md "
     "explains each figure.",
     plan_options, 1, WORDS_MAXIMUM, command_plan},
    STAGE("prepare", "Read, filter and split the interactions", NULL,
          "configs/datasets/ml-100k.yaml data.k_core=10"),
    STAGE("pretrain", "Train the base language model", trace_options,
          "configs/datasets/ml-100k.yaml language_model.width=128"),
    STAGE("finetune", "Fine-tune it on prompts", trace_options,
          "configs/datasets/ml-100k.yaml finetune.rank=16"),
    STAGE("generate", "Generate interactions for every user", NULL,
          "configs/datasets/ml-100k.yaml generate.max_items=50"),
    STAGE("augment", "Filter what was generated", NULL, "configs/datasets/ml-100k.yaml augment.weight=0.5"),
    {"tune", "Search for better settings of the recommenders", "CONFIG [key.path=value ...]",
     OVERRIDES
     "  idrec tune configs/tune-ml-100k.yaml\n"
     "  idrec tune my.yaml tune.trials=64 tune.method=random\n"
     "  idrec tune my.yaml 'tune.space=[{key: width, values: [32, 64, 128]}]'\n\n"
     "tune.space says which settings are searched, and between which values or among which. The stages that "
     "are needed are done first. The first trial is the configuration as written, the others are drawn at "
     "random; each trains on the arm's rows and is judged by augment.select_metric on validation. Test is "
     "not "
     "read. With tune.method halving all begin with tune.first_epochs, and the best third of each rung goes "
     "on "
     "where it stopped; with random, each trains to its end. The best ten are printed. trials.tsv, with all "
     "of "
     "them, and best.yaml, for `extends:` or to be copied, are in RUN/tune/RECOMMENDER/ARM.\n\n"
     "tune.arms: [original, augmented] searches again after augmentation, with the same trials and the same "
     "budget. With tune.use: true `idrec run` tunes before it trains, and every arm trains with what was "
     "found "
     "for it. A search that was stopped goes on where it was; its result is the same, and with any "
     "experiment.parallel. docs/tuning.md has an example from beginning to end.",
     NULL, 1, WORDS_MAXIMUM, command_stage},
    STAGE("train", "Train the recommenders on every arm", NULL,
          "configs/datasets/ml-100k.yaml experiment.seeds=10"),
    STAGE("evaluate", "Compare the arms: results.json", NULL, "configs/datasets/ml-100k.yaml"),
    STAGE("report", "Write report.md, report.html and plots", NULL, "configs/datasets/ml-100k.yaml"),
    {"config", "Print the resolved configuration, every default filled in", "CONFIG [key.path=value ...]",
     "Examples:\n  idrec config configs/quickstart.yaml seed=2\n  idrec config --reference > "
     "docs/configuration.md",
     config_options, 0, WORDS_MAXIMUM, command_config},
    {"synthesize", "Write an artificial data set with a known ground truth", "OUT",
     "OUT becomes a file of user, item and time; OUT.truth.h5 holds what each user truly "
     "prefers.\n\nExamples:\n"
     "  idrec synthesize planted.inter --users=2000 --items=800 --seed=3",
     synthesize_options, 1, 1, command_synthesize},
    {"info", "Tell what a file or folder holds", "PATH",
     "PATH: an HDF5 file, a safetensors file, or the folder of a checkpoint, a run or a study.\n\nExamples:\n"
     "  idrec info runs/quickstart\n  idrec info runs/quickstart/dataset.h5 --json",
     json_options, 1, 1, command_info},
    {"reproduce", "Run recipes of published figures and compare", "RECIPE ... [key.path=value ...]",
     "RECIPE is a configuration with a section `recipe` (docs/reproduction.md). It is run as by `idrec run`: "
     "what is done "
     "already is not done again. A line of the table is a published figure, what the arm `original` reached "
     "(the mean "
     "over its seeds), the difference and the verdict: reached, exceeded (above the tolerance, which counts "
     "as reached; "
     "look at the protocols) or missed. RUN/reproduction.json holds the same. Overrides belong to all "
     "recipes.\n\n"
     "Examples:\n"
     "  idrec reproduce --list\n"
     "  idrec reproduce configs/recommenders/gowalla-bpr-mf.yaml\n"
     "  idrec reproduce configs/recommenders/*.yaml device=cuda\n\n"
     "Exit status 1: a figure was missed.",
     reproduce_options, 0, WORDS_MAXIMUM, command_reproduce},
    {"compare", "Compare runs that were tested on the same interactions", "RUN [RUN ...]",
     "RUN is the folder of a run whose training is done, or of a trial of a study (STUDY/trials/NAME). The "
     "others "
     "are compared with the first, or two arms of one run with each other: what their configurations differ "
     "in, then for each recommender and metric "
     "the "
     "means, the gain with its 95 % interval, the effect size and the corrected p, and what each run cost. "
     "Seeds "
     "are paired in their order and users by their ids, from the lists in recommenders/. Runs with other "
     "test "
     "interactions, another protocol or mask are refused, and from one seed no comparison is stated. Nothing "
     "is "
     "written into the folders.\n\nExamples:\n"
     "  idrec run my.yaml output=runs/a\n"
     "  idrec run my.yaml output=runs/b finetune.rank=16\n"
     "  idrec compare runs/a runs/b\n"
     "  idrec compare runs/ranks/trials/rank=4 runs/ranks/trials/rank=8 \\\n"
     "      --metric=ndcg@20\n"
     "  idrec compare runs/plain runs/mine --arm=augmented \\\n"
     "      --against-arm=original --json\n"
     "  idrec compare runs/mine --arm=augmented --against-arm=control.random",
     compare_options, 1, COMPARED_RUNS_MAXIMUM, command_compare},
    {"tensorboard", "Write learning curves and metrics as files of TensorBoard", "RUN",
     "RUN is the folder of a run, which may be going on, or of a study. The files are in RUN/tensorboard/, "
     "of a study "
     "in that of each trial: the language model's losses, learning rate, tokens per second and validation; "
     "of each fit "
     "of a recommender the loss and the metric that is watched, and its metrics in the end. They are made "
     "from the logs "
     "of the run; with report.tensorboard: true every run ends with them (docs/studies.md).\n\nExamples:\n"
     "  idrec tensorboard runs/quickstart\n"
     "  idrec tensorboard runs/ranks --every=10 &\n"
     "  tensorboard --logdir runs/ranks",
     tensorboard_options, 1, 1, command_tensorboard},
    {"recommend", "Print the top items of users as tab-separated lines, in the ids of the input", "RUN",
     "RUN is the folder of a finished run. A line is user, item, rank and score; items of train and "
     "validation are left out. K may be up to the number of items; a user who has fewer left gets a shorter "
     "list. `idrec info RUN` lists the recommenders, arms and seeds.\n\nExamples:\n"
     "  idrec recommend runs/quickstart --recommender=lightgcn --k=10\n"
     "  idrec recommend runs/quickstart --recommender=bpr_mf --users=ids.txt\n"
     "  idrec recommend runs/quickstart --recommender=bpr_mf --arm=original --seed=2",
     recommend_options, 1, 1, command_recommend},
    {"export", "Write a recommender's vectors and scores as HDF5, for other programs", "RUN",
     "RUN is the folder of a finished run. The file holds ids, the vectors of users and items, whose inner "
     "products are the scores, and the items that each user is known to have had (docs/data-formats.md). "
     "With --scores it holds the score of every item too: users x items x 4 bytes on disk, a block at a time "
     "in "
     "memory. Models without vectors (popularity, item_knn, ease, slim, gf_cf) need --scores.\n\nExamples:\n"
     "  idrec export runs/quickstart --recommender=lightgcn --output=lightgcn.h5\n"
     "  idrec export runs/quickstart --recommender=item_knn --users=ids.txt \\\n"
     "      --scores --output=scores.h5\n"
     "  python3 docs/examples/nearest_neighbours.py lightgcn.h5 --user=12\n",
     export_options, 1, 1, command_export},
    {"merge", "Merge an adapter into its base, as a Hugging Face folder", "BASE ADAPTER OUT | RUN OUT",
     "BASE is a Hugging Face folder (config.json, *.safetensors), ADAPTER a folder of peft "
     "(adapter_config.json, "
     "adapter_model.safetensors), OUT a folder that is not there yet. With the folder of a run, its own base "
     "and adapter "
     "are merged. OUT holds W + scale B A in place of each weight W with an adapter, the other weights, and "
     "the base's "
     "config.json and tokenizer as they are, so that any program that reads the base reads it. Sums are "
     "taken in f32 and "
     "rounded once. Weights stream from file to file: a model much larger than memory can be "
     "merged.\n\nExamples:\n"
     "  idrec merge models/llama-2-7b adapters/mine models/merged\n"
     "  idrec merge models/llama-2-7b adapters/mine models/merged --dtype=bf16\n"
     "  idrec merge runs/quickstart runs/quickstart-merged",
     merge_options, 2, 3, command_merge},
    {"score", "Print what a language model says of tokens or a text", "CHECKPOINT",
     "CHECKPOINT is a Hugging Face folder (config.json, *.safetensors, tokenizer.json) or the folder of a "
     "run, whose base "
     "and adapter are taken. The table has each token with its log-probability given those before it, then "
     "the most "
     "probable next tokens; log-probabilities are natural logarithms. --text begins with the tokens that the "
     "tokenizer "
     "puts in front, such as <s>. --json prints the same with every next logit, to be compared with another "
     "program.\n\nExamples:\n"
     "  idrec score models/llama-2-7b --text='The capital of France is'\n"
     "  idrec score models/llama-2-7b --adapter=adapters/mine --tokens=1,450,7483\n"
     "  idrec score runs/quickstart --tokens=0,17,42 --top=5\n"
     "  idrec score models/llama-2-7b --tokens=1,450 --json",
     score_options, 1, 1, command_score},
    {"devices", "Tell which devices are there, what was built in, and why something is not", "",
     "Examples:\n  idrec devices\n  idrec devices --json", json_options, 0, 0, command_devices},
    {0}};
