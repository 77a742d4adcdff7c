#include "experiments/turns.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/interrupt.h"

struct turns {
    struct communicator *communicator; /* NULL: the caller is alone */
    char *folder;
    int64_t count, next; /* pieces before `next` are taken */
    int64_t own;         /* taken by this rank */
};

/* ---- files --------------------------------------------------------------------------------------------- */

static char *stop_path(const struct turns *turns)
{
    return path_format("%s/stop", turns->folder);
}

/* Another rank learns of a signal when it takes its next piece. */
static bool stop_others(const struct turns *turns, struct error *error)
{
    char *path = stop_path(turns);
    const int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    const bool done = descriptor >= 0 || error_system(error, path, "cannot make this file", NULL);
    if (descriptor >= 0)
        close(descriptor);
    free(path);
    return done;
}

static bool others_stop(const struct turns *turns)
{
    char *path = stop_path(turns);
    const bool stop = path_exists(path);
    free(path);
    return stop;
}

static bool take_file(const struct turns *turns, int64_t index, bool *taken, struct error *error)
{
    char *path = path_format("%s/%lld", turns->folder, (long long)index);
    const int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    *taken = descriptor >= 0;
    const bool done =
        *taken || errno == EEXIST ||
        error_system(error, path, "cannot make this file, by which ranks divide their work", NULL);
    if (*taken)
        close(descriptor);
    free(path);
    return done;
}

/* ---- opening and closing ------------------------------------------------------------------------------- */

/* What a job left that was killed goes. */
static bool prepare_folder(const struct turns *turns, struct error *error)
{
    return turns->communicator->rank > 0 ||
           (path_remove(turns->folder, error) && folder_create(turns->folder, error));
}

bool turns_open(struct turns **turns, const struct run *run, bool by_ranks, int64_t count,
                struct error *error)
{
    struct turns *made = *turns = calloc(1, sizeof *made);
    if (!made)
        return error_memory(error, "the division of work", sizeof *made, NULL);
    made->count = count;
    made->folder = run_path(run, ".turns");
    if (!by_ranks || !run->communicator || run->communicator->size == 1)
        return true;
    made->communicator = run->communicator;
    return prepare_folder(made, error) && run_wait_for_ranks(run, error);
}

void turns_close(struct turns *turns)
{
    if (!turns)
        return;
    free(turns->folder);
    free(turns);
}

/* ---- turns ---------------------------------------------------------------------------------------------- */

int64_t turns_taken(const struct turns *turns)
{
    return turns->next;
}

static bool must_stop(const struct turns *turns)
{
    if (turns->communicator && !interrupt_requested() && others_stop(turns))
        interrupt_request();
    return interrupt_requested();
}

bool turns_take(struct turns *turns, int64_t *index, struct error *error)
{
    bool taken = false, done = true;
    *index = -1;
    while (done && !taken && turns->next < turns->count && !must_stop(turns)) {
        *index = turns->next++;
        taken = !turns->communicator;
        done = taken || take_file(turns, *index, &taken, error);
    }
    turns->own += taken;
    *index = taken ? *index : -1;
    return done;
}

bool turns_take_piece(struct turns *turns, int64_t index, bool *taken, struct error *error)
{
    *taken = !turns->communicator;
    const bool done = *taken || take_file(turns, index, taken, error);
    turns->own += *taken;
    turns->next++;
    return done;
}

bool turns_check(const struct turns *turns, struct error *error)
{
    return !must_stop(turns) || interrupt_check(error);
}

static char *word_path(const struct turns *turns, int64_t index)
{
    return path_format("%s/%lld.said", turns->folder, (long long)index);
}

bool turns_say(const struct turns *turns, int64_t index, const char *text, struct error *error)
{
    char *path = word_path(turns, index);
    const bool done = file_write(path, text, strlen(text), error);
    free(path);
    return done;
}

bool turns_hear(const struct turns *turns, int64_t index, char **text, struct error *error)
{
    char *path = word_path(turns, index);
    size_t length;
    *text = NULL;
    const bool done = !path_exists(path) || file_read(path, text, &length, error);
    free(path);
    return done;
}

bool turns_are_shared(const struct turns *turns)
{
    return turns->communicator != NULL;
}

/* What all ranks have to say at the end. */
struct sums {
    double taken, failed, interrupted;
};

static bool add_up(struct turns *turns, struct sums *sums, struct error *error)
{
    double numbers[] = {sums->taken, sums->failed, sums->interrupted};
    turns->communicator->patient = true;
    const bool summed = comm_sum_numbers(turns->communicator, numbers, 3, error);
    turns->communicator->patient = false;
    *sums = (struct sums){numbers[0], numbers[1], numbers[2]};
    return summed;
}

/* All ranks find the same. */
static bool judge(const struct turns *turns, const struct sums *sums, struct error *error)
{
    if (sums->failed == 0.0 && sums->taken == (double)turns->count)
        return true;
    turns->communicator->ending = true;
    if (sums->interrupted == 0.0)
        return error_at(
            error, ERROR_RUN, turns->folder, 0,
            "%lld pieces of work were to be done, and the ranks took %.0f; do all of them see this "
            "folder, and create files in it exclusively?",
            (long long)turns->count, sums->taken);
    interrupt_request();
    return interrupt_check(error);
}

bool turns_end(struct turns *turns, bool done, struct error *error)
{
    if (!done && error->kind != ERROR_INTERRUPTED)
        return false;
    if (!turns->communicator)
        return done && (turns->own == turns->count || interrupt_check(error));
    const bool interrupted = interrupt_requested();
    struct sums sums = {(double)turns->own, done ? 0.0 : 1.0, interrupted ? 1.0 : 0.0};
    return (!interrupted || stop_others(turns, error)) && add_up(turns, &sums, error) &&
           (turns->communicator->rank > 0 || path_remove(turns->folder, error)) && judge(turns, &sums, error);
}
