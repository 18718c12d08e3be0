"""Says once in a run that it waits for its input, and what to change."""

import tensorflow as tf
from absl import logging

from input import advice, pipeline, probe, spec
from trainer import actions, loop, writer

_TOLERATED = 0.05


class Starvation:
    """Watches how long the chief waits for input, log interval by interval.

    The first interval does not count: the pipeline fills up, and the step is
    compiled.

    Args:
        data: What is trained on.
        host: Which share of it this process reads.
        to: Gets the finding, as a line of kind `input`.
        enabled: Whether this process speaks.
        from_step: Steps of the run before which batches are made of kept
            features, and nothing of the data is read.
    """

    def __init__(
        self,
        data: pipeline.TrainData,
        host: spec.HostShare,
        to: writer.Writer,
        enabled: bool = True,
        from_step: int = 0,
    ) -> None:
        self._data = data
        self._host = host
        self._writer = to
        self._enabled = enabled
        self._from_step = from_step
        self._pending: list[loop.Progress] = []
        self._filled = False

    def gather(self, latest: loop.Progress) -> None:
        """Takes note of a stretch."""
        if latest.step > self._from_step:
            self._pending.append(latest)

    def __call__(self, latest: loop.Progress) -> None:
        """Looks at what has been gathered since the last time."""
        if not self._pending:
            return
        merged = actions.merge(self._pending)
        self._pending = []
        wait = merged.input_wait_seconds / max(merged.seconds, 1e-9)
        filled, self._filled = self._filled, True
        if not (self._enabled and filled and wait > _TOLERATED):
            return
        self._enabled = False
        self._report(latest.step, merged, wait)

    def _report(self, step: int, merged: loop.Progress, wait: float) -> None:
        own = merged.examples / self._host.count
        working = max(merged.seconds - merged.input_wait_seconds, 1e-9)
        starved = advice.Starved(
            wait, own / max(merged.seconds, 1e-9), own / working
        )
        try:
            rates = probe.measure(self._data)
        except tf.errors.OpError as error:
            logging.warning(
                "Input is too slow: waiting %.0f %% of the time. Its stages "
                "cannot be measured: %s",
                100 * wait,
                error.message,
            )
            return
        text = advice.give(self._data, self._host, starved, rates)
        logging.warning("%s", text)
        self._writer.write(
            "input",
            step,
            {
                "input_wait_fraction": starved.wait,
                "delivered_images_per_second": starved.delivered,
                "needed_images_per_second": starved.needed,
                "read_records_per_second": rates.read,
                "decoded_images_per_second_and_core": rates.decode,
                "cores": rates.cores,
                "advice": text,
            },
        )
