"""The shape of the code: imports go down only, and what is heavy is imported late."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_imports_go_down_only_and_every_outside_package_has_one_home():
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["studio.cli", "studio.service", "studio.ui.launch"])
def test_a_front_end_loads_neither_torch_nor_diffusers(module):
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'cv2', 'moviepy', 'av'} & set(sys.modules)\n"
        "print(sorted(heavy & {'torch', 'diffusers', 'transformers'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_importing_the_studio_makes_no_file_and_reads_no_environment(tmp_path):
    code = (
        "import os\n"
        "asked = []\n"
        "class Env(type(os.environ)):\n"
        "    def __getitem__(self, key):\n"
        "        asked.append(key) if str(key).startswith('STUDIO_') else None\n"
        "        return super().__getitem__(key)\n"
        "os.environ.__class__ = Env\n"
        "import studio.cli, studio.service, studio.settings\n"
        "print(asked)"
    )
    env = {"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "STUDIO_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_module_is_longer_than_400_lines():
    long = {
        str(p.relative_to(ROOT)): n
        for folder in ("studio", "tests", "benchmarks")
        for p in (ROOT / folder).rglob("*.py")
        if (n := len(p.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}
