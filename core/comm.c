#include "core/comm.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/comm/comm_calls.h"
#include "core/comm/sockets.h"
#include "core/comm/watch.h"
#include "core/file.h"

enum {
    LATE_SECONDS = 30,
    /* A launcher that does not end a job in this time is not waited for. */
    ABORT_SECONDS = 4
};

const char *comm_kind_name(enum comm_kind kind)
{
    static const char *const names[COMM_KIND_COUNT] = {"all-reduce", "reduce-scatter", "all-gather",
                                                       "broadcast",  "barrier",        "point to point"};
    return names[kind];
}

/* ---- opening and closing ------------------------------------------------------------------------------------ */

/* Where a launcher and an MPI that do not know each other are used together, every process would be rank 0. */
static bool check_ranks(const struct communicator *communicator, int ranks, const char *launcher,
                        struct error *error)
{
    return communicator->size == ranks ||
           error_set(error, ERROR_USAGE,
                     "%s has started %d processes, but MPI sees %d of them; start them by the MPI that this "
                     "program "
                     "was built with (with srun: --mpi=pmix, see `srun --mpi=list`)",
                     launcher, ranks, communicator->size);
}

static bool refuse_ranks(int ranks, const char *launcher, struct error *error)
{
    char build[128];
    mpi_describe_build(build, sizeof build);
    return error_set(
        error, ERROR_USAGE,
        "%s has started %d processes, and this program cannot work as ranks of one job: %s; start it "
        "alone, build it where MPI is installed, or set " RANKS_FOLDER_VARIABLE
        " to a folder that all ranks see, with "
        "srun",
        launcher, ranks, build);
}

bool comm_open(struct communicator **communicator, struct error *error)
{
    const char *launcher = NULL;
    const int ranks = launcher_ranks(&launcher);
    const bool meet = getenv(RANKS_FOLDER_VARIABLE) != NULL;
    *communicator = NULL;
    if (ranks > 1 && !meet && !mpi_is_built_in())
        return refuse_ranks(ranks, launcher, error);
    struct communicator *made = calloc(1, sizeof *made);
    if (!made)
        return error_memory(error, "the ranks of the job", sizeof *made, NULL);
    *made = (struct communicator){
        .name = "one process", .size = 1, .local_size = 1, .late_seconds = LATE_SECONDS};
    gethostname(made->host, sizeof made->host - 1);
    *communicator = made;
    if (ranks == 1)
        return true;
    const bool joined = meet
                            ? socket_communicator_open(made, ranks, error)
                            : mpi_communicator_open(made, error) && check_ranks(made, ranks, launcher, error);
    return joined && watch_open(made, error);
}

void comm_leave_device(struct communicator *communicator)
{
    if (communicator->device_calls)
        communicator->device_calls->leave(communicator);
}

void comm_close(struct communicator *communicator)
{
    if (communicator) {
        background_close(communicator);
        comm_leave_device(communicator);
    }
    if (communicator && communicator->calls)
        communicator->calls->close(communicator);
    if (communicator)
        watch_close(communicator->watch);
    free(communicator);
}

void comm_abort(struct communicator *communicator, int status)
{
    if (communicator && communicator->calls) {
        watch_tell_end(communicator->watch);
        alarm(ABORT_SECONDS); /* SIGALRM ends this process, wherever it stands */
    }
    fflush(NULL);
    if (communicator && communicator->calls)
        communicator->calls->end_job(communicator, status);
    _exit(status);
}

void comm_name_rank(const struct communicator *communicator, struct error *error)
{
    if (!communicator || communicator->size == 1 || error->kind == ERROR_NONE)
        return;
    struct error named = ERROR_INITIALIZER;
    error_set(&named, error->kind, "rank %d on %s: %s", communicator->rank, communicator->host,
              error->message);
    *error = named;
}

const char *comm_build_description(char *text, size_t size)
{
    mpi_describe_build(text, size);
    return text;
}

bool comm_is_built_in(void)
{
    return mpi_is_built_in();
}

/* ---- collectives ---------------------------------------------------------------------------------------------- */

static bool check(const struct communicator *communicator, const struct tensor *x, const char *what,
                  struct error *error)
{
    const bool sums =
        x->dtype == DTYPE_F32 || x->dtype == DTYPE_F64 || x->dtype == DTYPE_I32 || x->dtype == DTYPE_I64;
    if ((x->device == DEVICE_CPU || communicator->device_calls) && sums)
        return true;
    return error_set(error, ERROR_RUN, "%s of %s %s is not possible", what, dtype_name(x->dtype),
                     x->device == DEVICE_CPU ? "on the host" : "on a GPU");
}

