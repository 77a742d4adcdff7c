"""Stand-ins for Slurm's commands, by which the scripts of scripts/slurm run here as a job's batch script would."""

import os
import subprocess

from checking import IDREC, SOURCE

# The step takes the place of srun, so that a signal to srun reaches the program, as Slurm's does.
STEP = """\
#!/bin/bash
echo $$ > "step-$SLURM_JOB_ID"
echo "$*" >> arguments
"""
SCONTROL = """\
#!/bin/bash
echo "$*" >> requeued
"""


def install(folder, **steps):
    """What commands that start a step do with their words, as lines of shell."""
    place = folder / "bin"
    place.mkdir()
    for name, text in {"scontrol": SCONTROL, **{name: STEP + lines for name, lines in steps.items()}}.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)


def submit(folder, script, job, *words, **variables):
    """The batch script of a job, with more variables of Slurm's; what it says goes to job-N.out."""
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "IDREC": IDREC, "SLURM_JOB_ID": str(job),
                   **variables}
    with open(folder / f"job-{job}.out", "a") as output:
        return subprocess.Popen(["bash", SOURCE / "scripts" / "slurm" / script, *words], cwd=folder, env=environment,
                                stdout=output, stderr=output)
