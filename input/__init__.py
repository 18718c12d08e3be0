"""Data sets: conversion to sharded TFRecords, and reading them back."""

from input import startup

startup.import_tensorflow()
