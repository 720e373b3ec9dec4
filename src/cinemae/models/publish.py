"""A model directory copied, made ready for transformers, and pushed to the Hub. Fetching is `resolve_model`.

Made ready means: config.json also says which classes to load, and two small files lie beside it. The classes themselves
are in `cinemae.models.classifier`, so a model on the Hub carries no copy of the method that could grow old.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cinemae.config import DecisionConfig, ModelConfig
from cinemae.errors import ConfigError, MissingDependencyError, ModelDirError, first_line
from cinemae.models.directory import CARD_FILE

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from cinemae.models.bundle import ModelBundle

CODE_FILE = "cinemae_transformers.py"
PROCESSOR_FILE = "preprocessor_config.json"
COMMIT_MESSAGE = "Upload a cinemae model"

_CLASSES = {"AutoConfig": "CinemaeConfig", "AutoModelForImageClassification": "CinemaeForImageClassification"}
_PROCESSOR = "CinemaeImageProcessor"
_CODE = '''\
"""Lets transformers load this model; needs `pip install 'cinemae[torch]'`."""

from cinemae.models.classifier import CinemaeConfig, CinemaeForImageClassification, CinemaeImageProcessor

__all__ = ["CinemaeConfig", "CinemaeForImageClassification", "CinemaeImageProcessor"]
'''
_FRONT_MATTER = """\
---
library_name: cinemae
pipeline_tag: image-classification
tags:
- ai-generated-image-detection
- image-forensics
---

"""


class Publishable:
    """What a detector can do with its model: write it, and push it to the Hub.

    Attributes:
        directory: Where the model lies; None if the detector was not made by ``from_pretrained``.
        config: Its config.json.
        decision: The thresholds in use.
    """

    directory: Path | None = None
    config: ModelConfig
    decision: DecisionConfig

    def save_pretrained(self, directory: str | Path, *, transformers: bool = False) -> Path:
        """Write the model, with the thresholds of this detector, into a new directory.

        Args:
            directory: New, or empty.
            transformers: Write what ``pipeline("image-classification", model=..., trust_remote_code=True)`` needs too.

        Returns:
            The directory.

        Raises:
            ConfigError: If there is something in it, or this detector was not made by ``from_pretrained``.
        """
        return save_model(self._require_directory(), Path(directory), decision=self.decision, transformers=transformers)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        commit_message: str = COMMIT_MESSAGE,
    ) -> str:
        """Push the model to the Hub, with what transformers needs; ``from_pretrained`` of the id gives it back.

        Args:
            repo_id: ``owner/name``; made if there is none.
            private: Of a new repository; None for the owner's default.
            token: A write token; None for the one that ``hf auth login`` keeps.
            branch: Where to; None for main.
            commit_message: Of the commit.

        Returns:
            The URL of the commit.

        Raises:
            ConfigError: If a threshold was set by hand, or this detector was not made by ``from_pretrained``.
            ModelDirError: If the Hub does not take it.
            MissingDependencyError: If huggingface_hub is not installed.
        """
        if self.decision != self.config.decision:
            raise ConfigError(
                "a threshold set by hand is not pushed: write the model with save_pretrained, load that, and push it."
            )
        with tempfile.TemporaryDirectory(prefix="cinemae-hub-") as work:
            directory = save_model(self._require_directory(), Path(work) / "model", transformers=True)
            _add_front_matter(directory / CARD_FILE)
            api = _hub_api(token)
            try:
                repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
                if branch is not None:
                    api.create_branch(repository, branch=branch, exist_ok=True)
                commit = api.upload_folder(
                    repo_id=repository, folder_path=directory, revision=branch, commit_message=commit_message
                )
            except (OSError, ValueError) as error:  # the Hub's own errors are of either kind
                raise ModelDirError(f"the Hub did not take {repo_id}: {first_line(error)}") from error
        return str(commit.commit_url)

    def _require_directory(self) -> Path:
        if self.directory is None:
            raise ConfigError("only a detector that from_pretrained made knows its model's files: make it so.")
        return self.directory


def save_model(
    source: Path, directory: Path, *, decision: DecisionConfig | None = None, transformers: bool = False
) -> Path:
    """Copy a model into a new directory.

    Args:
        source: A model directory.
        directory: New, or empty; or `source` itself, to add what transformers needs.
        decision: Thresholds in place of the model's own; None to keep those.
        transformers: Write what ``pipeline("image-classification", model=..., trust_remote_code=True)`` needs as well.

    Returns:
        The directory.

    Raises:
        ModelDirError: If the source is no model.
        ConfigError: If the directory holds something already.
    """
    in_place = directory.resolve() == source.resolve()
    if directory.exists() and not in_place and (directory.is_file() or any(directory.iterdir())):
        raise ConfigError(f"a model is saved into a new or an empty directory, {directory} is neither: name another.")
    from cinemae.models.bundle import ModelBundle  # here, so that detecting does not wait for what copying needs

    bundle = ModelBundle.read(source)
    if decision is not None:
        bundle = dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, decision=decision))
    if transformers:
        bundle = _for_transformers(bundle)
    return bundle.write(directory)


def _for_transformers(bundle: ModelBundle) -> ModelBundle:
    """Add what transformers reads of config.json, which cinemae itself passes over, and the files that it loads."""
    entries = {
        "model_type": "cinemae",
        "architectures": [_CLASSES["AutoModelForImageClassification"]],
        "auto_map": {auto: _reference(name) for auto, name in _CLASSES.items()},
        "id2label": {"0": "real", "1": "fake"},
        "label2id": {"real": 0, "fake": 1},
        "problem_type": "single_label_classification",
    }
    processor = {
        "image_processor_type": _PROCESSOR,
        "auto_map": {"AutoImageProcessor": _reference(_PROCESSOR)},
        "image": bundle.config.extractor.image.to_dict(),
    }
    files = {PROCESSOR_FILE: (json.dumps(processor, indent=2) + "\n").encode(), CODE_FILE: _CODE.encode()}
    return dataclasses.replace(bundle.changed(files=files), for_others={**bundle.for_others, **entries})


def _hub_api(token: str | None) -> HfApi:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingDependencyError("to push to the Hub, run: pip install 'cinemae[torch]'") from error
    return HfApi(token=token, library_name="cinemae")


def _reference(name: str) -> str:
    return f"{Path(CODE_FILE).stem}.{name}"


def _add_front_matter(card: Path) -> None:
    text = card.read_text(encoding="utf-8") if card.is_file() else "# A cinemae model\n"
    if not text.startswith("---\n"):
        card.write_text(_FRONT_MATTER + text, encoding="utf-8")
