"""A wished PSNR instead of a number of Gaussians: K follows the wish while they are fitted, and is corrected after.

A model (count_model.py) says how many Gaussians to begin with. Fits that differ in one Gaussian only may end half a dB
apart, so no model can know the result before: at a few shares of the fit the model looks at what was reached, predicts
the end, and Gaussians come or go. Behind the fit, short rounds at low rates add or take away the last few.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fastgs.fitting.densification import Densification, Edit, Relocation, error_density, select_useful, settle
from fastgs.fitting.fit import Callback, Fit, HistoryEntry, fit
from fastgs.fitting.optimizer import Descent, LearningRates
from fastgs.fitting.options import DEFAULT_ITERATIONS, FitOptions
from fastgs.fitting.removal import Appraiser
from fastgs.gaussians import Gaussians
from fastgs.initializers.sampling import plan
from fastgs.io.pixels import ImageWarning
from fastgs.methods.count_features import ImageFeatures
from fastgs.methods.count_model import SHARES, CountModel, Look, load_model, most_gaussians
from fastgs.methods.method import Method, Result, Trial

AUTO = "auto"  # number of Gaussians that stands for as many as a wish takes
LEAST_ITERATIONS = 20

# Largest factor of the number of Gaussians, up and down, at each of `SHARES`: what comes late has no time to settle, and
# what goes late cannot be made up for.
LIMITS = (2.5, 2.0, 1.6, 1.3, 1.15, 1.03)
# Difference in dB that is worth no change, at each share.
NEGLIGIBLE = 0.03

# Rounds behind the fit: share of its steps that each takes, number of them at most, error in dB that is left, and all
# work at most, in fits of the final number of Gaussians.
ROUND, ROUNDS, TOLERANCE, MOST_WORK = 0.15, 4, 0.05, 2.2
LEAST_ROUND = 8  # steps
# Rates of a round relative to those of a fit, and its gain in dB with the number of Gaussians unchanged.
RATES = {"means": 0.3, "scales": 0.3, "rotations": 0.3, "colors": 0.3}
GAIN = 0.1
LOSS = 1.4  # dB that are lost with Gaussians taken away behind a fit, over those of a fit without them
LARGEST = 1.25  # factor of the number of Gaussians in a round


class Steering:
    """Relocation that also changes the number of Gaussians so that the fit ends at a PSNR.

    Args:
        relocation: Relocation for the run; None without.
        predict: Callable from the looks so far to the PSNR that the fit will end at with as many Gaussians as now.
        slope: Callable from the number of Gaussians to the gain in dB of twice as many.
        target_psnr: PSNR in dB that the fit is to end at.
        most: Largest number of Gaussians.
        generator: Random generator of new places.

    Attributes:
        looks: States of the fit at `SHARES`, so far.
        work: Gaussians times share of the run, up to the last look.
    """

    grows = False  # a fit may end at any time

    def __init__(
        self,
        relocation: Densification | None,
        predict: Callable[[Sequence[Look]], float],
        slope: Callable[[int], float],
        target_psnr: float,
        most: int,
        generator: torch.Generator | None,
    ) -> None:
        own = [(share, -1) for share in SHARES]
        relocations = [] if relocation is None else [(share, number) for number, share in enumerate(relocation.events)]
        self._plan = sorted([*own, *relocations])
        self.events = [share for share, _ in self._plan]
        self.looks: list[Look] = []
        self.work = 0.0
        self._relocation, self._generator = relocation, generator
        self._predict, self._slope = predict, slope
        self._target_psnr, self._most = target_psnr, most

    @torch.no_grad()
    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Relocate, or change the number, see `fastgs.fitting.densification.Densification`."""
        share, number = self._plan[event]
        if number >= 0:
            assert self._relocation is not None
            return self._relocation.edit(number, target, descent)
        gaussians = descent.gaussians()
        self.work += len(gaussians) * (share - (self.looks[-1].share if self.looks else 0.0))
        self.looks.append(Look(share, descent.quality(), len(gaussians)))
        return resize(gaussians, self._next(len(gaussians)), target, descent.image, self._generator)

    def _next(self, count: int) -> int:
        """Return the number of Gaussians to go on with."""
        missing = self._target_psnr - self._predict(self.looks)
        if abs(missing) < NEGLIGIBLE:
            return count
        limit = LIMITS[len(self.looks) - 1]
        factor = min(limit, max(1 / limit, 2 ** (missing / self._slope(count))))
        return min(self._most, max(1, round(count * factor)))


