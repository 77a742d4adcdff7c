"""scripts/slurm/study.sbatch with a stand-in for Slurm: tasks that reach their time limit save their state, are queued again, and
end the study with the results of a single worker; a task that is cancelled is not queued again.
"""

import os
import pathlib
import signal
import sys
import tempfile
import time

from checking import check, idrec, status, synthesize
from stand_in_slurm import install, submit
from test_sweep import LONGER

STUDY = """\
extends: base.yaml
name: study
experiment:
  trials_at_once: 1
  sweep: {finetune.rank: [2, 4], seed: [1, 2]}
"""
SRUN = """\
while [[ "$1" == --* ]]; do shift; done
exec "$@"
"""


def submit_worker(folder, job, study="jobs"):
    return submit(folder, "study.sbatch", job, "study.yaml", f"output={study}", SLURM_CPUS_PER_TASK="2")


def step_of(folder, job):
    """The process of a job's step, once it is there."""
    path = folder / f"step-{job}"
    while not path.exists() or not path.read_text().strip():
        time.sleep(0.01)
    return int(path.read_text())


def test_time_limit(folder):
    """Both tasks reach their limit while they work."""
    jobs = {job: submit_worker(folder, job) for job in (11, 12)}
    steps = {job: step_of(folder, job) for job in jobs}
    while not list((folder / "jobs").glob("trials/*/manifest.json")):
        time.sleep(0.01)
    time.sleep(0.5)
    for process in steps.values():
        os.kill(process, signal.SIGTERM)
    for job, script in jobs.items():
        check(script.wait(timeout=100) == 130, f"task {job} ends with {script.returncode}")
    check(sorted((folder / "requeued").read_text().split("\n")) == ["", "requeue 11", "requeue 12"], "both are queued again")
    check(all("--cpus-per-task=2" in line for line in (folder / "arguments").read_text().splitlines()), "processors of a step")
    told = idrec(folder, "status", "study.yaml", "output=jobs").stdout
    check("interrupted" in told and "failed" not in told and "running" not in told, f"after the limit: {told}")
    (folder / "requeued").unlink()
    again = [submit_worker(folder, job) for job in jobs]
    check([script.wait(timeout=300) for script in again] == [0, 0], "the tasks end")
    check(not (folder / "requeued").exists(), "a task that is done is not queued again")
    single = idrec(folder, "run", "study.yaml", "output=single")
    check(single.returncode == 0, f"a single worker: {single.stderr[-300:]}")
    results = [(folder / place / "results.json").read_bytes() for place in ("jobs", "single")]
    check(results[0] == results[1], "the results of a single worker")


def test_cancel(folder):
    """Cancelling reaches the script as well."""
    script = submit_worker(folder, 13, "cancelled")
    step = step_of(folder, 13)
    while not list((folder / "cancelled").glob("trials/*/manifest.json")):
        time.sleep(0.01)
    script.send_signal(signal.SIGTERM)
    os.kill(step, signal.SIGTERM)
    check(script.wait(timeout=100) == -signal.SIGTERM, f"the script ends with {script.returncode}")
    while "running" in idrec(folder, "status", "study.yaml", "output=cancelled").stdout:
        time.sleep(0.1)
    check(not (folder / "requeued").exists(), "what is cancelled is not queued again")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        install(folder, srun=SRUN)
        (folder / "base.yaml").write_text(LONGER)
        (folder / "study.yaml").write_text(STUDY)
        synthesize(folder / "data.inter", "--users=60", "--items=40", "--interactions=12")
        test_time_limit(folder)
        test_cancel(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
