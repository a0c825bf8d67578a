"""What a guard's alarm does to a training run: a warning, a smaller learning rate, a roll-back to the last good checkpoint, or
the end. Good is a checkpoint from before the steps that the alarm was raised for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config, GuardName
from ..game.guards import FINITE, Alarm, Watch
from ..learning import checkpoints
from ..learning.update import NotFinite
from ..tracking.events import Events

if TYPE_CHECKING:
    from ..methods.method import Method
    from ..methods.selection import Alarmed

BY_WINDOW = ("flood", "tie", "drift", "entropy", "fooled")
"""Guards whose figures come from before a step's update, from the weights that the step before left."""
TOLD = {
    "warn": "no action is set (guards.actions)",
    "damp": "the learning rate is damped",
    "roll_back": "rolling back to the last good checkpoint, with a damped learning rate",
    "stop": "training ends with the last good checkpoint",
}


class Guarding:
    """The guards of one run. Every process makes the same calls; events is None on all but the one that writes. stopped: the
    guard that ended training, or None. went_back: whether the last step was undone, or ended training."""

    def __init__(
        self,
        config: Config,
        game: Method,
        folder: Path,
        identity: Mapping[str, str],
        together: Callable[[], None],
        events: Events | None,
    ):
        self.settings, self.game, self.folder, self.identity = config.guards, game, folder, identity
        self.together, self.events = together, events
        self.watch = Watch(config.guards)
        self.damping, self.went_back = 1.0, False
        self.stopped: GuardName | None = None

    @property
    def goes_back(self) -> bool:
        """Whether some guard may need a good checkpoint, be it that of the start."""
        return bool(self._back_for)

    @property
    def doubted(self) -> list[int]:
        """The first steps that the alarms which need a good checkpoint could yet be raised for, guard by guard."""
        return [self._before(since) for since in self.watch.doubted(self._back_for)]

    @property
    def _back_for(self) -> set[GuardName]:
        return {name for name, action in self.settings.actions.items() if action in ("roll_back", "stop")}

    @property
    def alarmed(self) -> Alarmed:
        """Since when something may be wrong with the policy's weights: of the alarms that were raised since it plays and whose
        steps stand; not of a gradient that was not finite, which never reached the weights."""
        first, alarms = self.game.plays_from, self.watch.alarms
        stand = [a for a in alarms if first and a["step"] >= first and a["guard"] != FINITE and not a.get("undone")]
        return (min(a["since"] for a in stand), min(a["step"] for a in stand)) if stand else None

    def state(self) -> dict[str, Any]:
        """For the checkpoint, plain JSON."""
        watch = self.watch
        return {
            "recent": {name: list(values) for name, values in watch.recent.items()},
            "start": watch.start,
            "raised": watch.raised,
            "rollbacks": watch.rollbacks,
            "alarms": watch.alarms,
            "damping": self.damping,
            "stopped": self.stopped,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.watch.restore(state)
        self._damped(state["damping"])
        self.stopped = state.get("stopped")  # of an earlier version's checkpoint there is none

    def after(self, step: int, figures: Mapping[str, float]) -> int:
        """Looks at the figures of a step that was made, and acts. step: steps made. Returns the steps made now."""
        self.went_back = False
        for alarm in self.watch.observe(step, figures):
            self._act(alarm)
            if alarm.action in ("roll_back", "stop"):
                return self._back(alarm, step)
        return step

    def not_finite(self, step: int, error: NotFinite) -> int:
        """A step whose gradient was not finite. Returns the steps made now. Raises the error where `guards.actions` does not
        name the guard."""
        if FINITE not in self.settings.actions:
            raise error
        self.went_back = False
        alarm = self.watch.not_finite(step + 1, error.line)
        self._act(alarm)
        return self._back(alarm, step) if alarm.action in ("roll_back", "stop") else step + 1

    def _act(self, alarm: Alarm) -> None:
        """Reports it, and damps if that is its action."""
        if alarm.action != "off":
            self._warn(f"guard {alarm.guard}, step {alarm.step}: {alarm.why}; {TOLD[alarm.action]}")
        if alarm.action == "damp":
            self._damped(self.damping * self.settings.damp)

    def _warn(self, line: str) -> None:
        """An event, of the process that writes."""
        if self.events:
            self.events.note(line, "warning")

    def _damped(self, damping: float) -> None:
        self.damping = self.game.damping = damping

    def _back(self, alarm: Alarm, step: int) -> int:
        """To the newest checkpoint from before the alarm's steps, which is then the newest of all; snapshots later than it are
        gone."""
        found = self._good(self._before(alarm.since) if alarm.guard in BY_WINDOW else alarm.since)
        ends = alarm.action == "stop" or found is None or self.watch.rollbacks >= self.settings.rollbacks
        if found is not None:
            checkpoints.restore(found, self.game.speaker.model, self.game.learner.optimiser, self.game.beside())
            self.game.restore(found.state["game"])
            self.watch.undone(found.step)
        self.together()  # what the others still read is written anew by the first
        self.watch.forget()
        self.went_back, self.stopped = True, alarm.guard if ends else None
        self._warn(f"{'ended at' if ends else 'rolled back to'} step {found.step if found else step}")
        if not ends:
            self.watch.rollbacks += 1
            self._damped(self.damping * self.settings.damp)
        return found.step if found else step

    def _before(self, since: int) -> int:
        """The step that a good checkpoint is from before. Of several values the first may be sound, since it is their median
        that is not; one that stands alone is of the weights that the step before had left."""
        return since - 1 if self.settings.window == 1 else since

    def _good(self, since: int) -> checkpoints.Checkpoint | None:
        """The newest checkpoint from before that step; what is newer than it is deleted."""
        self.together()
        found = checkpoints.newest(self.folder, self.identity, self._warn, since)
        self.together()  # all have found it
        if found and self.events:
            checkpoints.undo(self.folder, found.step)
        self.together()
        return found
