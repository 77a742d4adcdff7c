"""Which GPU answers, and what else a reader of the figures must know."""
import json
import platform
import subprocess


def devices(place):
    """What `idrec devices` says, or why it says nothing."""
    program = place.program("idrec")
    if not program:
        return None, f"no idrec in {', '.join(map(str, place.folders))}; build it, or name the build by --build"
    if place.missing_libraries:
        return None, f"{', '.join(place.missing_libraries)} not found; name its folder in LD_LIBRARY_PATH"
    answer = subprocess.run([program, "devices", "--json"], env=place.environment(), capture_output=True, text=True)
    if answer.returncode != 0:
        return None, answer.stderr.strip()
    return json.loads(answer.stdout), ""


def choose_device(place):
    """The device and what it is: "cuda" and the GPU, "cpu" and why no GPU, or None and why the programs do not start."""
    found, reason = devices(place)
    if not found:
        return None, reason
    if not found["cuda"]["available"]:
        return "cpu", found["cuda"].get("reason", "no GPU")
    gpu = found["cuda"]["devices"][0]
    return "cuda", (f"{gpu['name']}, compute capability {gpu['compute_capability']}, {gpu['multiprocessors']} "
                    f"multiprocessors, {gpu['memory_bytes'] / 2**30:.1f} GiB")


def driver_line():
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return "no nvidia-smi"
    return answer.stdout.strip() or "nvidia-smi printed nothing"


def describe(place, device, what, small):
    version = subprocess.run([place.program("idrec"), "--version"], env=place.environment(), capture_output=True, text=True)
    lines = [f"{version.stdout.strip()}, from {'the pack' if place.packed else place.folders[0]}",
             f"GPU: {what}; {driver_line()}" if device == "cuda" else f"GPU: none: {what}",
             f"host: {platform.platform()}, Python for the peers: {place.python or 'none has torch'}"]
    lines += [f"{name}: {path}" for name, path in sorted(place.cuda_libraries.items())]
    if small:
        lines.append("SMOKE: tiny sizes, which test this program; no figure below says anything about a device")
    return lines
