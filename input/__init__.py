"""Data sets: conversion to sharded TFRecords, and reading them back."""

from input import startup

startup.limit_arenas()
startup.import_tensorflow()
