"""Takes out of the wheels in the folder argv[1] what a CPU build of tch needs, into the folder above it."""
import os
import pathlib
import shutil
import sys
import zipfile

wheels = pathlib.Path(sys.argv[1])
target = wheels.parent
library = target / "lib"
library.mkdir(parents=True, exist_ok=True)
wanted = {"libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libshm.so", "libcupti.so.13", "libcudart.so.13"}
found = set()


def copy(archive, member, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, open(path, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)


for wheel in sorted(wheels.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = os.path.basename(member)
            if member.startswith("torch/include/") and name:
                copy(archive, member, target / member.removeprefix("torch/"))
            elif name in wanted:
                copy(archive, member, library / name)
                found.add(name)

missing = wanted - found
if missing:
    sys.exit(f"the wheels lack {', '.join(sorted(missing))}")
# The wheel's own libtorch.so wants libtorch_cuda.so; on a CPU it has nothing to add to libtorch_cpu.so.
(library / "libtorch.so").symlink_to("libtorch_cpu.so")
