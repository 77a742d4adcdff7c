#include "experiments/sweep_run.h"

#include <fcntl.h>
#include <omp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/comm.h"
#include "core/file.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "cuda/backend.h"
#include "experiments/claims.h"
#include "experiments/cost.h"
#include "experiments/manifest.h"
#include "experiments/report_files.h"
#include "experiments/run.h"
#include "experiments/shared_fits.h"
#include "experiments/shared_folder.h"
#include "experiments/stages.h"
#include "experiments/sweep_expect.h"
#include "experiments/sweep_memory.h"
#include "experiments/sweep_order.h"
#include "experiments/sweep_results.h"
#include "experiments/sweep_state.h"

enum { POLL_MILLISECONDS = 100, LOOK_SECONDS = 1, LOCK_WAIT_SECONDS = 10, FITS_WAIT_MILLISECONDS = 200 };

/* A trial as this process sees it. */
struct task {
    const struct sweep_trial *trial;
    enum trial_state state; /* waiting: not done, and not of this process; running: of this process */
    char signature[33];
    char chain[33];     /* what its shared stages depend on: trials with the same have them in common */
    const char *shared; /* the last stage that can be shared */
    bool chain_done;    /* the shared stages are computed, or no other trial needs them */
    bool preparing;     /* its process ends with the shared stages */
    bool elsewhere;     /* someone else has the claim */
    bool aside;         /* put aside, here or elsewhere */
    json_t *awaits;     /* the fits of other trials that it waits for (shared_fits.h); NULL: none */
    struct claim *claim;
    pid_t process;
    double started;
    struct trial_outcome outcome;
};

struct worker {
    const struct sweep *sweep;
    struct communicator *communicator;
    int gpu;            /* the only one that its trials see; -1: they see what this process sees */
    struct task *tasks; /* [sweep->trial_count] */
    int threads, at_once;
    char *shared; /* where fits are that trials have in common */
    struct sweep_memory *memory;
    struct sweep_order *order;
    struct timespec started; /* by the clock of the folder's server */
    double looked;           /* when outcomes, claims and what trials wait for were last looked at */
    bool ending;             /* a signal arrived and was passed on */
};

/* What a trial's process says, for the one that started it. */
static const char failed_in[] = "failed in ";

/* ---- one trial in this process --------------------------------------------------------------------------- */

/* Until the fits that the trial waits for may be there: that is no cost. */
static bool wait_for_fits(const struct run *run, struct error *error)
{
    json_t *names = awaited_fits_read(run->folder);
    const struct spent from = meter_read(run->meter);
    log_line(run->log, "train: %s", error->message);
    *error = ERROR_INITIALIZER;
    while (names && !awaited_fits_are_there(names, run->shared) &&
           !awaited_fits_lack_one(names, run->shared) && !interrupt_requested())
        nanosleep(&(struct timespec){.tv_nsec = FITS_WAIT_MILLISECONDS * 1000000L}, NULL);
    json_decref(names);
    cost_waited(run, from);
    return interrupt_check(error) && awaited_fits_forget(run->folder, error);
}

static bool run_through(struct run *run, const char *stage, bool waits, struct error *error)
{
    bool done = awaited_fits_forget(run->folder, error);
    while (done && !(done = run_stage(run, stage, true, error)) && waits && error->kind == ERROR_PUT_ASIDE &&
           (done = wait_for_fits(run, error)))
        ;
    if (!done && run->stage && error->kind != ERROR_INTERRUPTED && error->kind != ERROR_PUT_ASIDE)
        log_line(NULL, "%s%s", failed_in, run->stage);
    return done;
}

bool sweep_run_trial(const struct sweep *sweep, int trial, const char *stage, int threads, bool waits,
                     struct error *error)
{
    struct config *config;
    struct run run = {0};
    if (!sweep_trial_config(&config, sweep, trial, error))
        return false;
    char *shared = sweep_path(sweep, "shared"), *of_study = sweep_path(sweep, "config.yaml");
    bool done = run_open_config(&run, NULL, config, threads, shared, error) &&
                (path_exists(of_study) || sweep_config_write(sweep, error));
    if (done) {
        run_count_start(&run);
        done = run_through(&run, stage, waits, error);
    }
    run_close(&run);
    free(of_study);
    free(shared);
    return done;
}

