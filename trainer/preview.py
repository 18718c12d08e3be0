"""A picture of what the network is about to see, beside the run."""

import os

import tensorflow as tf
from absl import logging

from input import contact_sheet, files
from trainer import recipe


def write(chosen: recipe.Recipe, model_dir: str) -> None:
    """Writes model_dir/preview.png, which the report shows.

    Where a record is damaged it says so and goes on without: what to do about
    that is decided when the record is read for training.
    """
    try:
        examples = contact_sheet.make(
            chosen.train_data,
            chosen.augments_at(0),
            chosen.seed,
            mixing=chosen.mixing,
            examples=min(contact_sheet.EXAMPLES, chosen.train_data.examples),
        )
    except tf.errors.OpError as error:
        logging.warning("No %s: %s", contact_sheet.FILE_NAME, error.message)
        return
    files.write_atomically(
        os.path.join(model_dir, contact_sheet.FILE_NAME),
        contact_sheet.png(examples),
    )
