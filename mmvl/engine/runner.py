"""MMEngine's runner, with safe loading, whole saves, exact continuation, and gloo without a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine import runner as base
from mmengine.dist import is_distributed, master_only
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from .checkpoint import POINTER, Trust, load_checkpoint_file, state_dict_of, write_atomically
from .distributed import TIMEOUT_SECONDS, join_group, restart_number
from .evaluation import OrderedTestLoop, OrderedValLoop
from .file_checks import CheckpointError, verify
from .finite import FiniteLossHook
from .hooks import InterruptHook
from .loops import ResumableEpochLoop, ResumableIterLoop, reseed
from .training_state import KEY, Continuation, describe_training, migrate
from .weights import load_weights, unwrapped

# What a checkpoint must hold so that a training can go on from it.
TRAINING_STATE = ('meta', 'message_hub', 'optimizer')
# MMEngine's loops, and what is built in their place.
OURS: dict[str, type[base.BaseLoop]] = {
    'EpochBasedTrainLoop': ResumableEpochLoop,
    'IterBasedTrainLoop': ResumableIterLoop,
    'ValLoop': OrderedValLoop,
    'TestLoop': OrderedTestLoop,
}


class Runner(base.Runner):
    """The runner that ``mmvl train`` and ``mmvl test`` use.

    It differs from MMEngine's in seven points. Checkpoints are read by
    :func:`load_checkpoint_file`, so a file with code in it is refused. They are written beside
    their final name and renamed, so a full disk or a kill costs no older file. An interrupted epoch
    goes on at its next batch; each iteration's random numbers depend on seed, iteration and rank
    alone. A loss that is not finite ends training before it reaches the weights. ``--resume`` takes
    the newest checkpoint that is whole. ``--compile`` compiles the model, not the step around it.
    Distributed runs use gloo where there is no GPU.
    """

    # Set on the object by the command line; no config reaches them.
    trust: Trust = 'weights'
    allow_nonfinite = False
    exact = False

    _load_from: str | None
    _continuation: Continuation
    _resuming = False
    _compiled = False

    def register_hooks(self, *args: Any, **kwargs: Any) -> None:
        """Register the hooks of the config, and ours where the config does not list them."""
        super().register_hooks(*args, **kwargs)
        present = {type(hook) for hook in self.hooks}
        for kind in (FiniteLossHook, InterruptHook):
            if kind not in present:
                self.register_hook(kind())

    def setup_env(self, env_cfg: dict) -> None:
        """Set up processes, and the process group: with a time-out, on gloo without a GPU."""
        settings = {'timeout': TIMEOUT_SECONDS, **env_cfg.get('dist_cfg', {})}
        env_cfg = {**env_cfg, 'dist_cfg': settings}
        backend = settings.get('backend', 'nccl') if torch.cuda.is_available() else 'gloo'
        if self.distributed and not is_distributed() and (backend == 'gloo' or restart_number()):
            join_group(backend, self.launcher, settings['timeout'])
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for distributed training; without a GPU no device is named."""
        if self.distributed and not is_model_wrapper(model) and not torch.cuda.is_available():
            wrapper = dict(
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
            model_wrapper_cfg = {**(model_wrapper_cfg or wrapper), 'device_ids': None}
        return super().wrap_model(model_wrapper_cfg, model)

    def build_train_loop(self, loop: Any) -> base.BaseLoop:
        """Build the training loop; where one of MMEngine's two is meant, ours is built."""
        return super().build_train_loop(_ours(loop, 'EpochBasedTrainLoop'))

    def build_val_loop(self, loop: Any) -> base.BaseLoop:
        """Build the validation loop; where MMEngine's is meant, ours is built."""
        return super().build_val_loop(_ours(loop, 'ValLoop'))

    def build_test_loop(self, loop: Any) -> base.BaseLoop:
        """Build the test loop; where MMEngine's is meant, ours is built."""
        return super().build_test_loop(_ours(loop, 'TestLoop'))

    def _maybe_compile(self, target: str) -> None:
        """Compile the model once, where the config's ``compile`` asks for it.

        MMEngine would compile the whole step around it, optimizer and matching included. The
        model decides what of itself is compiled: ``nn.Module.compile`` takes its ``forward``.
        """
        options = self.cfg.get('compile', False)
        if not options or self._compiled:
            return
        unwrapped(self.model).compile(**({} if options is True else options))
        self._compiled = True
        self.logger.info('compiling the model; the first iterations take longer')

    def load_or_resume(self) -> None:
        """Load or resume what the config names; with nothing to resume, start afresh and say so."""
        if self._resume and self._load_from is None and not self._has_loaded:
            newest = newest_checkpoint(Path(self.work_dir), self.logger.warning)
            if newest is None:
                self.logger.info(f'no checkpoint in {self.work_dir} yet: starting afresh')
                return
            self._load_from = str(newest)
        super().load_or_resume()

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: Any = (),
    ) -> dict[str, Any]:
        """Load weights from a local file without running code in it.

        Args:
            filename: a ``.pth`` or ``.safetensors`` file.
            map_location: accepted for MMEngine's sake; tensors are read into host memory and
                copied into the parameters wherever those are.
            strict: as in :func:`load_weights`.
            revise_keys: accepted for MMEngine's sake and must be empty: renaming is conversion.

        Returns:
            The whole checkpoint.

        Raises:
            CheckpointError: the file is refused or its weights do not fit.
        """
        checkpoint = load_checkpoint_file(filename, self.trust, self.allow_nonfinite)
        migrate(checkpoint, filename)
        if self._resuming:
            _require_training_state(checkpoint, filename)
            self._continuation = Continuation.of(self, checkpoint)
            if self.exact and self._continuation.differences:
                raise CheckpointError(
                    f'--exact: {filename} is of another training: '
                    f'{"; ".join(self._continuation.differences)}.\n'
                    'What to do: give the same settings, or leave out --exact.'
                )
            # MMEngine would execute this text as a Python config.
            checkpoint['meta'].pop('config', None)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = unwrapped(self.model)
        model = model.module if isinstance(model, BaseTTAModel) else model
        report = load_weights(model, state_dict_of(checkpoint), strict or self._resuming)
        self._has_loaded = True
        self.logger.info(f'loaded {report.matched} tensors from {filename}')
        return checkpoint

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Continue a training: weights, optimizer, schedules and position.

        Where the config asks for another schedule, batch or number of processes than the
        checkpoint, the config holds: position and schedule are computed anew, and the log says so.

        Raises:
            CheckpointError: the file is refused, holds weights and no training state, or, with
                ``exact``, is of a training with other settings.
        """
        seed = self.seed
        self._resuming = True
        try:
            super().resume(filename, *args, **kwargs)
        finally:
            self._resuming = False
        reseed(self.train_dataloader, seed, self.seed)
        self._continuation.apply(self)

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save the training state under a temporary name, then rename it; called by all processes.

        The first one saves. Hooks that have an ``after_save_checkpoint(runner, path)`` then run in
        every process, for what only that process knows.

        Raises:
            OSError: the disk refused; an older file of that name is untouched.
        """
        target = Path(out_dir) / filename
        self._save_checkpoint(target, *args, **kwargs)
        self.call_hook('after_save_checkpoint', path=target)

    @master_only
    def _save_checkpoint(self, target: Path, *args: Any, **kwargs: Any) -> None:
        save = super().save_checkpoint
        meta = {**(kwargs.pop('meta', None) or {}), KEY: describe_training(self)}
        write_atomically(
            target, lambda tmp: save(str(tmp.parent), tmp.name, *args, meta=meta, **kwargs)
        )