/* ---- what there is to do ----------------------------------------------------------------------------------- */

static bool describe_tasks(struct worker *worker, struct error *error)
{
    const int count = worker->sweep->trial_count;
    for (int i = 0; i < count; i++) {
        struct task *task = &worker->tasks[i];
        struct config *config;
        if (!sweep_trial_config(&config, worker->sweep, i, error))
            return false;
        task->trial = &worker->sweep->trials[i];
        const int last = stage_last_shared(config);
        task->shared = stages[last].name;
        stage_settings_hash(config, last, task->chain);
        const bool done = trial_signature(task->signature, config, error) &&
                          sweep_order_describe(worker->order, i, config, error);
        config_free(config);
        if (!done)
            return false;
    }
    for (int i = 0; i < count; i++) {
        int alike = 0;
        for (int j = 0; j < count; j++)
            alike += strcmp(worker->tasks[i].chain, worker->tasks[j].chain) == 0;
        worker->tasks[i].chain_done = alike == 1;
    }
    return true;
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec >= b->tv_nsec;
}

static bool is_ended(const struct task *task)
{
    return task->state == TRIAL_DONE || task->state == TRIAL_FAILED;
}

/* Takes over how a trial ended, elsewhere or before: done, or failed since this process began. One of which files are gone is
 * done again, as far as they need it. */
static void look_at_outcome(struct worker *worker, struct task *task)
{
    struct trial_outcome outcome;
    if (!trial_outcome_read(&outcome, task->trial) || strcmp(outcome.signature, task->signature) != 0)
        return;
    task->outcome = outcome;
    sweep_memory_learn(worker->memory, outcome.memory_bytes);
    if (outcome.done && trial_is_whole(task->trial))
        task->state = TRIAL_DONE;
    else if (outcome.done)
        return;
    else if (is_later(&outcome.ended, &worker->started))
        task->state = TRIAL_FAILED;
}

/* What it waits for, unless that is there, or was given up. */
static void look_at_awaited(const struct worker *worker, struct task *task)
{
    json_decref(task->awaits);
    task->awaits = task->elsewhere || is_ended(task) ? NULL : awaited_fits_read(task->trial->folder);
    task->aside = task->awaits != NULL;
    if (task->awaits && (awaited_fits_are_there(task->awaits, worker->shared) ||
                         awaited_fits_lack_one(task->awaits, worker->shared))) {
        json_decref(task->awaits);
        task->awaits = NULL;
    }
}

/* A trial that nobody here works on. */
static void look_at(struct worker *worker, struct task *task)
{
    look_at_outcome(worker, task);
    char *path = trial_claim_path(worker->sweep, task->trial);
    task->elsewhere = !is_ended(task) && claim_is_taken(path, NULL);
    free(path);
    look_at_awaited(worker, task);
}

static int count_running(const struct worker *worker)
{
    int count = 0;
    for (int i = 0; i < worker->sweep->trial_count; i++)
        count += worker->tasks[i].process > 0;
    return count;
}

static int count_ended(const struct worker *worker, enum trial_state state)
{
    int count = 0;
    for (int i = 0; i < worker->sweep->trial_count; i++)
        count += worker->tasks[i].state == state;
    return count;
}

/* ---- starting ----------------------------------------------------------------------------------------------- */

/* Whether a trial of the same chain computes the shared stages in a process of ours. */
static bool chain_is_prepared(const struct worker *worker, const struct task *task)
{
    for (int i = 0; i < worker->sweep->trial_count; i++)
        if (worker->tasks[i].preparing && strcmp(worker->tasks[i].chain, task->chain) == 0)
            return true;
    return false;
}

/* Trials that could run now if there were room: of those whose shared stages are missing, one for each chain. */
static int count_startable(const struct worker *worker)
{
    int count = 0;
    for (int i = 0; i < worker->sweep->trial_count; i++) {
        const struct task *task = &worker->tasks[i];
        bool first = !is_ended(task) && task->process == 0 && !task->elsewhere && !task->awaits;
        if (first && !task->chain_done) {
            first = !chain_is_prepared(worker, task);
            for (int j = 0; first && j < i; j++)
                first = is_ended(&worker->tasks[j]) || strcmp(worker->tasks[j].chain, task->chain) != 0;
        }
        count += first;
    }
    return count;
}

