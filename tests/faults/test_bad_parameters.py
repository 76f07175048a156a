"""A parameter that is out of range gets one sentence that names it, a non-zero exit, and nothing is written."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import report
from papermill import inspect_notebook

from tests.faults import trial
from vitlib import TrainConfig, ViTConfig, load_run, paths, train
from vitlib.evaluate import wilson_interval

NAN, INF, MARKUP = float("nan"), float("inf"), "<script>alert(1)</script>"
SETTINGS = {
    "epochs": (0, -1, 1.5, "3", "", None, True, NAN, INF, 10**30, [1], MARKUP),
    "batch_size": (0, 60_001, 2.0, "many"),
    "optimizer": ("sgd", "", None, "Muon", MARKUP, ["adamw"]),
    "lr": (-1e-9, NAN, INF, "0.1", None, 10**400, 1j),
    "warmup": (1, -0.1),
    "flip": (1, "yes", None),
    "crop_padding": (-1, 0.5, 29),
    "train_images": (0, 60_000, 10**12),
    "teacher": ("../x", MARKUP, None),
    "precision": ("float16", 32),
    "seed": (-1, 2**63, 0.0),
    "model": (None, {"depth": 2}, ViTConfig(image_size=32), ViTConfig(channels=3)),
    "epoch": (3,),
}
DIMENSIONS = {
    "patch_size": (0, 5, 29, "4", 4.0),
    "embed_dim": (0, 63, 10**9, NAN),
    "depth": (0, -1, 10**9, True),
    "dropout": (1, -0.1, NAN, "0"),
    "share_norm": (1, "no"),
}
PATHS = ("../outside", "runs/../../outside", f"runs/{MARKUP}", "runs/a\nb", "runs/a\0b", "runs/" + "a" * 300)


def assert_refused(function, name):
    """Assert that a call is refused in one sentence that names the parameter."""
    with pytest.raises(ValueError) as error:
        function()
    assert re.fullmatch(rf"[^\n]*{re.escape(name)}[^\n]* but must [^\n]*\.", str(error.value))


def test_the_library_names_every_bad_parameter_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("REPORT_HOME", str(tmp_path))
    tiny = TrainConfig(model=ViTConfig(patch_size=14, embed_dim=8, depth=1), train_images=128, validation_images=10)
    for kind, table in ((TrainConfig, SETTINGS), (ViTConfig, DIMENSIONS)):
        for name, values in table.items():
            for value in values:
                assert_refused(lambda: kind(**{name: value}), name)  # noqa: B023
    for path in PATHS:
        assert_refused(lambda: train(tiny, path), "path")  # noqa: B023
        assert_refused(lambda: load_run(path), "path")  # noqa: B023
    assert_refused(lambda: TrainConfig.from_dict([]), "configuration")
    assert_refused(lambda: TrainConfig.from_dict({"model": 3}), "model")
    assert_refused(lambda: wilson_interval(5, 4), "correct of total")
    assert not any(tmp_path.iterdir())


PROFILE = (paths.ROOT / "profiles" / "smoke.yaml").read_bytes()
# content, and part of its sentence
BAD_PROFILES = {
    b"": "",
    b"3": "",
    b"[1, 2]": "",
    b"02_training: 3": "02_training is 3, but must hold parameters, name: value.",
    b"02_training:": "",
    b"2_training: {epochs: 3}": "'2_training' must be one of the notebooks 01_model, 02_training, ",
    b"02_training: {epoch: 3}": "02_training has no parameter 'epoch'; it has batch_size, crop_padding, ",
    b"02_training: {recipe: bst}": "recipe is 'bst', but must be one of best, ",
    b"02_training: {1: 3}": "",
    b'02_training: {"%s": 3}' % MARKUP.encode(): "",
    b'"../02_training": {epochs: 3}': "",
    b"02_training: !!python/object/apply:os.system [id]": "",
    b"02_training: {epochs: 3": "is not valid YAML: ",
    b"? [a, b]\n: 3": "",
    b"[" * 5000: "",
    b"\0" + PROFILE: "",
    PROFILE.replace(b"  epochs", b"\tepochs"): "",
    PROFILE[:-20] + b"\xff" + PROFILE[-20:]: "",
}


def test_a_bad_or_damaged_profile_is_refused_by_its_name(project):
    for content, sentence in BAD_PROFILES.items():
        (project / "profiles" / "mine.yaml").write_bytes(content)
        pattern = rf"\Aprofiles/mine\.yaml.*{re.escape(sentence)}.*\Z"  # "." matches no line break
        with pytest.raises(report.UserError, match=pattern):
            report.profile("mine")
    for name in ("../profiles/quick", "tpu", "", "quick;id", MARKUP, "/etc/passwd", "MINE"):
        with pytest.raises(report.UserError, match=r"\APROFILE is .*, but must be one of mine\.\Z"):
            report.profile(name)
    assert not (project / "build").exists()


# notebook, parameter, value and the sentence of plain papermill; before the notebook runs, or from its cells
WRONG = [
    ("02_training", "epochs", f"{10**30}", f"epochs is {10**30}, but must be "),
    ("01_model", "example", "60000", "example is 60000, but must be "),
]


@pytest.mark.faults
def test_papermill_names_every_bad_parameter_and_no_text_becomes_markup_or_a_path(tmp_path):
    texts = [
        (path.stem, name, f"../../`{MARKUP}", " but must ")
        for path in sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
        for name, parameter in inspect_notebook(str(path)).items()
        if parameter["inferred_type_name"] == "str" and name not in TrainConfig().to_dict()  # those are tried above
    ]
    assert texts
    (tmp_path / "home" / "runs").mkdir(parents=True)
    (tmp_path / "home" / "runs" / "report").symlink_to(paths.ROOT / "runs" / "report")

    def try_it(case):
        notebook, name, value, sentence = case
        out = tmp_path / f"{notebook}-{len(name)}-{name[:3]}.ipynb"
        command = [trial.PYTHON, "-m", "papermill", f"notebooks/{notebook}.ipynb", str(out), "-p", name, value]
        status, output = trial.call(command, REPORT_HOME=str(tmp_path / "home"))
        assert status != 0, case
        assert sentence in output.strip().splitlines()[-1], output

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(try_it, WRONG + texts))  # raises what a case raises
    assert [path.name for path in (tmp_path / "home").rglob("*")] == ["runs", "report"]


COMMANDS = [
    (["make", "report", "PROFILE=../profiles/quick"], "PROFILE is '../profiles/quick', but must be one of "),
    (["make", "report", f"PROFILE={MARKUP}"], "but must be one of "),
    (["make", "publish", "PROFILE=full"], "build/full is not a finished rerun"),
    ([trial.PYTHON, "tools/report.py", "execute", "quick", "../README"], "README.ipynb is missing or damaged"),
]


@pytest.mark.faults
def test_make_and_the_tools_name_every_bad_parameter_and_write_nothing(tmp_path):
    folder, surroundings = trial.clone(tmp_path / "project")
    for command, sentence in COMMANDS:
        status, output = trial.call(command, folder, **surroundings)
        assert status != 0
        assert sentence in output, output
        assert "Traceback" not in output
    assert not [path for path in (folder / "build").rglob("*") if path.is_file() and path.suffix != ".lock"]
