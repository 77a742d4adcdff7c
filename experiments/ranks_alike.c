#include "experiments/ranks_alike.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/file.h"
#include "core/interrupt.h"

enum { AGAIN_MILLISECONDS = 200 };

/* Shared folders may show a new file late. */
static const double see_seconds = 20.0;

/* ---- settings ------------------------------------------------------------------------------------------- */

static void add_setting(void *context, const char *path, const char *value)
{
    if (strcmp(path, "threads") == 0 || strcmp(path, "device") == 0)
        return;
    XXH3_64bits_update(context, path, strlen(path) + 1);
    XXH3_64bits_update(context, value, strlen(value) + 1);
}

static int64_t hash_settings(const struct config *config)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        abort();
    XXH3_64bits_reset(state);
    config_visit(config, NULL, add_setting, state);
    const int64_t hash = (int64_t)XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

bool ranks_check_settings(struct communicator *communicator, const struct config *config, struct error *error)
{
    const int64_t own = hash_settings(config);
    int64_t first = own;
    return comm_broadcast_integer(communicator, &first, 0, error) &&
           (first == own || error_set(error, ERROR_USAGE,
                                      "has other settings or paths than rank 0; start all ranks in the same "
                                      "folder, with the same configuration and the same overrides"));
}

/* ---- the folder ------------------------------------------------------------------------------------------- */

static bool await_file(const char *path)
{
    const double end = clock_seconds() + see_seconds;
    while (!path_exists(path) && clock_seconds() < end && !interrupt_requested())
        poll(NULL, 0, AGAIN_MILLISECONDS);
    return path_exists(path);
}

static bool make_token(const char *folder, int64_t *token, char **path, struct error *error)
{
    if (getrandom(token, sizeof *token, 0) != (ssize_t)sizeof *token)
        return error_system(error, folder, "no random number for a file in this folder", NULL);
    *path = path_format("%s/.ranks-%016llx", folder, (unsigned long long)*token);
    return file_write(*path, "", 0, error);
}

bool ranks_check_folder(struct communicator *communicator, const char *folder, struct error *error)
{
    const bool leads = communicator->rank == 0;
    int64_t token = 0;
    char *path = NULL;
    bool done = (!leads || make_token(folder, &token, &path, error)) &&
                comm_broadcast_integer(communicator, &token, 0, error);
    if (done && !leads) {
        path = path_format("%s/.ranks-%016llx", folder, (unsigned long long)token);
        done = await_file(path) || (interrupt_check(error) &&
                                    error_at(error, ERROR_USAGE, folder, 0,
                                             "is not the folder that rank 0 has under this path; all ranks "
                                             "must see the run's folder, so let `output` be on a shared file "
                                             "system"));
    }
    communicator->patient = true;
    done = done && comm_barrier(communicator, error);
    communicator->patient = false;
    if (leads && path)
        unlink(path);
    free(path);
    return done;
}