static int64_t *count_call(struct communicator *communicator, enum comm_kind kind)
{
    communicator->volume[kind].calls++;
    return &communicator->volume[kind].bytes_sent;
}

/* Of what a GPU sends: `times` what other ranks have of x, on average. */
static void count_device(struct communicator *communicator, enum comm_kind kind, const struct tensor *x,
                         int times)
{
    const int64_t size = communicator->size;
    *count_call(communicator, kind) += times * (int64_t)tensor_bytes(x) * (size - 1) / size;
}

bool comm_all_reduce(struct communicator *communicator, struct tensor *x, enum comm_reduction reduction,
                     struct error *error)
{
    if (communicator->size == 1)
        return true;
    if (!check(communicator, x, comm_kind_name(COMM_ALL_REDUCE), error))
        return false;
    if (x->device == DEVICE_CPU)
        return exchange_all_reduce(communicator, x, reduction, count_call(communicator, COMM_ALL_REDUCE),
                                   error);
    count_device(communicator, COMM_ALL_REDUCE, x, 2);
    return communicator->device_calls->all_reduce(communicator, x, reduction, error);
}

int64_t comm_part(const struct communicator *communicator, int64_t length, int rank)
{
    const int64_t size = communicator->size, whole = length / size, rest = length % size;
    return rank * whole + rank * rest / size;
}

int64_t part_begin(const struct communicator *communicator, const int64_t *starts, int64_t length, int rank)
{
    return starts ? starts[rank] : comm_part(communicator, length, rank);
}

bool comm_reduce_scatter_parts(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                               struct error *error)
{
    if (communicator->size == 1)
        return true;
    if (!check(communicator, x, comm_kind_name(COMM_REDUCE_SCATTER), error))
        return false;
    if (x->device == DEVICE_CPU)
        return exchange_reduce_scatter(communicator, x, starts, COMM_SUM,
                                       count_call(communicator, COMM_REDUCE_SCATTER), error);
    count_device(communicator, COMM_REDUCE_SCATTER, x, 1);
    return communicator->device_calls->reduce_scatter(communicator, x, starts, error);
}

bool comm_reduce_scatter(struct communicator *communicator, struct tensor *x, struct error *error)
{
    return comm_reduce_scatter_parts(communicator, x, NULL, error);
}

bool comm_all_gather_parts(struct communicator *communicator, struct tensor *x, const int64_t *starts,
                           struct error *error)
{
    if (communicator->size == 1)
        return true;
    if (!check(communicator, x, comm_kind_name(COMM_ALL_GATHER), error))
        return false;
    if (x->device == DEVICE_CPU)
        return exchange_all_gather(communicator, x, starts, count_call(communicator, COMM_ALL_GATHER), error);
    count_device(communicator, COMM_ALL_GATHER, x, 1);
    return communicator->device_calls->all_gather(communicator, x, starts, error);
}

bool comm_all_gather(struct communicator *communicator, struct tensor *x, struct error *error)
{
    return comm_all_gather_parts(communicator, x, NULL, error);
}

bool comm_broadcast(struct communicator *communicator, struct tensor *x, int root, struct error *error)
{
    if (communicator->size == 1)
        return true;
    if (!check(communicator, x, comm_kind_name(COMM_BROADCAST), error))
        return false;
    if (x->device == DEVICE_CPU)
        return exchange_broadcast(communicator, x, root, count_call(communicator, COMM_BROADCAST), error);
    count_device(communicator, COMM_BROADCAST, x, 1);
    return communicator->device_calls->broadcast(communicator, x, root, error);
}

bool comm_barrier(struct communicator *communicator, struct error *error)
{
    return communicator->size == 1 ||
           exchange_barrier(communicator, count_call(communicator, COMM_BARRIER), error);
}

/* In messages of a bounded size, one after another. */
static bool point_to_point(struct communicator *communicator, const struct tensor *x, int peer, bool sends,
                           struct error *error)
{
    const size_t bytes = tensor_bytes(x);
    if (x->device != DEVICE_CPU)
        return error_set(error, ERROR_RUN, "messages of a GPU's memory are not possible");
    if (peer < 0 || peer >= communicator->size || peer == communicator->rank)
        return error_set(error, ERROR_RUN, "a message %s rank %d of %d is not possible",
                         sends ? "to" : "from", peer, communicator->size);
    int64_t *const sent = count_call(communicator, COMM_POINT_TO_POINT);
    for (size_t first = 0; first < bytes; first += MESSAGE_BYTES_MAXIMUM) {
        const size_t left = bytes - first;
        const struct message message = {peer, (char *)x->data + first,
                                        left < MESSAGE_BYTES_MAXIMUM ? left : MESSAGE_BYTES_MAXIMUM};
        if (!communicator->calls->exchange(communicator, &message, sends ? 1 : 0, &message, sends ? 0 : 1,
                                           error))
            return false;
        *sent += sends ? (int64_t)message.bytes : 0;
    }
    return true;
}

