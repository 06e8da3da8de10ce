"""The Hugging Face hub: a repository's files at one commit, from the network or the cache; its code is never run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from .errors import ConfigError, MissingExtra
from .tables import FORMATS, UNSAFE

Kind = Literal["model", "dataset"]


def snapshot(
    kind: Kind, repository: str, patterns: Sequence[str], ignore: Sequence[str] = (), commit: str | None = None
) -> Path:
    """The folder of a repository's files that match `patterns`; its name is the commit that they belong to.

    The newest commit, unless one is named. HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE hold; what is in the
    cache is used where the hub cannot be reached. Raises ConfigError, one line, where there is no such repository,
    no access or no connection; MissingExtra without huggingface_hub.
    """
    try:
        from huggingface_hub import constants, errors, snapshot_download
    except ImportError:
        raise MissingExtra(f"{kind} {repository}", "huggingface_hub", "torch") from None
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings would stand beside our one line
    network: Any = errors.HTTPError  # type: ignore[attr-defined]  # httpx's or httpx2's, by the hub's version
    where = f"{kind} '{repository}'"
    try:
        return Path(
            snapshot_download(
                repository, repo_type=kind, revision=commit, allow_patterns=list(patterns), ignore_patterns=list(ignore)
            )
        )
    except errors.HFValidationError:
        raise ConfigError(f"{where}: neither a folder here nor a name that a hub repository can have") from None
    except errors.GatedRepoError:
        page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"
        raise ConfigError(f"{where}: its owner must grant access: ask at {page}, then set HF_TOKEN") from None
    except errors.RepositoryNotFoundError:
        raise ConfigError(f"{where}: neither a folder here nor a repository on {constants.ENDPOINT}") from None
    except errors.LocalEntryNotFoundError:
        offline = constants.HF_HUB_OFFLINE
        why = "HF_HUB_OFFLINE is set" if offline else f"{constants.ENDPOINT} cannot be reached"
        raise ConfigError(f"{where}: no folder here, not complete in the local cache, and {why}") from None
    except (network, OSError) as error:
        raise ConfigError(f"{where}: download failed: {_first_line(error)}") from None


def dataset_snapshot(text: str) -> tuple[Path, str | None]:
    """The data files of a hub dataset's configuration, and that configuration's name.

    Of two parts, as in glue/sst2, the second is a repository's name or else a configuration. The card of the
    repository (the YAML head of README.md) says which files belong to which configuration; without it all data files
    do. Raises ConfigError where there is no such repository, or which configuration is meant is not clear.
    """
    parts = text.split("/")
    readings: list[tuple[str, str | None]] = [(text, None)] if len(parts) < 3 else []
    readings += [("/".join(parts[:-1]), parts[-1])] if len(parts) > 1 else []
    problems: list[str] = []
    for repository, config in readings:
        try:
            card = snapshot("dataset", repository, ["README.md"])
        except ConfigError as error:
            problems += error.problems
        else:
            return _dataset_files(repository, card, config)
    raise ConfigError(problems[0])


def _dataset_files(repository: str, card: Path, config: str | None) -> tuple[Path, str | None]:
    """The snapshot with the files of one configuration, at the commit of the card."""
    where = f"dataset '{repository}'"
    configs = _configs(card / "README.md", where)
    if config is None and len(configs) > 1:
        config = next((name for name, entry in configs.items() if entry.get("default") or name == "default"), None)
        if config is None:
            choices = ", ".join(f"hf:{repository}/{name}" for name in configs)
            raise ConfigError(f"{where}: has several configurations; possible: {choices}")
    if config is not None and config not in configs:
        raise ConfigError(f"{where}: no configuration '{config}'; possible: {', '.join(configs) or 'none'}")
    patterns = _patterns(configs[config]) if config is not None else []
    patterns = patterns or [f"*{suffix}" for suffix in FORMATS]
    unsafe = [f"*{suffix}" for suffix in (*UNSAFE, ".py")]
    folder = snapshot("dataset", repository, ["README.md", *patterns], ignore=unsafe, commit=card.name)
    if not any(file.suffix in FORMATS for file in folder.rglob("*")):
        raise ConfigError(f"{where}: has no data files ({', '.join(FORMATS)}); its own code is not run")
    return folder, config


def _configs(card: Path, where: str) -> dict[str, dict[str, Any]]:
    """The configurations that a dataset card lists, by name."""
    import yaml  # type: ignore[import-untyped]
    from huggingface_hub import DatasetCard

    if not card.is_file():
        return {}
    try:
        entries = DatasetCard.load(card).data.to_dict().get("configs")
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{where}: its README.md cannot be read: {_first_line(error)}") from None
    return {str(e["config_name"]): e for e in entries or () if isinstance(e, dict) and "config_name" in e}


def _patterns(config: dict[str, Any]) -> list[str]:
    """The file patterns of a configuration: `data_files` is a pattern, a list of them, or a list of split and path."""
    files = config.get("data_files") or []
    entries = [files] if isinstance(files, (str, dict)) else files
    paths = [entry.get("path", []) if isinstance(entry, dict) else entry for entry in entries]
    below = f"{config['data_dir'].strip('/')}/" if config.get("data_dir") else ""
    found = [below + p for path in paths for p in ([path] if isinstance(path, str) else path)]
    return found or ([f"{below}*"] if below else [])


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
