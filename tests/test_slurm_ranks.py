"""scripts/slurm/ranks.sbatch and ranks-mpirun.sbatch with a stand-in for Slurm, whose srun starts the tasks by mpirun: ranks
that reach the time limit save their state, and the job is queued again and goes on; so it is when a rank was lost, three times at most.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, SOURCE, check, status
from test_ranks import MPIEXEC, compare, curve, idrec, prepare, ranks_of

ONLY = "finetune.method=none"
# The step takes the place of srun; its tasks are those of mpirun.
SRUN = """\
#!/bin/bash
echo $$ > "step-$SLURM_JOB_ID"
echo "$*" >> arguments
while [[ "$1" == --* ]]; do shift; done
exec "{mpirun}" -n "$SLURM_NTASKS" "$@"
"""
SCONTROL = """\
#!/bin/bash
echo "$*" >> requeued
"""
# A rank for each task, whatever the processors here.
MPIRUN = """\
#!/bin/bash
echo $$ > "step-$SLURM_JOB_ID"
echo "$*" >> arguments
exec "{mpirun}" -n "$2" "${@:5}"
"""


def install(folder):
    place = folder / "bin"
    place.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("mpirun", MPIRUN)):
        (place / name).write_text(text.replace("{mpirun}", shutil.which(MPIEXEC)))
        (place / name).chmod(0o755)


def submit(folder, script, job, ranks, restarts, *arguments):
    """The batch script of a job, and where it was started again what Slurm says of that."""
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "IDREC": IDREC, "SLURM_JOB_ID": str(job),
                   "SLURM_NTASKS": str(ranks), "SLURM_CPUS_PER_TASK": "1"}
    if restarts:
        environment["SLURM_RESTART_COUNT"] = str(restarts)
    with open(folder / f"job-{job}.out", "a") as output:
        return subprocess.Popen(["bash", SOURCE / "scripts" / "slurm" / script, *arguments], cwd=folder, env=environment,
                                stdout=output, stderr=output)


def start(folder, script, job, ranks, restarts, output):
    """A job that trains: its script, and the processes of its ranks."""
    (folder / f"step-{job}").unlink(missing_ok=True)
    before = (folder / output / "metrics.jsonl").read_text() if (folder / output / "metrics.jsonl").exists() else ""
    process = submit(folder, script, job, ranks, restarts, "pretrain", "ranks.yaml", f"output={output}", ONLY)
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
        again = submit(folder, script, job, 3, 1, "pretrain", "ranks.yaml", f"output={output}", ONLY)
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
        process = submit(folder, script, job, 2, 0, "pretrain", "ranks.yaml", "output=failed", "pretrain.epoch=1")
        check(process.wait(timeout=120) == 2, f"{script}: {told(folder, job)}")
        check(requeued(folder) == [], f"{script}: a failure is queued again")


def main():
    if not MPIEXEC:
        print("there is no mpirun, or the program was built without MPI")
        return 77
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(folder)
        install(folder)
        for stage in ("prepare", "pretrain"):
            result = idrec(folder, 1, stage, "one", ONLY)
            check(result.returncode == 0, f"{stage}: {result.stderr[-600:]}")
        test_time_limit(folder, curve(folder / "one"))
        test_lost_rank(folder)
        test_failure(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