bool comm_send(struct communicator *communicator, const struct tensor *x, int to, struct error *error)
{
    return check(communicator, x, "sending", error) && point_to_point(communicator, x, to, true, error);
}

bool comm_receive(struct communicator *communicator, struct tensor *x, int from, struct error *error)
{
    return check(communicator, x, "receiving", error) && point_to_point(communicator, x, from, false, error);
}

bool comm_sum_numbers(struct communicator *communicator, double *numbers, int64_t count, struct error *error)
{
    struct tensor x = tensor_1d(numbers, DTYPE_F64, DEVICE_CPU, count);
    return comm_all_reduce(communicator, &x, COMM_SUM, error);
}

bool comm_broadcast_integer(struct communicator *communicator, int64_t *number, int root, struct error *error)
{
    struct tensor x = tensor_1d(number, DTYPE_I64, DEVICE_CPU, 1);
    return comm_broadcast(communicator, &x, root, error);
}

int64_t comm_bytes_sent(const struct communicator *communicator)
{
    int64_t sum = 0;
    for (int kind = 0; kind < COMM_KIND_COUNT; kind++)
        sum += communicator->volume[kind].bytes_sent;
    return sum;
}

char *comm_describe_volume(const struct communicator *communicator)
{
    char *text = path_format("%s", "");
    for (int kind = 0; kind < COMM_KIND_COUNT; kind++) {
        const struct comm_volume *const volume = &communicator->volume[kind];
        if (volume->calls == 0)
            continue;
        char *longer = path_format("%s%s%s %lld bytes in %lld calls", text, *text ? ", " : "",
                                   comm_kind_name((enum comm_kind)kind), (long long)volume->bytes_sent,
                                   (long long)volume->calls);
        free(text);
        text = longer;
    }
    return text;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------ */

/* Whether the launcher has shown every rank of this machine other GPUs; the ranks compare what they may see. */
static bool gpus_are_divided(struct communicator *communicator, bool *divided, struct error *error)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    const int size = communicator->size;
    enum { TEXT = 256, NUMBERS = TEXT / sizeof(int64_t) };
    char(*texts)[TEXT] = calloc((size_t)size, sizeof *texts), own[TEXT];
    if (!texts)
        return error_memory(error, "the GPUs of the ranks", (size_t)size * sizeof *texts, NULL);
    snprintf(own, sizeof own, "%s %s", communicator->host, visible ? visible : "");
    memcpy(texts[communicator->rank], own, sizeof own);
    struct tensor all = tensor_1d(texts, DTYPE_I64, DEVICE_CPU, (int64_t)size * NUMBERS);
    const bool done = comm_all_gather(communicator, &all, error);
    *divided = visible != NULL;
    for (int rank = 0; done && rank < size; rank++)
        *divided = *divided && (rank == communicator->rank || strcmp(texts[rank], own) != 0);
    free(texts);
    return done;
}

bool comm_device(struct communicator *communicator, const char *device, int gpus, char name[16],
                 struct error *error)
{
    bool divided;
    snprintf(name, 16, "%s", device);
    if (communicator->size == 1 || strcmp(device, "cpu") == 0 || gpus == 0)
        return true;
    if (!gpus_are_divided(communicator, &divided, error))
        return false;
    if (strncmp(device, "cuda:", 5) == 0)
        return communicator->local_size == 1 || divided ||
               error_set(error, ERROR_USAGE,
                         "device %s is one GPU, and there are %d ranks on %s; use `device: cuda`, and each "
                         "takes its own",
                         device, communicator->local_size, communicator->host);
    if (!divided && communicator->local_size > gpus)
        return error_set(error, ERROR_USAGE,
                         "there are %d ranks on %s, but only %d GPU%s; start at most one rank for each GPU",
                         communicator->local_size, communicator->host, gpus, gpus == 1 ? "" : "s");
    snprintf(name, 16, "cuda:%d", divided ? 0 : communicator->local_rank);
    return true;
}

int comm_threads(const struct communicator *communicator, int available)
{
    cpu_set_t allowed;
    const bool bound = sched_getaffinity(0, sizeof allowed, &allowed) == 0 &&
                       CPU_COUNT(&allowed) < sysconf(_SC_NPROCESSORS_ONLN);
    if (communicator->local_size == 1 || bound)
        return available;
    return available > communicator->local_size ? available / communicator->local_size : 1;
}
