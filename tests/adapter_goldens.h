/* adapter_goldens.h: the adapters that goldens/make_adapter.py wrote, with the results of peft. */
#ifndef IDREC_TESTS_ADAPTER_GOLDENS_H
#define IDREC_TESTS_ADAPTER_GOLDENS_H

#include "core/file.h"
#include "golden_transformer.h"
#include "models/language/checkpoint.h"

static const char *const adapter_names[] = {"list", "stabilized", "all_linear", "expression", "excluded"};
#define ADAPTER_COUNT (sizeof adapter_names / sizeof *adapter_names)

/* The adapters' base, saved as a folder. */
static inline void save_adapters_base(struct backend *backend, const char *folder)
{
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("grouped_tied");
    struct transformer *model = golden_model(&golden, backend);
    require(checkpoint_save_base(model, folder, &error), &error);
    transformer_free(model);
    golden_close(&golden);
}

/* The golden's batch, with the results of peft's adapter. */
static inline struct golden open_adapter_golden(const char *name)
{
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("grouped_tied");
    char *path = path_format("%s/tests/goldens/adapters/%s/golden.safetensors", IDREC_SOURCE_DIR, name);
    safetensors_close(golden.file);
    require(safetensors_open(&golden.file, path, &error), &error);
    free(path);
    golden.batch.token = golden_entry(&golden, "token")->data;
    golden.batch.starts = golden_entry(&golden, "starts")->data;
    golden.batch.target = golden_entry(&golden, "target")->data;
    golden.batch.weight = golden_entry(&golden, "weight")->data;
    return golden;
}

static inline char *adapter_folder(const char *name)
{
    return path_format("%s/tests/goldens/adapters/%s", IDREC_SOURCE_DIR, name);
}

#endif
