/* Claims: one owner at a time, owners that die on this host and on others, and many who want what a dead one left. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "experiments/claims.h"
#include "tests/support.h"

enum { RIVALS = 8 };

static bool take(struct claim **claim, const char *path)
{
    struct error error = ERROR_INITIALIZER;
    require(claim_take(claim, path, &error), &error);
    return *claim != NULL;
}

static void test_one_owner(void **state)
{
    char *path = path_format("%s/work", (char *)*state);
    struct claim *first, *second;
    json_t *owner;
    assert_false(claim_is_taken(path, NULL));
    assert_true(take(&first, path));
    assert_false(take(&second, path));
    assert_true(claim_is_taken(path, &owner));
    assert_int_equal(json_integer_value(json_object_get(owner, "process")), getpid());
    json_decref(owner);
    assert_true(claim_is_held(first));
    claim_release(first);
    assert_true(take(&second, path));
    claim_release(second);
    free(path);
}

/* A process of its own that takes the claim and is killed with it. */
static void leave_dead_claim(const char *path)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    const pid_t owner = fork();
    if (owner == 0) {
        struct claim *claim;
        if (take(&claim, path) && write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_true(claim_is_taken(path, NULL));
    kill(owner, SIGKILL);
    waitpid(owner, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

/* Each tries for as long as the others live, and keeps what it got until it ends. */
static pid_t start_rival(const char *path, int gate)
{
    const pid_t rival = fork();
    if (rival == 0) {
        struct claim *claim = NULL;
        char byte;
        if (read(gate, &byte, 1) < 0)
            _exit(2);
        for (int i = 0; i < 50 && !claim; i++)
            take(&claim, path);
        sleep(1);
        _exit(claim ? 1 : 0);
    }
    return rival;
}

static void test_takeover(void **state)
{
    char *path = path_format("%s/work", (char *)*state);
    pid_t rivals[RIVALS];
    int gate[2], winners = 0;
    leave_dead_claim(path);
    assert_false(claim_is_taken(path, NULL));
    assert_int_equal(pipe(gate), 0);
    for (int i = 0; i < RIVALS; i++)
        rivals[i] = start_rival(path, gate[0]);
    assert_int_equal(write(gate[1], "12345678", RIVALS), RIVALS);
    for (int i = 0; i < RIVALS; i++) {
        int status;
        waitpid(rivals[i], &status, 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        winners += WEXITSTATUS(status);
    }
    assert_int_equal(winners, 1);
    close(gate[0]);
    close(gate[1]);
    free(path);
}

/* What a process on another host leaves is judged by the time of its last touch. */
static void test_other_host(void **state)
{
    static const char owner[] =
        "{\"host\": \"elsewhere\", \"process\": 1, \"process_start\": 1, \"place\": \"other\"}";
    char *path = path_format("%s/work", (char *)*state), *file = path_format("%s.0", path);
    struct error error = ERROR_INITIALIZER;
    struct claim *claim;
    require(file_write(file, owner, strlen(owner), &error), &error);
    assert_false(take(&claim, path));
    const time_t old = time(NULL) - CLAIM_STALE_SECONDS - 5;
    const struct timespec times[2] = {{.tv_sec = old}, {.tv_sec = old}};
    assert_int_equal(utimensat(AT_FDCWD, file, times, 0), 0);
    assert_true(take(&claim, path));
    claim_release(claim);
    assert_true(path_exists(file));
    free(file);
    free(path);
}

/* An owner that seemed dead learns that it lost its claim, and leaves that of the other alone. */
static void test_lost(void **state)
{
    char *path = path_format("%s/work", (char *)*state), *next = path_format("%s.1", path);
    struct error error = ERROR_INITIALIZER;
    struct claim *claim;
    assert_true(take(&claim, path));
    require(file_write(next, "{}", 2, &error), &error);
    assert_false(claim_is_held(claim));
    claim_release(claim);
    assert_true(path_exists(next));
    assert_true(claim_is_taken(path, NULL));
    free(next);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_owner, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_takeover, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_other_host, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_lost, temporary_folder_make, temporary_folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
