"""Where the programs, the libraries they need, the data and the peers are: in a pack, or in a source tree and its build."""
import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig

NCCL = "libnccl.so.2"  # which the program loads when it needs it
FOLDER = pathlib.Path(__file__).resolve().parents[2]


class Place:
    def __init__(self, build=None, data=None, python=None):
        self.packed = (FOLDER / "bin" / "idrec").exists()
        build = pathlib.Path(build) if build else FOLDER / "build" / "release"
        self.folders = [FOLDER / "bin"] if self.packed else [build, build / "bench", build / "tests"]
        self.data = pathlib.Path(data or os.environ.get("IDREC_DATA") or self.default_data())
        self.peers = FOLDER / "bench" / "peers"
        self.python = python or python_with("torch")
        self.cuda_libraries, self.missing_libraries = {}, []
        self.look_for_libraries()

    def default_data(self):
        return FOLDER / "data" if self.packed else FOLDER.parent / "shared" / "data"

    def program(self, name):
        """The path of a program, or None."""
        return next((folder / name for folder in self.folders if os.access(folder / name, os.X_OK)), None)

    def programs(self, pattern):
        return sorted(path for folder in self.folders for path in folder.glob(pattern)
                      if path.is_file() and os.access(path, os.X_OK))

    def environment(self):
        """What our programs run in. The peers do not: they bring libraries of their own."""
        folders = [str(FOLDER / "lib")] if self.packed else []
        folders += sorted({str(path.parent) for path in self.cuda_libraries.values()})
        folders += [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
        return dict(os.environ, LD_LIBRARY_PATH=":".join(folders))

    def look_for_libraries(self):
        """Which of the CUDA toolkit's libraries the loader takes; what it misses is looked for where it does not look."""
        for program in self.programs("idrec"):
            for name, path in needed_libraries(program, self.environment()):
                path = path or find_library(name, self.python)
                if not path:
                    self.missing_libraries.append(name)
                elif name.startswith(("libcublas", "libcudart")):
                    self.cuda_libraries[name] = pathlib.Path(path)
        path = find_library(NCCL, self.python)
        if path and self.cuda_libraries:
            self.cuda_libraries[NCCL] = path


def needed_libraries(program, environment):
    """Names and paths; no path: the loader does not find it."""
    output = subprocess.run(["ldd", program], env=environment, capture_output=True, text=True).stdout
    return re.findall(r"^\s*(\S+) => (?:not found|(/\S+))", output, re.MULTILINE)


def find_library(name, python):
    """Of the CUDA toolkit, or of the packages of the Python that has torch (nvidia/*/lib)."""
    folders = ["/usr/local/cuda*/lib64", "/usr/local/cuda*/lib", "/usr/local/cuda*/targets/x86_64-linux/lib",
               "/opt/cuda*/lib64", "/usr/lib/x86_64-linux-gnu"]
    folders += [f"{site}/nvidia/*/lib" for site in python_folders(python)]
    folders += [f"{site}/torch/lib" for site in python_folders(python)]
    return next((pathlib.Path(path) for folder in folders for path in sorted(glob.glob(f"{folder}/{name}"))), None)


def python_folders(python):
    """Where that Python keeps its packages."""
    if not python:
        return [sysconfig.get_paths()["purelib"]]
    listed = subprocess.run([python, "-c", "import sys; print('\\n'.join(sys.path))"], capture_output=True, text=True)
    return [folder for folder in listed.stdout.splitlines() if folder]


def has_module(python, module):
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def python_with(module):
    """A Python that has the module: this one, or the first in PATH. None when neither has."""
    candidates = dict.fromkeys(filter(None, (sys.executable, shutil.which("python3"), shutil.which("python"))))
    return next((python for python in candidates if has_module(python, module)), None)


def find_sanitizer():
    places = [path for folder in ("bin", "compute-sanitizer") for path in glob.glob(f"/usr/local/cuda*/{folder}/compute-sanitizer")]
    return shutil.which("compute-sanitizer") or next(iter(places), None)
