#!/usr/bin/python3
"""Holds what is written against what there is: commands, files, links, names, examples of configuration, the image."""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCE_FOLDERS = ["protocol", "pool", "admin", "src", "bench", "tests"]
# Made by builds and measurements.
GENERATED = ("build/", "bench/results/")
# Written about, and nobody's here.
FOREIGN_NAMES = {"pg_advisory_xact_lock", "set_config", "snake_case", "bytes_max", "kName", "pam_unix", "TLS_CACERT",
                 "TLS_REQCERT"}
BEZEL = None


def fuzz_targets() -> set[str]:
    return {path.name.removesuffix("_target.cpp") for path in (ROOT / "tests" / "fuzz").glob("*_target.cpp")}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fenced_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def inline_code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", without_fences(text))


def sources() -> str:
    texts = []
    for folder in SOURCE_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".cpp", ".h", ".py"} and path != Path(__file__).resolve():
                texts.append(path.read_text())
    return "\n".join(texts)


class Documents(unittest.TestCase):
    def check_each(self, problems_of) -> None:
        """Every problem of every document is shown, not only the first."""
        problems = [f"{relative(path)}: {problem}" for path in DOCUMENTS for problem in problems_of(path, path.read_text())]
        self.assertFalse(problems, "\n" + "\n".join(problems))

    def test_commands_exist(self) -> None:
        commands = set(re.findall(r"^dev_(\w+)\(\)", (ROOT / "dev").read_text(), re.MULTILINE))
        named = set()

        def problems_of(_path: Path, text: str):
            for command in re.findall(r"\./dev ([a-z]+)", text):
                named.add(command)
                if command not in commands:
                    yield f"./dev has no command {command}"

        self.check_each(problems_of)
        self.assertEqual(commands - named, {"help"}, "not documented")
        shown = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=True).stdout
        self.assertEqual({command for command in commands if f"./dev {command}" not in shown}, set(), "not in the help")

    def test_files_exist(self) -> None:
        folders = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir() and path.name != ".git")
        named = re.compile(rf"(?<![\w./-])(?:{folders})/[\w./*-]*")

        def problems_of(_path: Path, text: str):
            for name in named.findall("\n".join(inline_code(text) + fenced_blocks(text, "sh"))):
                if not name.startswith(GENERATED) and not list(ROOT.glob(name.rstrip("/."))):
                    yield f"{name} does not exist"

        self.check_each(problems_of)

    def test_links_lead_somewhere(self) -> None:
        def problem_of(path: Path, target: str) -> str:
            name, _, anchor = target.partition("#")
            linked = (path.parent / name).resolve() if name else path
            if not linked.exists():
                return "does not exist"
            if not linked.is_relative_to(ROOT):
                return "is outside the project"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
                if anchor not in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}:
                    return "has no such heading"
            return ""

        def problems_of(path: Path, text: str):
            for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(text)):
                if not re.match(r"[a-z]+:", target) and (problem := problem_of(path, target)):
                    yield f"{target} {problem}"

        self.check_each(problems_of)

    def test_every_document_is_reached(self) -> None:
        reached, ahead = set(), [ROOT / "README.md"]
        while ahead:
            path = ahead.pop()
            if path in reached or path.suffix != ".md" or not path.exists():
                continue
            reached.add(path)
            ahead += [(path.parent / target.split("#")[0]).resolve()
                      for target in re.findall(r"\]\(([^)\s:]+)\)", path.read_text())]
        self.assertEqual(sorted(map(relative, set(DOCUMENTS) - reached)), [], "no link leads there from README.md")

    def test_names_are_in_the_sources(self) -> None:
        known = set(re.findall(r"\w+", sources())) | FOREIGN_NAMES | fuzz_targets()

        def is_known(name: str) -> bool:
            # A name that ends in _ may be the beginning of several.
            return name in known or (name.endswith("_") and any(one.startswith(name) for one in known))

        def problems_of(_path: Path, text: str):
            for code in inline_code(text):
                if re.fullmatch(r"[\w:]+(\(\))?", code):
                    names = re.findall(r"\w+", code)
                    named = [name for name in names if "_" in name or "::" in code or re.match(r"k[A-Z]", name)]
                    yield from (f"the sources know no {name}" for name in named if not is_known(name))

        self.check_each(problems_of)

    def test_fuzz_targets_are_listed(self) -> None:
        named = set(inline_code((ROOT / "docs" / "development.md").read_text()))
        self.assertEqual(fuzz_targets() - named, set(), "not in docs/development.md")


def certificate(folder: Path) -> dict[str, str]:
    """What stands in a certificate's file, and in its key's."""
    names = [folder / "made.crt", folder / "made.key"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
                    "-subj", "/CN=example", "-out", names[0], "-keyout", names[1]], check=True, capture_output=True, timeout=60)
    return {name.suffix: name.read_text() for name in names}


