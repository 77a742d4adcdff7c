/* adapter_folder.h: a backend and a folder with the base that golden adapters belong to, for a whole test program. */
#ifndef IDREC_TESTS_ADAPTER_FOLDER_H
#define IDREC_TESTS_ADAPTER_FOLDER_H

#include <unistd.h>

#include "adapter_goldens.h"

static struct backend *backend;
static char folder[] = "/tmp/idrec-adapters-XXXXXX";
static char *base;

static char *inside(const char *name)
{
    return path_format("%s/%s", folder, name);
}

static int set_up(void **state)
{
    (void)state;
    backend = open_backend(1);
    if (!mkdtemp(folder))
        return -1;
    base = inside("base");
    save_adapters_base(backend, base);
    return 0;
}

static int tear_down(void **state)
{
    struct error error = ERROR_INITIALIZER;
    (void)state;
    backend_close(backend);
    free(base);
    return path_remove(folder, &error) ? 0 : -1;
}

#endif