static bool fits_memory(const struct worker *worker, const struct task *task)
{
    int *running = calloc((size_t)worker->sweep->trial_count, sizeof *running), count = 0;
    if (!running)
        abort();
    for (int i = 0; i < worker->sweep->trial_count; i++)
        if (worker->tasks[i].process > 0)
            running[count++] = i;
    const bool fits = sweep_memory_fits(worker->memory, (int)(task - worker->tasks), running, count);
    free(running);
    return fits;
}

/* The words of a trial's process; the last is NULL. The options are malloc'ed, the others borrowed. */
static char **make_words(const struct worker *worker, const struct task *task, int threads)
{
    enum { OPTIONS = 4 };
    const struct sweep *sweep = worker->sweep;
    char **words = calloc((size_t)sweep->override_count + OPTIONS + 4, sizeof *words);
    if (!words)
        abort();
    int count = 0;
    words[count++] = path_format("idrec");
    words[count++] = path_format("run");
    words[count++] = path_format("--trial=%s", task->trial->name);
    words[count++] = path_format("--through=%s", task->preparing ? task->shared : "report");
    words[count++] = path_format("--threads=%d", threads);
    words[count++] = path_format("--put-aside");
    words[count++] = path_format("%s", sweep->path);
    for (int i = 0; i < sweep->override_count; i++)
        words[count++] = path_format("%s", sweep->overrides[i]);
    return words;
}

static void free_words(char **words)
{
    for (int i = 0; words[i]; i++)
        free(words[i]);
    free(words);
}

/* Leaves one GPU of those that this process sees. */
static void hide_other_gpus(int gpu)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    char *list = path_format("%s", visible ? visible : ""), *rest = list;
    const char *name = strsep(&rest, ",");
    for (int i = 0; i < gpu && name; i++)
        name = strsep(&rest, ",");
    char *number = path_format("%d", gpu);
    setenv("CUDA_VISIBLE_DEVICES", visible && name ? name : number, 1);
    free(number);
    free(list);
}

/* Becomes the trial's process: it ends when this one does, and a terminal's interrupt reaches this one alone. */
static _Noreturn void become(char *const *words, int output, pid_t parent, int gpu)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    comm_leave_environment();
    if (gpu >= 0)
        hide_other_gpus(gpu);
    execv("/proc/self/exe", words);
    _exit(127);
}

static bool start_process(struct worker *worker, struct task *task, int threads, struct error *error)
{
    char *path = path_format("%s/output.txt", task->trial->folder);
    const int output = folder_create(task->trial->folder, error)
                           ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666)
                           : -1;
    bool done = output >= 0 || error_system(error, path, "cannot write this file", NULL);
    if (done) {
        char **words = make_words(worker, task, threads);
        const pid_t parent = getpid();
        task->process = fork();
        if (task->process == 0)
            become(words, output, parent, worker->gpu);
        done = task->process > 0 || error_system(error, task->trial->name, "cannot start a process", NULL);
        free_words(words);
        close(output);
    }
    free(path);
    return done;
}

/* A process whose parent was killed ends with it; until then it may hold the folder. */
static void wait_for_lock(const struct task *task)
{
    const double began = clock_seconds();
    while (manifest_is_locked(task->trial->folder) && clock_seconds() - began < LOCK_WAIT_SECONDS &&
           !interrupt_requested())
        nanosleep(&(struct timespec){.tv_nsec = 20000000L}, NULL);
}

static void let_go(struct task *task)
{
    claim_release(task->claim);
    task->claim = NULL;
}

/* Claims a trial unless it is claimed or has ended elsewhere. */
static bool claim(struct worker *worker, struct task *task, struct error *error)
{
    char *path = trial_claim_path(worker->sweep, task->trial);
    const bool done = task->claim != NULL || claim_take(&task->claim, path, error);
    free(path);
    task->elsewhere = done && !task->claim;
    if (!done || !task->claim)
        return done;
    look_at_outcome(worker, task); /* it may have ended since it was looked at last */
    if (is_ended(task))
        let_go(task);
    return true;
}

