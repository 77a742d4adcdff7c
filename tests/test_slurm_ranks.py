"""scripts/slurm/ranks.sbatch and ranks-mpirun.sbatch with a stand-in for Slurm, whose srun starts the tasks by mpirun: ranks
that reach the time limit save their state, and the job is queued again and goes on; so it is when a rank was lost, three times at most.
"""

import os
import shutil
import signal
import sys
import time

from checking import check
from ranks import MPIEXEC, compare, curve, idrec, main, prepare, ranks_of, train
from stand_in_slurm import install, submit

ONLY = "finetune.method=none"
# The tasks of a step are those of mpirun.
SRUN = """\
while [[ "$1" == --* ]]; do shift; done
exec "{mpirun}" -n "$SLURM_NTASKS" "$@"
"""
# A rank for each task, whatever the processors here.
MPIRUN = """\
exec "{mpirun}" -n "$2" "${@:5}"
"""


def submit_ranks(folder, script, job, ranks, restarts, *words):
    """A job that was started again has Slurm say so."""
    again = {"SLURM_RESTART_COUNT": str(restarts)} if restarts else {}
    return submit(folder, script, job, *words, SLURM_NTASKS=str(ranks), SLURM_CPUS_PER_TASK="1", **again)


def start(folder, script, job, ranks, restarts, output):
    """A job that trains: its script, and the processes of its ranks."""
    (folder / f"step-{job}").unlink(missing_ok=True)
    before = (folder / output / "metrics.jsonl").read_text() if (folder / output / "metrics.jsonl").exists() else ""
    process = submit_ranks(folder, script, job, ranks, restarts, "pretrain", "ranks.yaml", f"output={output}", ONLY)
    deadline = time.monotonic() + 120
    path = folder / output / "metrics.jsonl"
    while time.monotonic() < deadline and process.poll() is None and not (path.exists() and path.read_text() != before):
        time.sleep(0.02)
    step = folder / f"step-{job}"
    return process, ranks_of(int(step.read_text())) if step.exists() else {}


def requeued(folder):
    """The jobs that were queued again since the last question."""
    path = folder / "requeued"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def told(folder, job):
    return (folder / f"job-{job}.out").read_text()[-800:]


def test_time_limit(folder, expected):
    for script, job in (("ranks.sbatch", 21), ("ranks-mpirun.sbatch", 22)):
        output = f"limit{job}"
        check(idrec(folder, 1, "prepare", output, ONLY).returncode == 0, f"{output}: prepare")
        process, ranks = start(folder, script, job, 2, 0, output)
        check(len(ranks) == 2, f"{script}: {ranks} instead of 2 ranks: {told(folder, job)}")
        if script == "ranks.sbatch":
            for rank in ranks.values():
                os.kill(rank, signal.SIGTERM)
        else:
            process.send_signal(signal.SIGUSR1)
        code = process.wait(timeout=120)
        check(code == 130, f"{script}: ends with {code}: {told(folder, job)}")
        check(requeued(folder) == [f"requeue {job}"], f"{script}: not queued again: {told(folder, job)}")
        again = submit_ranks(folder, script, job, 3, 1, "pretrain", "ranks.yaml", f"output={output}", ONLY)
        check(again.wait(timeout=300) == 0, f"{script}: {told(folder, job)}")
        check("going on after step" in (folder / f"job-{job}.out").read_text(), f"{script}: begins anew")
        check(requeued(folder) == [], f"{script}: what is done is queued again")
        compare(expected, curve(folder / output), output)
    arguments = (folder / "arguments").read_text()
    check("--mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=1 " in arguments, f"srun: {arguments}")
    check("-n 2 --map-by slot:PE=1 " in arguments, f"mpirun: {arguments}")


def test_lost_rank(folder):
    for script, job in (("ranks.sbatch", 31), ("ranks-mpirun.sbatch", 32)):
        output = f"lost{job}"
        check(idrec(folder, 1, "prepare", output, ONLY).returncode == 0, f"{output}: prepare")
        for restarts, expected in ((2, [f"requeue {job}"]), (3, [])):
            process, ranks = start(folder, script, job, 2, restarts, output)
            os.kill(ranks.get(1, process.pid), signal.SIGKILL)
            code = process.wait(timeout=120)
            check(code == 75 or code > 128, f"{script}: ends with {code}: {told(folder, job)}")
            check(requeued(folder) == expected, f"{script}: after {restarts} restarts: {told(folder, job)}")


def test_failure(folder):
    """What fails would fail again."""
    for script, job in (("ranks.sbatch", 41), ("ranks-mpirun.sbatch", 42)):
        process = submit_ranks(folder, script, job, 2, 0, "pretrain", "ranks.yaml", "output=failed", "pretrain.epoch=1")
        check(process.wait(timeout=120) == 2, f"{script}: {told(folder, job)}")
        check(requeued(folder) == [], f"{script}: a failure is queued again")


def test_all(folder):
    prepare(folder)
    install(folder, **{name: lines.replace("{mpirun}", shutil.which(MPIEXEC))
                       for name, lines in (("srun", SRUN), ("mpirun", MPIRUN))})
    test_time_limit(folder, train(folder, 1, "one", ONLY))
    test_lost_rank(folder)
    test_failure(folder)


if __name__ == "__main__":
    sys.exit(main(test_all))
