"""A wished PSNR instead of a number of Gaussians: K follows the wish while they are fitted, and is corrected after.

A model (count_model.py) says how many Gaussians to begin with. Fits that differ in one Gaussian only may end half a dB
apart, so no model can know the result before: at a few shares of the fit the model looks at what was reached, predicts
the end, and Gaussians come or go. Behind the fit, short rounds at low rates add or take away the last few.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fastgs.fitting.fit import Callback
from fastgs.fitting.options import DEFAULT_ITERATIONS, FitOptions
from fastgs.io.pixels import ImageWarning
from fastgs.methods.arguments import AUTO, LEAST_ITERATIONS, check_wish
from fastgs.methods.count_features import ImageFeatures
from fastgs.methods.count_model import SHARES, CountModel, State, load_model, most_gaussians
from fastgs.methods.fastgs import CURVATURE
from fastgs.methods.method import Method
from fastgs.methods.result import Result, Trial
from fastgs.methods.rounds import settle
from fastgs.methods.steering import Steering, WrongStartError

# A fit begins anew where its start was wrong by more than these factors, at the first looks, and at most so many times.
# More of them are for fits that cost little so far, relative to one of the new number.
WRONG, RESTARTS = (2.5, 1.12), 2
MOST_RESTARTS, CHEAP = 6, 0.3
# Another fit follows one that missed by more than so many dB, with a number of Gaussians that differs at most by a
# factor, if it leaves some work for a round: it is expected to take so many fits.
FAR, MOST_AGAIN, AGAIN = 1.2, 4.0, 1.3
ALWAYS = (2.5, 0.0)  # factors for fits that are to end at the second look

# Rounds behind the fit: share of its steps that each takes, number of them at most, error in dB that is left, and all
# work at most, in fits of the final number of Gaussians.
ROUND, ROUNDS, TOLERANCE, MOST_WORK = 0.15, 7, 0.05, 2.2
# Predictions are to end so many dB above the PSNR: who gets there earlier stops, who does not needs a round.
MARGIN = 0.1
OCTAVE = 1.0  # dB nearer the wish that twice as many Gaussians are worth
LEAST_ROUND = 8  # steps


def fit_to_psnr(
    method: Method,
    image: Tensor,
    options: FitOptions,
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
        options: PSNR to end at, loss, renderer, and number of steps of the fit, `DEFAULT_ITERATIONS` by default; the
            rounds behind it take some more.
        seed: Random seed.
        alpha: True if the last channel is opacity and the other ones are multiplied by it.
        device: Device to work on; by default that of the image. The result is where the image is.
        callback: Callable that gets every new entry of the history.
        model: Model of the PSNR; by default the one that ships with the package.

    Returns:
        The result that is nearest the wish, unless one that is almost as near takes fewer Gaussians; with the trials
        that led to it.

    Raises:
        ValueError: The options or the image are not usable, see `fastgs.methods.arguments.check_wish` and
            `fastgs.fitting.fit.fit`.
    """
    target_psnr = check_wish(options)
    options = options.or_iterations(DEFAULT_ITERATIONS)
    assert options.iterations is not None
    wish = Wish.of(image, target_psnr, options.iterations, model)
    result = wish.fit(method, image, options, seed=seed, alpha=alpha, device=device, callback=callback)
    result = wish.correct(result, options, device or image.device, seed, callback)
    wish.warn_if_missed(result)
    return result