static bool start(struct worker *worker, struct task *task, int startable, struct error *error)
{
    const bool first = task->claim == NULL;
    if (!claim(worker, task, error))
        return false;
    if (!task->claim)
        return true;
    const int running = count_running(worker);
    const int together = running + startable < worker->at_once ? running + startable : worker->at_once;
    const int threads = together > 1 ? worker->threads / together : worker->threads;
    if (first)
        wait_for_lock(task);
    task->state = TRIAL_RUNNING;
    task->preparing = !task->chain_done;
    task->started = clock_seconds();
    log_line(NULL, "%s: %s with %d thread%s", task->trial->name,
             task->preparing         ? "begins with what it shares,"
             : first && !task->aside ? "begins"
                                     : "goes on",
             threads > 0 ? threads : 1, threads > 1 ? "s" : "");
    return start_process(worker, task, threads > 0 ? threads : 1, error);
}

static bool may_begin(const struct worker *worker, const struct task *task)
{
    return !is_ended(task) && task->process == 0 && !task->elsewhere && !task->awaits &&
           (task->chain_done || !chain_is_prepared(worker, task));
}

/* A trial that was put aside has begun all that it has to do. */
static enum order_progress progress_of(const struct task *task)
{
    if (task->state == TRIAL_DONE)
        return ORDER_DONE;
    return task->process > 0 || task->elsewhere || task->awaits ? ORDER_UNDER_WAY : ORDER_WAITS;
}

/* Those that this process claimed come first; NULL: there is none that may begin. */
static struct task *choose(const struct worker *worker)
{
    const int count = worker->sweep->trial_count;
    enum order_progress *progress = calloc((size_t)count, sizeof *progress);
    bool *may = calloc((size_t)count, sizeof *may);
    int next = -1;
    if (!progress || !may)
        abort();
    for (int i = count - 1; i >= 0; i--) {
        progress[i] = progress_of(&worker->tasks[i]);
        may[i] = may_begin(worker, &worker->tasks[i]);
        next = may[i] && worker->tasks[i].claim ? i : next;
    }
    if (next < 0)
        next = sweep_order_next(worker->order, progress, may);
    free(progress);
    free(may);
    return next < 0 ? NULL : &worker->tasks[next];
}

/* Starts as many trials as there is room for. One that someone else has claimed meanwhile is not chosen again. */
static bool start_all(struct worker *worker, struct error *error)
{
    while (count_running(worker) < worker->at_once) {
        struct task *task = choose(worker);
        if (!task || !fits_memory(worker, task))
            return true;
        if (!start(worker, task, count_startable(worker), error))
            return false;
    }
    return true;
}

/* ---- ending -------------------------------------------------------------------------------------------------- */

static void explain(struct task *task, int status)
{
    struct trial_outcome *outcome = &task->outcome;
    char line[1024];
    trial_last_line(line, sizeof line, task->trial, failed_in);
    *outcome->stage = '\0';
    if (*line)
        snprintf(outcome->stage, sizeof outcome->stage, "%.15s", line + strlen(failed_in));
    else if (WIFSIGNALED(status))
        trial_find_stage(outcome->stage, sizeof outcome->stage, task->trial);
    trial_last_line(line, sizeof line, task->trial, "idrec: ");
    if (WIFSIGNALED(status))
        snprintf(outcome->reason, sizeof outcome->reason, "killed by signal %d (%s)%s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)),
                 WTERMSIG(status) == SIGKILL ? "; was there too little memory?" : "");
    else if (*line)
        snprintf(outcome->reason, sizeof outcome->reason, "%s", line + strlen("idrec: "));
    else
        snprintf(outcome->reason, sizeof outcome->reason, "ended with status %d; see %s/output.txt",
                 WEXITSTATUS(status), task->trial->folder);
}

/* The shared stages of its chain are there. */
static void finish_chain(struct worker *worker, const struct task *task)
{
    for (int i = 0; i < worker->sweep->trial_count; i++)
        if (strcmp(worker->tasks[i].chain, task->chain) == 0)
            worker->tasks[i].chain_done = true;
}

