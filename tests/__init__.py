"""Tests; the processes that they start begin as quickly as ours."""

import input  # noqa: F401