class Resizing:
    """Strategy that changes the number of Gaussians at the start of a fit.

    Args:
        count: Number of Gaussians to fit.
        generator: Random generator of new places.
    """

    grows = False
    events = (0.0,)

    def __init__(self, count: int, generator: torch.Generator | None) -> None:
        self._count, self._generator = count, generator

    @torch.no_grad()
    def edit(self, event: int, target: Tensor, descent: Descent) -> Edit:
        """Change the number, see `fastgs.fitting.densification.Densification`."""
        return resize(descent.gaussians(), self._count, target, descent.image, self._generator)


def resize(
    gaussians: Gaussians,
    count: int,
    target: Tensor,
    image: Callable[[], Tensor],
    generator: torch.Generator | None,
) -> Edit:
    """Add Gaussians where the error is largest, or take away those that do least.

    Args:
        gaussians: Gaussians on their way.
        count: How many there are to be.
        target: (C, H, W) image that is fitted.
        image: Callable that renders them.
        generator: Random generator of new places.
    """
    change = count - len(gaussians)
    if not change:
        keep = torch.ones(count, dtype=torch.bool, device=gaussians.means.device)
        return Edit(keep, settle(gaussians.means[:0], target, gaussians, keep))
    appraisal = Appraiser(target)(gaussians, image)
    draw = plan(error_density(appraisal.errors, count), max(change, 0), generator=generator)
    removal, places = appraisal.removal_errors(draw)
    keep = select_useful(removal, max(-change, 0))
    return Edit(keep, settle(torch.from_numpy(places).to(gaussians.means), target, gaussians, keep))


def fit_to_psnr(
    method: Method,
    image: Tensor,
    target_psnr: float,
    options: FitOptions | None = None,
    *,
    seed: int = 0,
    alpha: bool = False,
    device: torch.device | None = None,
    callback: Callback | None = None,
    model: CountModel | None = None,
) -> Result:
    """Fit as many Gaussians as a PSNR takes, as `Method.__call__` fits a given number.

    Args:
        method: Method of this project, see `fastgs.methods.fastgs.make_method`.
        image: (C, H, W) in [0, 1], with C from 1 to 32.
        target_psnr: PSNR in dB to end at.
        options: Number of steps of the fit, loss and renderer; rounds behind it take some more steps.
        seed: Random seed.
        alpha: True if the last channel is opacity and the other ones are multiplied by it.
        device: Device to work on; by default that of the image. The result is where the image is.
        callback: Callable that gets every new entry of the history.
        model: Model of the PSNR; by default the one that ships with the package.

    Returns:
        The result that is nearest the wish, with the trials that led to it.

    Raises:
        ValueError: The options have a limit other than a number of steps, of which there must be enough; or see
            `fastgs.fitting.fit.fit`.
    """
    options = replace(options or FitOptions(), target_psnr=None).or_iterations(DEFAULT_ITERATIONS)
    check_wish(target_psnr, options)
    steps = options.iterations or 0
    model = model or load_model()
    features = ImageFeatures.of(image)
    steering: list[Steering] = []

    def densify(count: int, pixels: int, planned: int, generator: torch.Generator | None) -> Densification:
        relocation = None if method.densification is None else method.densification(count, pixels, planned, generator)
        steering.append(
            Steering(
                relocation,
                lambda looks: model.final(features, looks, steps),
                lambda number: model.slope(features, number, steps),
                target_psnr,
                most_gaussians(pixels),
                generator,
            )
        )
        return steering[-1]

    start = model.count(features, target_psnr, steps)
    result = replace(method, densification=densify)(
        image, start, options, seed=seed, alpha=alpha, device=device, callback=callback
    )
    work = steering[0].work + len(result.gaussians) * (1 - SHARES[-1])
    first = Trial(len(result.gaussians), result.psnr, result.iterations, work * steps)
    rounds = _Rounds(target_psnr, steps, lambda number: model.slope(features, number, steps), seed)
    result = rounds.run(replace(result, trials=(first,)), options, device or image.device, callback)
    _warn_if_missed(result, target_psnr)
    return result