static bool record_end(struct worker *worker, struct task *task, int status, struct error *error)
{
    task->outcome.done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    memcpy(task->outcome.signature, task->signature, sizeof task->signature);
    if (!task->outcome.done)
        explain(task, status);
    /* Results that are there are those of an earlier attempt, perhaps of other settings. */
    if (!task->outcome.done && !manifest_is_locked(task->trial->folder) &&
        !report_files_remove(task->trial->folder, error))
        return false;
    if (!trial_outcome_write(&task->outcome, task->trial, error))
        return false;
    task->state = task->outcome.done ? TRIAL_DONE : TRIAL_FAILED;
    const int ended = count_ended(worker, TRIAL_DONE) + count_ended(worker, TRIAL_FAILED);
    if (task->outcome.done)
        log_line(NULL, "%s: done in %.1f s (%d of %d ended)", task->trial->name, task->outcome.seconds, ended,
                 worker->sweep->trial_count);
    else
        log_line(NULL, "%s: FAILED: %s (%d of %d ended)", task->trial->name, task->outcome.reason, ended,
                 worker->sweep->trial_count);
    let_go(task);
    return true;
}

/* Another trial is begun meanwhile, and whoever is free first goes on with this one. */
static void put_aside(struct worker *worker, struct task *task)
{
    log_line(NULL, "%s: put aside: fits that are left are trained by other trials", task->trial->name);
    look_at(worker, task);
}

