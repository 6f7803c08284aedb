"""Commands and keys that README and docs name: each one composes, so that nobody is told of a key that isn't there."""

import re
import shlex

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import recot.run  # noqa: F401  # its resolvers
from tests.run.small import REPO

PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
CONFIG_OF = {
    "src/train.py": "train",
    "src/eval.py": "eval",
    "data_pipelines/prune.py": "prune",
    "data_pipelines/cache_features.py": "cache_features",
}
LATER_STAGES = ("word_align", "projector_align", "selector_finetune", "sft_lora")


def composed(entry: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(config_dir=str(REPO / "conf"), version_base="1.3"):
        return compose(entry, overrides=list(overrides))


def commands() -> list[str]:
    """Of code blocks and of code within sentences, in one line each, without comments."""
    whole_lines = re.sub(r" *\\\n *", " ", TEXT)
    found = re.findall(r"(?:^|`)(python (?:src|data_pipelines)/\w+\.py [^`\n]*)", whole_lines, re.MULTILINE)
    return sorted({re.sub(r"  +#.*| --cfg job", "", command) for command in found if not command.endswith(" ...")})


def first_of_sweep(override: str) -> str:
    """``a=1,2`` -> ``a=1``; lists in brackets stay."""
    key, _, value = override.partition("=")
    return f"{key}={value if value.startswith('[') else value.split(',')[0]}"


@pytest.mark.parametrize("command", commands())
def test_commands_compose(command: str) -> None:
    _, script, *arguments = shlex.split(re.sub(r"<[^>]*>", "x", command))
    overrides = [argument.replace("=...", "=x") for argument in arguments if argument != "-m"]
    given = [*map(first_of_sweep, overrides)] if "-m" in arguments else overrides
    cfg = composed(CONFIG_OF[script], *given)
    keys = [override.partition("=")[0] for override in given]
    groups = [key for key in keys if (REPO / "conf" / key).is_dir()]
    assert all(there(cfg, key) for key in keys if key not in groups)


def test_there_are_commands_of_every_script() -> None:
    assert {command.split()[1] for command in commands()} == set(CONFIG_OF)
    assert len(commands()) > 20


def keys() -> list[str]:
    """Named in code, e.g. ``stage.mask_ratio``; ``stage.lora.*`` counts as ``stage.lora``."""
    named = re.findall(r"`((?:model|stage|data|trainer)\.[\w.]+)[=`*<]", TEXT)
    return sorted({key.rstrip(".") for key in named} - {"model.safetensors", "model.safetensors.index.json"})


@pytest.mark.parametrize("model", ["tiny", "video_xl_pro_3b"])
def test_keys_are_there(model: str) -> None:
    """In the config of a stage, so that ``key=value`` overrides it; of some stages only, of both models."""
    stages = [composed("train", f"experiment={name}", f"model={model}") for name in ("recot_pretrain", *LATER_STAGES)]
    stages.append(composed("train", "experiment=tiny_vision"))
    absent = [key for key in keys() if not any(there(cfg, key) for cfg in stages)]
    assert absent == []
    assert {"model.llm.attention", "stage.train.dts", "stage.lora", "data.batch_size"} <= set(keys())


def there(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent)
    return isinstance(node, DictConfig) and name in node


@pytest.mark.parametrize("model", ["tiny", "video_xl_pro_3b"])
@pytest.mark.parametrize("experiment", LATER_STAGES)
@pytest.mark.parametrize(
    "override",
    [
        "stage.train.dts=1e-05",
        "stage.train.projector=null",
        *(f"model.llm.attention={kind}" for kind in ("auto", "flash", "sdpa", "eager")),
        # Keys that messages of the code name.
        "model.selector.layout=official",
        "model.selector.gradient=additive",
        "model.max_tokens=1024",
    ],
)
def test_settings_that_every_later_stage_has(model: str, experiment: str, override: str) -> None:
    cfg = composed("train", f"experiment={experiment}", f"model={model}", "init_from=null", override)
    key, _, value = override.partition("=")
    assert str(OmegaConf.select(cfg, key)) == {"null": "None"}.get(value, value)