def _ours(loop: Any, default: str) -> Any:
    """Replace the type in the config of a loop; a loop that is built stays as it is."""
    if not isinstance(loop, dict):
        return loop
    settings = dict(loop)
    if 'by_epoch' in settings:
        default = 'EpochBasedTrainLoop' if settings.pop('by_epoch') else 'IterBasedTrainLoop'
    kind = settings.get('type', default)
    return {**settings, 'type': OURS.get(kind, kind)}


def newest_checkpoint(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """Find the newest whole training checkpoint in a work folder.

    Args:
        folder: the work folder.
        warn: called with one line for each broken file that is passed over.

    Returns:
        The file that ``last_checkpoint`` names if it is whole, otherwise the newest ``*.pth`` that
        is (best-score files hold no optimizer and do not count), otherwise None.
    """
    pointer = folder / POINTER
    files = [file for file in folder.glob('*.pth') if not file.name.startswith('best_')]
    files.sort(key=lambda file: file.stat().st_mtime, reverse=True)
    if pointer.is_file():
        # Only the name counts: a work folder may have been moved or mounted elsewhere.
        files.insert(0, folder / Path(pointer.read_text().strip()).name)
    for file in files:
        try:
            verify(file)
        except CheckpointError as error:
            warn(f'passing over a broken checkpoint: {str(error).splitlines()[0]}')
        else:
            return file
    return None


def _require_training_state(checkpoint: dict[str, Any], filename: str) -> None:
    lacking = [key for key in TRAINING_STATE if key not in checkpoint]
    if not lacking and not {'epoch', 'iter'} <= checkpoint['meta'].keys():
        lacking = ['meta.epoch']
    if lacking:
        raise CheckpointError(
            f'{filename} holds weights but no training state (it lacks {", ".join(lacking)}).\n'
            'What to do: start from it with --cfg-options load_from=FILE instead of --resume.'
        )