def check_wish(target_psnr: float | None, options: FitOptions) -> None:
    """Check what a fit to a PSNR is asked for.

    Raises:
        ValueError: There is no PSNR, or a limit that it cannot have; one line that begins with the argument's name.
    """
    if target_psnr is None:
        raise ValueError(f"num_gaussians: {AUTO!r} needs target_psnr, the PSNR in dB to reach; or give a number")
    if options.seconds is not None:
        raise ValueError(f"seconds: not with num_gaussians {AUTO!r}, whose fits have a number of steps; give iterations")
    if options.iterations is not None and options.iterations < LEAST_ITERATIONS:
        raise ValueError(
            f"iterations: num_gaussians {AUTO!r} takes at least {LEAST_ITERATIONS}, got {options.iterations}"
        )


class _Rounds:
    """Short fits that add or take away the last few Gaussians.

    Args:
        target_psnr: PSNR in dB to end at.
        steps: Number of steps of the fit before.
        slope: Callable from the number of Gaussians to the gain in dB of twice as many.
        seed: Random seed.
    """

    def __init__(self, target_psnr: float, steps: int, slope: Callable[[int], float], seed: int) -> None:
        self._target_psnr, self._slope = target_psnr, slope
        self._fit_steps = steps
        self._steps = max(LEAST_ROUND, round(ROUND * steps))
        self._generator = torch.Generator().manual_seed(seed)

    def run(self, result: Result, options: FitOptions, device: torch.device, callback: Callback | None) -> Result:
        """Return the result of the round that ends nearest the wish, or the one given if that is nearer."""
        target = result.target.to(device)
        most = most_gaussians(target[0].numel())
        best, now, trials = result, result, list(result.trials)
        for number in range(ROUNDS):
            if abs(best.psnr - self._target_psnr) <= TOLERANCE:
                break
            count = self._next(now, GAIN / 2**number, most)
            work = sum(trial.work for trial in trials) + self._steps * count
            if work > MOST_WORK * self._fit_steps * count or (count == len(now.gaussians) and count in (1, most)):
                break
            fitted = self._round(target, now.gaussians.to(device), count, options, _shifted(callback, now.history[-1]))
            now = _continue(now, fitted)
            trials.append(Trial(count, now.psnr, self._steps, self._steps * count))
            if abs(now.psnr - self._target_psnr) < abs(best.psnr - self._target_psnr):
                best = now
        return replace(best, trials=tuple(trials))

    def _next(self, now: Result, gain: float, most: int) -> int:
        """Return the number of Gaussians of the next round, which gains so much with as many as now."""
        count = len(now.gaussians)
        missing = self._target_psnr - now.psnr - gain
        slope = self._slope(count) * (LOSS if missing < 0 else 1.0)
        factor = min(LARGEST, max(1 / LARGEST, 2 ** (missing / slope)))
        return min(most, max(1, round(count * factor)))

    def _round(
        self, target: Tensor, gaussians: Gaussians, count: int, options: FitOptions, callback: Callback | None
    ) -> Fit:
        """Change the number of Gaussians and let them settle."""
        usual = LearningRates(hold=0.3, decay=10.0)
        rates = replace(usual, **{name: factor * getattr(usual, name) for name, factor in RATES.items()})
        return fit(
            target,
            gaussians,
            replace(options, iterations=self._steps),
            optimization=rates.config(options.loss_function()),
            densification=lambda _: Resizing(count, self._generator),
            callback=callback,
        )


def _shifted(callback: Callback | None, last: HistoryEntry) -> Callback | None:
    """Return a callback for a fit that goes on where another one ended."""
    return None if callback is None else lambda entry: callback(_behind(last, entry))


def _behind(last: HistoryEntry, entry: HistoryEntry) -> HistoryEntry:
    return HistoryEntry(last.iteration + entry.iteration, last.seconds + entry.seconds, entry.psnr)


def _continue(result: Result, fitted: Fit) -> Result:
    """Return a result with a fit that went on from it."""
    home = result.image.device
    return replace(
        result,
        gaussians=fitted.gaussians.to(home),
        image=fitted.image.clamp(0, 1).to(home),
        history=[*result.history, *(_behind(result.history[-1], entry) for entry in fitted.history[1:])],
    )


def _warn_if_missed(result: Result, target_psnr: float) -> None:
    """Say so if even the largest number of Gaussians is not enough."""
    count, pixels = len(result.gaussians), result.target[0].numel()
    if count >= most_gaussians(pixels) and result.psnr < target_psnr - 2 * TOLERANCE:
        warnings.warn(
            f"target_psnr: {target_psnr:g} dB are not reached with {count} Gaussians, one for two pixels, which is the "
            f"most that {AUTO!r} takes; the result has {result.psnr:.2f} dB",
            ImageWarning,
            stacklevel=3,
        )
