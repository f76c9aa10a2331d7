"""MLflow as a projection of trial folders: one writer, nothing that cannot be built again.

Trials write files; the driver alone talks to MLflow. A study is an experiment with one parent run and a child for each
trial, published from its folder by the same code whether the trial has just ended or the whole is rebuilt. A server
that is slow, down or refusing stops nothing: what it did not take is published by the next start, or by a sync.
"""
