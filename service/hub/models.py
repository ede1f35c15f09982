"""Models of transformers by name: their configuration, checked, and from the hub the weights to begin with.

What a job needs of the hub is settled at submit: the revision becomes a commit, the configuration goes into the job's
description, and weights become a checkpoint of the project. Weights are read as safetensors only.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from service.data.info import VOCABULARY, DatasetInfo
from service.errors import InvalidRequest
from service.hub import address, extras
from service.hub.client import Hub, Snapshot
from service.settings import Settings
from service.spec import JobSpec
from service.spec_models import TransformersModel
from service.storage import Storage, Stored

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_CONFIG_BYTES = 2**20
_MOST = 10**7
"""No size in a configuration is larger."""
_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_CODE = frozenset(
    {"auto_map", "custom_pipelines", "quantization_config", "attn_implementation", "experts_implementation", "backbone"}
    | {"use_timm_backbone", "use_pretrained_backbone", "trust_remote_code"}
)
"""Settings by which a configuration would have code or other models loaded; so would those with an underscore."""
_IDLE = frozenset(
    {"architectures", "dtype", "torch_dtype", "transformers_version", "name_or_path", "task_specific_params"}
    | {"id2label", "label2id", "num_labels", "problem_type", "use_cache", "return_dict"}
    | {"output_attentions", "output_hidden_states"}
)
"""What is for the service to say, or for nobody here."""
KIND = "checkpoints"


@dataclass(frozen=True)
class Weights:
    """Of a snapshot: one file of safetensors, whose sha256 the hub told."""

    snapshot: Snapshot

    @property
    def sha256(self) -> str | None:
        return self.snapshot.files[_WEIGHTS].sha256

    @property
    def size(self) -> int:
        return self.snapshot.files[_WEIGHTS].size


def configured(settings: Settings, project: str, model: TransformersModel) -> TransformersModel:
    """The model with its whole configuration, and `revision` the commit. Raises InvalidRequest, Unavailable."""
    extras.require("transformers", "model.kind transformers", "model.kind")
    _refuse_code(model.config)
    if model.name is None:
        return model
    revision = f"@{model.revision}" if model.revision else ""
    hub = Hub(settings, project, "model.name")
    snapshot = hub.pin(address.read(f"{address.SCHEME}{model.name}{revision}", "models", param="model.name"))
    if _CONFIG not in snapshot.files:
        raise InvalidRequest(f"{model.name} has no {_CONFIG}: it is no model of transformers.", param="model.name")
    config = {**_cleaned(_read_config(hub, snapshot)), **model.config}
    if not isinstance(config.get("model_type"), str):
        raise InvalidRequest(f"{model.name} describes no model that is built here.", param="model.name")
    try:
        given = {**model.model_dump(mode="json"), "config": config, "revision": snapshot.commit}
        return TransformersModel.model_validate(given)
    except ValueError as error:
        raise InvalidRequest(f"{model.name} describes no model that is built here.", param="model.name") from error


def weights(settings: Settings, project: str, uri: str, param: str) -> Weights:
    """Which file the weights are, at the commit of now. Raises InvalidRequest, Unavailable."""
    snapshot = Hub(settings, project, param).pin(address.read(uri, "models", param=param))
    if _WEIGHTS not in snapshot.files:
        pickled = any(path.endswith((".bin", ".pt", ".pth", ".ckpt")) for path in snapshot.files)
        why = "only pickles, which are never read" if pickled else f"no file {_WEIGHTS}"
        raise InvalidRequest(f"{snapshot.address.plain} has {why}: name a repository with one.", param=param)
    return Weights(snapshot)


def store(storage: Storage, settings: Settings, project: str, found: Weights, param: str) -> Stored:
    """The file in the storage. Raises TooLarge, Unavailable, StorageFull."""
    with TemporaryDirectory(prefix="warpadam-") as folder:
        Hub(settings, project, param).fetch(found.snapshot, [_WEIGHTS], Path(folder), settings.max_upload_bytes)
        return storage.put_file(KIND, Path(folder) / _WEIGHTS, settings.max_upload_bytes)


def resolved(model: TransformersModel, spec: JobSpec, info: DatasetInfo) -> dict[str, object]:
    """The resolved model of `warpadam.shapes`. Raises InvalidRequest where it does not fit the data."""
    config = dict(model.config)
    _check_config(config)
    vocabulary = config.setdefault("vocab_size", VOCABULARY)
    if spec.task == "language_modeling":
        if model.context is None:
            raise InvalidRequest("language_modeling needs the length of a window.", param="model.context")
        if vocabulary < VOCABULARY:
            message = f"vocab_size is {vocabulary}, and text is bytes: it needs at least {VOCABULARY}."
            raise InvalidRequest(message, param="model.config")
        sizes: dict[str, object] = {"context": model.context, "vocabulary": vocabulary}
    else:
        if len(info.input.shape) != 1:
            message = f"The inputs have the shape {info.input.shape}, and a model of transformers reads rows of tokens."
            raise InvalidRequest(message, param="model.kind")
        sizes = {"input": info.input.shape, "output": info.outputs(spec.task)}
        config.setdefault("pad_token_id", 0)
    for special in ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id"):
        if isinstance(config.get(special), int) and config[special] >= vocabulary:
            config[special] = None
    return {"kind": model.kind, "task": spec.task, "config": config, **sizes}


def _read_config(hub: Hub, snapshot: Snapshot) -> dict[str, Any]:
    with TemporaryDirectory(prefix="warpadam-") as folder:
        hub.fetch(snapshot, [_CONFIG], Path(folder), _CONFIG_BYTES)
        try:
            found = json.loads((Path(folder) / _CONFIG).read_bytes())
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"Its {_CONFIG} is no JSON.", param="model.name") from error
    return found if isinstance(found, dict) else {}


def _cleaned(value: Any) -> Any:
    """Without what would load code, and what is not for a configuration to say."""
    if not isinstance(value, dict):
        return value
    kept = {name: each for name, each in value.items() if not _loads_code(name) and name not in _IDLE}
    return {name: _cleaned(each) for name, each in kept.items()}


def _loads_code(name: str) -> bool:
    return name.startswith("_") or name in _CODE


def _refuse_code(value: Any) -> None:
    for name, each in value.items() if isinstance(value, dict) else ():
        if _loads_code(name) or name in _IDLE:
            raise InvalidRequest(f"config.{name} is not for a job to say: leave it out.", param="model.config")
        _refuse_code(each)


def _check_config(config: dict[str, Any]) -> None:
    if not isinstance(config.get("model_type"), str) or not _TYPE.fullmatch(config["model_type"]):
        raise InvalidRequest("config.model_type names no kind of model.", param="model.config")
    if config.get("is_encoder_decoder"):
        raise InvalidRequest("A model with encoder and decoder is not trained here.", param="model.config")
    size = config.get("vocab_size", VOCABULARY)
    large = [name for name, each in config.items() if isinstance(each, int) and abs(each) > _MOST]
    if large or type(size) is not int or size < 2:
        raise InvalidRequest(f"config.{(large or ['vocab_size'])[0]} is no usable size.", param="model.config")
