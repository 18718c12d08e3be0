"""Data sets: conversion to sharded TFRecords, and reading them back."""