/* What follows the end of a trial's process. */
static bool take_end(struct worker *worker, struct task *task, int status, const struct rusage *usage,
                     struct error *error)
{
    const bool prepared = task->preparing, held = claim_is_held(task->claim);
    const int64_t memory = (int64_t)usage->ru_maxrss * 1024;
    task->process = 0;
    task->preparing = false;
    task->state = TRIAL_WAITING;
    task->outcome.seconds += clock_seconds() - task->started;
    if (memory > task->outcome.memory_bytes)
        task->outcome.memory_bytes = memory;
    sweep_memory_learn(worker->memory, memory);
    const bool aside = WIFEXITED(status) && WEXITSTATUS(status) == ERROR_PUT_ASIDE;
    if (!held || aside || (WIFEXITED(status) && WEXITSTATUS(status) == ERROR_INTERRUPTED) || worker->ending) {
        let_go(task);
        if (aside)
            put_aside(worker, task);
        return true;
    }
    if (!prepared || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return record_end(worker, task, status, error);
    finish_chain(worker, task);
    return true;
}

/* A trial that someone else took over, because this process seemed dead, is ended here. */
static bool reap(struct worker *worker, struct error *error)
{
    for (int i = 0; i < worker->sweep->trial_count; i++) {
        struct task *task = &worker->tasks[i];
        struct rusage usage;
        int status;
        if (task->process <= 0)
            continue;
        if (!claim_is_held(task->claim))
            kill(task->process, SIGKILL);
        const pid_t ended = wait4(task->process, &status, WNOHANG, &usage);
        if (ended == task->process && !take_end(worker, task, status, &usage, error))
            return false;
    }
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

static void pass_signal_on(struct worker *worker)
{
    if (worker->ending || !interrupt_requested())
        return;
    worker->ending = true;
    for (int i = 0; i < worker->sweep->trial_count; i++)
        if (worker->tasks[i].process > 0)
            kill(worker->tasks[i].process, SIGTERM);
}

/* A process that has nothing to do sees at once that fits are there which a trial waits for. */
static void look_at_fits(const struct worker *worker, struct task *task)
{
    if (task->awaits && count_running(worker) < worker->at_once &&
        awaited_fits_are_there(task->awaits, worker->shared)) {
        json_decref(task->awaits);
        task->awaits = NULL;
    }
}

static void look_at_all(struct worker *worker)
{
    const double now = clock_seconds();
    const bool all = now - worker->looked >= LOOK_SECONDS;
    worker->looked = all ? now : worker->looked;
    for (int i = 0; i < worker->sweep->trial_count; i++) {
        struct task *task = &worker->tasks[i];
        if (is_ended(task) || task->claim)
            continue;
        if (all)
            look_at(worker, task);
        else
            look_at_fits(worker, task);
    }
}

/* Until every trial has ended, here or elsewhere, or a signal came and the processes of ours saved their state. */
static bool work(struct worker *worker, struct error *error)
{
    while (true) {
        pass_signal_on(worker);
        if (!reap(worker, error))
            return false;
        look_at_all(worker);
        const int ended = count_ended(worker, TRIAL_DONE) + count_ended(worker, TRIAL_FAILED);
        if (count_running(worker) == 0 && (worker->ending || ended == worker->sweep->trial_count))
            return interrupt_check(error);
        if (!worker->ending && !start_all(worker, error))
            return false;
        nanosleep(&(struct timespec){.tv_nsec = POLL_MILLISECONDS * 1000000L}, NULL);
    }
}

/* After an error of the study itself: no process stays behind. */
static void end_processes(struct worker *worker)
{
    for (int i = 0; worker->tasks && i < worker->sweep->trial_count; i++) {
        struct task *task = &worker->tasks[i];
        if (task->process > 0) {
            kill(task->process, SIGKILL);
            waitpid(task->process, NULL, 0);
        }
        let_go(task);
        json_decref(task->awaits);
    }
    free(worker->tasks);
    sweep_order_close(worker->order);
    free(worker->shared);
}

/* Whether `auto` is a GPU here, where trials take turns. */
static bool is_on_gpu(const struct config *config)
{
    struct error reason = ERROR_INITIALIZER;
    const char *device = config_string(config, "device");
    return strcmp(device, "cpu") != 0 && (strcmp(device, "auto") != 0 || cuda_device_count(&reason) > 0);
}

static int study_threads(const struct config *config)
{
    const int threads = (int)config_integer(config, "threads");
    return threads > 0 ? threads : omp_get_max_threads();
}

int sweep_trials_at_once(const struct config *config)
{
    const int at_once = (int)config_integer(config, "experiment.trials_at_once");
    if (at_once > 0)
        return at_once;
    return is_on_gpu(config) ? 1 : study_threads(config);
}

/* A rank has its part of the machine. */
static bool take_part_of_machine(struct worker *worker, struct error *error)
{
    struct communicator *const communicator = worker->communicator;
    const struct config *config = worker->sweep->config;
    const char *device = config_string(config, "device");
    struct error ignored = ERROR_INITIALIZER;
    char name[16];
    const int gpus = strcmp(device, "cpu") == 0 ? 0 : cuda_device_count(&ignored);
    if (communicator->size == 1)
        return true;
    if (!comm_device(communicator, device, gpus, name, error))
        return false;
    if (strncmp(name, "cuda:", 5) == 0 && strncmp(device, "cuda:", 5) != 0)
        worker->gpu = atoi(name + 5);
    if (config_integer(config, "threads") == 0)
        worker->threads = comm_threads(communicator, omp_get_max_threads());
    if (config_integer(config, "experiment.trials_at_once") == 0 && worker->at_once > worker->threads)
        worker->at_once = worker->threads;
    return true;
}

static bool set_budget(struct worker *worker, struct error *error)
{
    const struct config *config = worker->sweep->config;
    worker->threads = study_threads(config);
    worker->at_once = sweep_trials_at_once(config);
    if (!take_part_of_machine(worker, error))
        return false;
    const int threads = worker->threads > worker->at_once ? worker->threads / worker->at_once : 1;
    double bytes = config_number(config, "experiment.trials_memory") * 1e9;
    if (bytes == 0.0 && worker->communicator->local_size > 1)
        bytes = (double)available_memory_bytes() / worker->communicator->local_size;
    return sweep_memory_open(&worker->memory, worker->sweep, (int64_t)bytes, is_on_gpu(config) ? 0 : threads,
                             error);
}

/* The time at which this process began, by the clock that stamps the files of the study. */
static bool set_start(struct worker *worker, struct error *error)
{
    struct utsname host;
    struct stat status;
    uname(&host);
    char *path = sweep_path(worker->sweep, "claims/.start-%s-%ld", host.nodename, (long)getpid());
    const bool done = (file_write(path, "", 0, error) && stat(path, &status) == 0) ||
                      error_system(error, path, "cannot write this file", NULL);
    if (done)
        worker->started = status.st_mtim;
    unlink(path);
    free(path);
    return done;
}

/* Of workers that were killed. A trial that failed may be tried again by others, who agree on it by these claims. */
static void tidy_claims(const struct worker *worker)
{
    for (int i = 0; i < worker->sweep->trial_count; i++) {
        char *path = trial_claim_path(worker->sweep, &worker->sweep->trials[i]);
        if (worker->tasks[i].state == TRIAL_DONE)
            claim_forget(path);
        free(path);
    }
}

/* Where every trial has ended, what none of them holds is of no use to them. */
static bool tidy(const struct worker *worker, struct error *error)
{
    struct shared_amount removed;
    tidy_claims(worker);
    const bool done = shared_folder_tidy(&removed, worker->shared, error);
    if (done && removed.entries > 0)
        log_line(NULL, "%s: removed %lld stages and fits of %.1f MB, which no trial uses any more",
                 worker->shared, (long long)removed.entries, (double)removed.bytes / 1e6);
    return done;
}

static bool report(const struct worker *worker, FILE *stream, struct error *error)
{
    const int failed = count_ended(worker, TRIAL_FAILED);
    if (!sweep_results_write(worker->sweep, &worker->started, error) ||
        (worker->communicator->rank == 0 && !sweep_results_print(worker->sweep, stream, error)))
        return false;
    struct error damage = ERROR_INITIALIZER;
    const bool whole = sweep_results_check(worker->sweep, &damage);
    if (failed > 0)
        return error_set(error, ERROR_RUN,
                         "%d of %d trials failed; `idrec status` tells why, and the same command tries "
                         "them again",
                         failed, worker->sweep->trial_count);
    return whole || error_set(error, damage.kind, "%s", damage.message);
}

/* Trials that do the same work under several names. */
static bool warn_of_equal_trials(const struct sweep *sweep, struct error *error)
{
    struct sweep_expectation comparisons;
    const json_t *equal;
    size_t index;
    if (!sweep_expect(&comparisons, sweep, error))
        return false;
    json_array_foreach(comparisons.equal, index, equal)
    {
        char *warning = sweep_expect_warning(equal);
        log_line(NULL, "%s", warning);
        free(warning);
    }
    sweep_expectation_free(&comparisons);
    return true;
}

static bool prepare(struct worker *worker, struct error *error)
{
    char *claims = sweep_path(worker->sweep, "claims");
    worker->shared = sweep_path(worker->sweep, "shared");
    worker->tasks = calloc((size_t)worker->sweep->trial_count, sizeof *worker->tasks);
    const bool done = (worker->tasks || error_memory(error, "the trials of a study", 0, NULL)) &&
                      sweep_order_open(&worker->order, worker->sweep->trial_count, error) &&
                      set_budget(worker, error) && folder_create(claims, error) &&
                      sweep_config_write(worker->sweep, error) && set_start(worker, error) &&
                      describe_tasks(worker, error) && warn_of_equal_trials(worker->sweep, error);
    free(claims);
    return done;
}

/* A rank that has nothing left to do, or saved its state after a signal, must not end those that are at work: they have
 * the results to write, or their own state. */
static bool wait_for_others(const struct worker *worker, struct error *error)
{
    struct communicator *const communicator = worker->communicator;
    communicator->patient = true;
    const bool done = comm_barrier(communicator, error);
    communicator->patient = false;
    return done;
}

bool sweep_run(const struct sweep *sweep, struct communicator *communicator, FILE *stream,
               struct error *error)
{
    struct worker worker = {.sweep = sweep, .communicator = communicator, .gpu = -1, .looked = -LOOK_SECONDS};
    const bool worked = prepare(&worker, error) && work(&worker, error);
    bool done = worked && tidy(&worker, error) && report(&worker, stream, error);
    if (worked || error->kind == ERROR_INTERRUPTED)
        done = wait_for_others(&worker, error) && done;
    end_processes(&worker);
    sweep_memory_close(worker.memory);
    return done;
}