class Examples(unittest.TestCase):
    """Each example must be a configuration that Bezel takes; what an excerpt leaves off is filled in."""

    def check(self, text: str, folder: Path) -> None:
        folder.mkdir()
        text = text.replace("/etc/", f"{folder}/etc/")
        given = re.findall(r"^([\w%]+):", text, re.MULTILINE)
        files = re.findall(r"[\w./-]+\.(?:yaml|txt|conf|crt|key)\b", "\n".join(re.findall(r"^[^#]*", text, re.MULTILINE)))
        contents = {".yaml": "{}\n", ".txt": '"app" "secret"\n', ".conf": "# nothing\n"}
        if any(name.endswith(".key") for name in files):
            contents |= certificate(folder)
        for name in files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("local all all md5\n" if path.name == "hba.conf" else contents[path.suffix])
        (folder / "userlist.txt").write_text('"app" "secret"\n')
        missing = {"auth_file": "userlist.txt", "databases": {"*": "host=127.0.0.1"}}
        missing = {key: value for key, value in missing.items() if key not in given}
        (folder / "example.yaml").write_text(text + "\n" + (yaml.safe_dump(missing) if missing else ""))
        variables = {name: "postgres://db.example/app" if name.endswith("URL") else "value"
                     for name in re.findall(r"\$\{(\w+)\}", text)}
        done = subprocess.run([BEZEL, "--check-config", folder / "example.yaml"], env=os.environ | variables,
                              capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, f"{done.stdout}{done.stderr}\n{text}")

    def test_documents(self) -> None:
        count = 0
        with tempfile.TemporaryDirectory() as folder:
            for path in DOCUMENTS:
                for text in fenced_blocks(path.read_text(), "yaml"):
                    count += 1
                    with self.subTest(relative(path), text=text):
                        self.check(text, Path(folder) / str(count))
        self.assertGreater(count, 3)

    def test_rules_and_maps(self) -> None:
        """Examples of auth_hba_file and auth_ident_file, each document's together."""
        count = 0
        with tempfile.TemporaryDirectory() as folder:
            for path in DOCUMENTS:
                rules, maps = ("".join(fenced_blocks(path.read_text(), language)) for language in ("hba", "ident"))
                if not rules:
                    continue
                count += 1
                for name, text in {"hba.conf": rules, "ident.conf": maps, "userlist.txt": '"app" "secret"\n'}.items():
                    (Path(folder) / name).write_text(text)
                example = Path(folder) / "example.yaml"
                example.write_text("auth_type: hba\nauth_file: userlist.txt\nauth_hba_file: hba.conf\n"
                                   "auth_ident_file: ident.conf\ndatabases: {app: host=127.0.0.1}\n")
                done = subprocess.run([BEZEL, "--check-config", example], capture_output=True, text=True, check=False,
                                      timeout=60)
                self.assertEqual(done.returncode, 0, f"{relative(path)}: {done.stdout}{done.stderr}")
        self.assertGreater(count, 0)

    def test_files(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for count, path in enumerate([ROOT / "docker" / "bezel.yaml", *(ROOT / "docs" / "examples").glob("*.yaml")]):
                with self.subTest(relative(path)):
                    self.check(path.read_text(), Path(folder) / str(count))

    def test_a_wrong_example_is_seen(self) -> None:
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(AssertionError):
            self.check("listen_prt: 1\n", Path(folder) / "wrong")


class Image(unittest.TestCase):
    """The image cannot be built where there is no Docker; that its parts fit can be seen all the same."""

    def setUp(self) -> None:
        self.dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
        joined = self.dockerfile.replace("\\\n", " ")
        lists = re.findall(r"apt-get install -y --no-install-recommends ([^&\n]*)", joined)
        self.build_packages, self.run_packages = (set(packages.split()) for packages in lists)

    def test_is_built_with_what_dev_installs(self) -> None:
        listed = re.search(r"^readonly BUILD_PACKAGES=\((.*?)^\)", (ROOT / "dev").read_text(), re.DOTALL | re.MULTILINE)
        self.assertLessEqual(self.build_packages, set(listed[1].split()))

    def test_has_the_libraries_that_the_program_needs(self) -> None:
        dynamic = subprocess.run(["readelf", "-d", BEZEL], capture_output=True, text=True, check=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[([^]]+)\]", dynamic)
        self.assertTrue(needed)
        packages = set()
        for library in needed:
            owner = subprocess.run(["dpkg-query", "-S", f"*/{library}"], capture_output=True, text=True, check=False).stdout
            packages |= {line.split(":")[0] for line in owner.splitlines() if "/x86_64" in line or "/aarch64" in line}
        of_the_base = {"libc6", "libgcc-s1", "libstdc++6"}
        of_sanitizers = {package for package in packages if re.fullmatch(r"lib(a|t|ub)san\d+", package)}
        self.assertEqual(packages - of_the_base - of_sanitizers | {"libpq5", "libcurl4", "libldap-2.5-0", "libpam0g", "ca-certificates"}, self.run_packages,
                         "libpq5 is loaded when a connection URI is read, libcurl4 when Patroni or Kubernetes is asked, "
                         "libldap-2.5-0 and libpam0g for logins by LDAP and PAM, ca-certificates where they are verified by public authorities")

    def test_copies_what_is_there(self) -> None:
        for line in re.findall(r"^COPY (?!--from)(.*)$", self.dockerfile, re.MULTILINE):
            for name in shlex.split(line)[:-1]:
                self.assertTrue((ROOT / name).exists(), name)

    def test_does_not_run_as_root(self) -> None:
        self.assertEqual(re.findall(r"^USER (.*)$", self.dockerfile, re.MULTILINE), ["100:101"])

    def test_compose_file(self) -> None:
        composed = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
        bezel = composed["services"]["bezel"]
        self.assertTrue((ROOT / "docker" / bezel["build"]["context"] / bezel["build"]["dockerfile"]).is_file())
        for volume in bezel["volumes"]:
            self.assertTrue((ROOT / "docker" / volume.split(":")[0]).is_file(), volume)
        variables = set(re.findall(r"\$\{(\w+)", (ROOT / "docker" / "bezel.yaml").read_text()))
        self.assertLessEqual(set(bezel["environment"]), variables)


def main() -> None:
    global BEZEL
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bezel", required=True, help="the program that checks the examples")
    arguments, rest = parser.parse_known_args()
    BEZEL = arguments.bezel
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