class Wish:
    """Fits of one image to one PSNR.

    Args:
        target_psnr: PSNR in dB to end at.
        iterations: Number of steps of a fit.
        features: Features of the image.
        model: Model of the PSNR.
    """

    def __init__(self, target_psnr: float, iterations: int, features: ImageFeatures, model: CountModel) -> None:
        self._target_psnr, self._iterations = target_psnr, iterations
        self._features, self._model = features, model
        self._most = most_gaussians(features.pixels)
        self._steerings: list[Steering] = []
        self._known: dict[int, float] = {}
        self._gained = 0.0  # dB of the last tenth of the fit

    @classmethod
    def of(cls, image: Tensor, target_psnr: float, iterations: int, model: CountModel | None = None) -> Wish:
        """Return the wish for a (C, H, W) image, by the model that ships with the package unless one is given."""
        return cls(target_psnr, iterations, ImageFeatures.of(image), model or load_model())

    def fit(self, method: Method, image: Tensor, options: FitOptions, **arguments: Any) -> Result:
        """Fit Gaussians whose number follows the wish; the result has this as its first trial.

        Args:
            method: Method of this project.
            image: (C, H, W) in [0, 1].
            options: Number of steps, loss and renderer.
            arguments: Further arguments of `Method.__call__`.
        """
        count, restarts = self.guess(), 0
        wrong: Sequence[float] = WRONG
        while True:
            try:
                steered = replace(method, densification=partial(self._steer, method, wrong))
                result = steered(image, count, options, **arguments)
            except WrongStartError as error:
                count, restarts = error.count, restarts + 1
                cheap = restarts < MOST_RESTARTS and self._work() <= CHEAP * count
                wrong = WRONG if restarts < RESTARTS or cheap else ()
            else:
                break
        self._gained = result.psnr - self._steerings[-1].looks[-1].psnr
        first = self._with_trial(result, self._work() + self._rest(result))
        return self._fit_again(first, method, image, options, **arguments)

    def _fit_again(self, first: Result, method: Method, image: Tensor, options: FitOptions, **arguments: Any) -> Result:
        """Return the result of a second fit, if the first one is far from the wish, cost little, and is beaten."""
        missing = self._target_psnr - first.psnr
        count = len(first.gaussians)
        factor = min(MOST_AGAIN, max(1 / MOST_AGAIN, 2 ** (missing / self.slope(count))))
        count = min(self._most, max(1, round(count * factor)))
        done = first.trials[0].work / self._iterations
        if abs(missing) < FAR or done > (MOST_WORK - AGAIN) * count:
            return first
        before = self._work()
        steered = replace(method, densification=partial(self._steer, method, ()))
        second = steered(image, count, options, **arguments)
        work = self._work() - before + self._rest(second)
        trials = (*first.trials, *self._with_trial(second, work).trials)
        if abs(second.psnr - self._target_psnr) < abs(missing):
            self._gained = second.psnr - self._steerings[-1].looks[-1].psnr
            return replace(second, trials=trials)
        return replace(first, trials=trials)

    def _work(self) -> float:
        """Return the Gaussians times shares of a run of all fits so far, up to their last looks."""
        return sum(each.work for each in self._steerings)

    def _rest(self, result: Result) -> float:
        """Return the Gaussians times shares of a run behind the last look of a fit."""
        return len(result.gaussians) * (result.iterations / self._iterations - SHARES[-1])

    def _with_trial(self, result: Result, work: float) -> Result:
        """Return a result with itself as its trial."""
        trial = Trial(len(result.gaussians), result.psnr, result.iterations, work * self._iterations)
        return replace(result, trials=(trial,))

    def guess(self) -> int:
        """Return the number of Gaussians by the features of the image alone."""
        return self._model.count(self._features, self._target_psnr, max(LEAST_ITERATIONS, self._iterations))

    def estimate(self, image: Tensor, *, seed: int = 0, alpha: bool = False) -> int:
        """Return the number of Gaussians by the beginnings of one or two fits, a fifth of a fit each.

        Args:
            image: (C, H, W) in [0, 1].
            seed: Random seed.
            alpha: True if the last channel is opacity and the other ones are multiplied by it.
        """
        count, options = self.guess(), FitOptions(self._iterations)
        for _ in range(RESTARTS if self._iterations >= LEAST_ITERATIONS else 0):
            before = count
            try:
                steered = replace(CURVATURE, densification=partial(self._steer, CURVATURE, ALWAYS))
                steered(image, count, options, seed=seed, alpha=alpha)
            except WrongStartError as error:
                count = error.count
            if max(count / before, before / count) <= WRONG[1]:
                break
        return count

    def slope(self, count: int) -> float:
        """Return the gain in dB of twice as many Gaussians, about."""
        return self._model.slope(self._features, count, max(LEAST_ITERATIONS, self._iterations))

    def _steer(
        self,
        method: Method,
        wrong: Sequence[float],
        count: int,
        pixels: int,
        planned: int,
        generator: torch.Generator | None,
    ) -> Steering:
        """Return the strategy of the next fit."""
        relocation = None if method.densification is None else method.densification(count, pixels, planned, generator)
        steering = self._make_steering(
            relocation,
            lambda looks: self._model.final(self._features, looks, self._iterations),
            self.slope,
            self._target_psnr + MARGIN,
            self._most,
            generator,
            wrong,
            self._known,
        )
        self._steerings.append(steering)
        return steering

    _make_steering = Steering

    def correct(
        self, result: Result, options: FitOptions, device: torch.device, seed: int, callback: Callback | None
    ) -> Result:
        """Return the result of the round that ends nearest the wish, or the one given if that is nearer or smaller.

        Args:
            result: Result of `fit`.
            options: Options of the fit.
            device: Device to work on.
            seed: Random seed.
            callback: Callable that gets every new entry of the history.
        """
        steps = max(LEAST_ROUND, round(ROUND * self._iterations))
        generator = torch.Generator().manual_seed(seed)
        now, best, trials = result, result, list(result.trials)
        gained = self._gained
        for number in range(ROUNDS):
            if abs(best.psnr - self._target_psnr) <= TOLERANCE:
                break
            count = self._next(State(now.psnr, len(now.gaussians), gained, number))
            work = sum(trial.work for trial in trials) + steps * count
            if work > MOST_WORK * self._iterations * min(count, len(best.gaussians)):
                break
            before = now
            now = settle(before, count, replace(options, iterations=steps), device, generator, callback)
            gained, taken = now.psnr - before.psnr, now.iterations - before.iterations
            trials.append(Trial(count, now.psnr, taken, taken * count))
            best = min(best, now, key=self._cost)
        return replace(best, trials=tuple(trials))

    def _cost(self, result: Result) -> float:
        """Return the distance from the wish in dB, and what the Gaussians cost, which counts among trials only."""
        return abs(result.psnr - self._target_psnr) + OCTAVE * math.log2(len(result.gaussians))

    def _next(self, state: State) -> int:
        """Return the number of Gaussians of the next round."""
        return self._model.round_count(self._features, state, self._target_psnr + MARGIN, self._iterations)

    def warn_if_missed(self, result: Result) -> None:
        """Say so if even the largest number of Gaussians is not enough."""
        count = len(result.gaussians)
        if count >= self._most and result.psnr < self._target_psnr - 2 * TOLERANCE:
            warnings.warn(
                f"target_psnr: {self._target_psnr:g} dB are not reached with {count} Gaussians, one for two pixels, "
                f"which is the most that {AUTO!r} takes; the result has {result.psnr:.2f} dB",
                ImageWarning,
                stacklevel=4,
            )
