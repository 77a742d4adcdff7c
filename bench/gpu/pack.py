"""Builds for carrying elsewhere and packs programs, libraries, data and peers into one folder and one archive."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

from .place import FOLDER

ARCHITECTURES = "80-real;90a-real;100"
DATA = ("ml-100k.inter.gz", "gowalla.train.txt.gz", "gowalla.test.txt.gz")
# What the other machine must bring: the C library, the driver, the CUDA toolkit (its cuBLASLt is larger than all else).
OTHERS = re.compile(r"linux-vdso|ld-linux|/lib(c|m|dl|rt|pthread|resolv)\.so|libcuda\.so|libcudart|libcublas|libnccl|"
                    r"libcurand|libcusparse|libnvJitLink|libnvidia")


def make(folder):
    missing = [tool for tool in ("cmake", "ninja", "nvcc") if not shutil.which(tool)]
    if missing:
        sys.exit(f"gpu_check: a pack needs {', '.join(missing)} in PATH")
    folder = folder.resolve()
    if folder == FOLDER or folder in FOLDER.parents:
        sys.exit(f"gpu_check: {folder} holds this project; name a folder of its own, such as build/gpu_pack")
    programs = build(FOLDER / "build" / "pack")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy_scripts(folder)
    copy_data(folder / "data")
    archive = pack_programs(folder, programs)
    print(f"{archive}: {archive.stat().st_size / 2**20:.1f} MiB; on the machine with the GPU:\n"
          f"  tar xf {archive.name} && {folder.name}/bench/gpu_check")
    return 0


def build(folder):
    names = sorted(path.stem for path in (FOLDER / "tests").glob("test_cuda_*.c"))
    subprocess.run(["cmake", "-S", FOLDER, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DIDREC_CUDA=ON",
                    "-DIDREC_MARCH=x86-64-v3", f"-DCMAKE_CUDA_ARCHITECTURES={ARCHITECTURES}"], check=True)
    subprocess.run(["ninja", "-C", folder, "idrec", "bench", *names], check=True)
    benches = sorted(path for path in (folder / "bench").glob("bench_*") if path.is_file() and os.access(path, os.X_OK))
    return [folder / "idrec", *benches, *(folder / "tests" / name for name in names)]


def copy_scripts(folder):
    ignore = shutil.ignore_patterns("__pycache__")
    (folder / "bench").mkdir()
    shutil.copy2(FOLDER / "bench" / "gpu_check", folder / "bench")
    for part in ("gpu", "peers"):
        shutil.copytree(FOLDER / "bench" / part, folder / "bench" / part, ignore=ignore)


def copy_data(target):
    source = pathlib.Path(os.environ.get("IDREC_DATA") or FOLDER.parent / "shared" / "data")
    target.mkdir()
    for name in DATA:
        if not (source / name).exists():
            sys.exit(f"gpu_check: {source / name} is not there; get it by scripts/get-data and set IDREC_DATA to its folder")
        shutil.copyfile(source / name, target / name)


def pack_programs(folder, programs):
    """By make-portable where it lies in ../shared/tools, else by the same steps here."""
    archive = folder.with_name(folder.name + ".tar.xz")
    tool = FOLDER.parent / "shared" / "tools" / "make-portable"
    if tool.exists():
        subprocess.run([tool, folder, *programs], check=True)
        return archive
    for name in ("bin", "lib"):
        (folder / name).mkdir()
    for program in programs:
        shutil.copy2(program, folder / "bin")
        for library in libraries_of(program):
            shutil.copyfile(library, folder / "lib" / library.name)
    subprocess.run(["strip", "--strip-unneeded", *(folder / "lib").iterdir()], check=True)
    with tarfile.open(archive, "w:xz") as packed:
        packed.add(folder, arcname=folder.name)
    return archive


def libraries_of(program):
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return [pathlib.Path(path) for path in re.findall(r"=> (/\S+)", listed) if not OTHERS.search(path)]
