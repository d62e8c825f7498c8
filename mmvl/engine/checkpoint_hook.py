"""The checkpoint hook: it saves first and deletes afterwards; a full disk does not end training."""

import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as BaseCheckpointHook
from mmengine.runner import Runner
from torch import Tensor

from mmvl.registry import HOOKS

from .checkpoint import point_to
from .training_state import half_gathered_gradients

# How much more than the newest checkpoint the next one may need, before a warning is due.
SPACE_FACTOR = 1.2


@HOOKS.register_module()
class CheckpointHook(BaseCheckpointHook):
    """MMEngine's hook with its order turned round: nothing goes before its successor is there.

    A save that the disk refuses is reported; training goes on with the older checkpoints untouched
    and saves again at the next interval. Only when the training ends and its last state could still
    not be saved does the error end the run. Arguments are those of MMEngine's hook.
    """

    _refused = False
    _gradients: list[dict[str, Tensor]] | None = None

    def before_train(self, runner: Runner) -> None:
        """Clear away what a kill in the middle of a save has left."""
        super().before_train(runner)
        if is_main_process():
            for half in Path(self.out_dir).glob('*.tmp.*'):
                half.unlink()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the gradients that wait for their step, to this checkpoint only."""
        gradients, self._gradients = self._gradients, None
        if gradients is not None:
            checkpoint['gradients'] = gradients

    def after_train(self, runner: Runner) -> None:
        """Save once more if the last attempt was refused.

        Raises:
            OSError: the disk refuses still; the message says which checkpoint is the newest.
        """
        if self._refused:
            step = runner.epoch if self.by_epoch else runner.iter
            meta = {'epoch': runner.epoch, 'iter': runner.iter}
            try:
                self._save_and_forget_older(runner, step, meta)
            except OSError as error:
                raise OSError(
                    f'the trained model could not be saved in {self.out_dir}: {error}.\n'
                    f'The newest checkpoint is {self.last_ckpt or "none"}.\n'
                    'What to do: free space on that disk, then repeat the command with --resume.'
                ) from error
        super().after_train(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self._warn_of_little_space(runner)
        try:
            self._save_and_forget_older(runner, step, meta)
        except OSError as error:
            self._refused = True
            newest = self.last_ckpt or 'none'
            runner.logger.error(
                f'the checkpoint of step {step} could not be saved: {error}.\n'
                f'Training goes on; the newest checkpoint is still {newest}, the next save is '
                'tried at the next interval.\nWhat to do: free space on that disk.'
            )

    def _save_and_forget_older(self, runner: Runner, step: int, meta: dict) -> None:
        name = self.filename_tmpl.format(step)
        path = self.file_backend.join_path(self.out_dir, name)
        kept = list(getattr(self, 'keep_ckpt_ids', ()))
        kept += [step] * (step not in kept)
        outdated = kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []
        infos: dict[str, Any] = {'last_ckpt': path}
        if self.max_keep_ckpts > 0:
            infos['keep_ckpt_ids'] = kept[len(outdated) :]
        self._gradients = half_gathered_gradients(runner)
        with _unless_it_fails(runner, infos):
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                point_to(Path(runner.work_dir), path)
        self._refused = False
        self.last_ckpt = path
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(infos['keep_ckpt_ids'], self.max_keep_ckpts)
        for old in outdated:
            self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        before = self._best_paths()
        # MMEngine deletes the path that it finds here before it saves; it finds none
        self._set_best_paths(dict.fromkeys(before))
        try:
            with _unless_it_fails(runner, {}):
                super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            self._set_best_paths(before)
            runner.logger.error(
                f'the best checkpoint could not be saved: {error}.\nTraining goes on; '
                'the best one before is untouched.\nWhat to do: free space on that disk.'
            )
            return
        after = {key: path or before.get(key) for key, path in self._best_paths().items()}
        self._set_best_paths(after)
        for path in set(before.values()) - set(after.values()):
            self._remove(path)

    def _best_paths(self) -> dict[str, str | None]:
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = dict(paths)

    def _remove(self, path: str | None) -> None:
        if path and is_main_process() and self.file_backend.isfile(path):
            self.file_backend.remove(path)

    def _warn_of_little_space(self, runner: Runner) -> None:
        if not is_main_process() or not self.last_ckpt or not Path(self.last_ckpt).is_file():
            return
        needed = SPACE_FACTOR * Path(self.last_ckpt).stat().st_size
        free = shutil.disk_usage(self.out_dir).free
        if free < needed:
            runner.logger.warning(
                f'{self.out_dir}: {free / 1e6:,.0f} MB are free, the next checkpoint needs about '
                f'{needed / 1e6:,.0f} MB.\nWhat to do: free space before it is due.'
            )


@contextmanager
def _unless_it_fails(runner: Runner, infos: dict[str, Any]) -> Iterator[None]:
    """Set infos of the message hub, which a checkpoint stores; take them back if saving fails."""
    known = dict(runner.message_hub.runtime_info)
    for key, value in infos.items():
        runner.message_hub.update_info(key, value)
    try:
        yield
    except OSError:
        runner.message_hub.runtime_info.clear()
        runner.message_hub.runtime_info.update(known)
        raise
