"""What every measurement shares: the programs it uses, the folder it works in, the settings from the command line."""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measure.processes import Children, raise_open_files, service_user

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"
POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")


@dataclass
class Programs:
    """Paths of what is measured and what measures it. Missing poolers are None and left out."""

    build: Path
    bezel: Path | None
    pgbouncer: Path | None
    postgres_bin: Path = POSTGRES_BIN

    def tool(self, name: str) -> Path:
        path = self.build / "bench" / f"bezel_bench_{name}"
        if not path.exists():
            sys.exit(f"{path} is missing: build the target `bench` first (or name the build folder with --build-dir)")
        return path

    def pgbench(self) -> Path:
        return self.postgres_bin / "pgbench"


def find_programs(build: Path, bezel: Path | None) -> Programs:
    candidates = [bezel] if bezel else [build / "bezel", build / "src" / "bezel"]
    found = next((path for path in candidates if path.exists()), None)
    if bezel and not found:
        sys.exit(f"--bezel: {bezel} does not exist")
    if not found:
        print(f"warning: no bezel in {build}; only the others are measured", file=sys.stderr)
    pgbouncer = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if not pgbouncer:
        print("warning: pgbouncer is not installed (Debian: apt-get install pgbouncer); there is nothing to "
              "compare with", file=sys.stderr)
    return Programs(build, found, Path(pgbouncer) if pgbouncer else None)


class Workplace:
    """A temporary folder and the children that work in it; both are gone when the `with` block is left."""

    def __init__(self, programs: Programs):
        self.programs = programs
        self.user = service_user()
        self.children = Children()
        self._serial = 0

    def __enter__(self) -> "Workplace":
        raise_open_files()
        # A short path: a unix socket's name may not be longer than 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="bezel-bench-", dir="/tmp"))
        self.folder.chmod(0o755)
        if self.user:
            shutil.chown(self.folder, self.user, self.user)
        self._copy_bezel()
        return self

    def __exit__(self, *what: object) -> None:
        try:
            self.children.__exit__(*what)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _copy_bezel(self) -> None:
        """The service user may not be able to reach the build folder, and a build during the run must not matter."""
        if self.programs.bezel:
            copy = self.folder / "bezel"
            shutil.copyfile(self.programs.bezel, copy)
            copy.chmod(0o755)
            self.bezel = copy
        else:
            self.bezel = None

    def path(self, name: str) -> Path:
        """A fresh file name in the folder."""
        self._serial += 1
        return self.folder / f"{self._serial:04d}-{name}"
