"""RAMBO: one-round active learning by a learned utility model.

After Ding, Chen, Jia and Chen, "Learning to Rank for Active Learning via Multi-Task Bilevel Optimization".

Notation, as in the paper:

=========  ===========================================================================================
S_0, k     labelled seed set and its size                     `data.num_seed_labels`
S_val      labelled validation set                            `data.num_validation`
U_0        unlabelled pool
B, b       labelling budget and mini-batch                    `acquisition.budget`, `.batch_size`
τ1, k1     pretraining iterations ⌊(k−1)/b⌋, start k − τ1·b
τ2         acquisition iterations B/b
n          pairs per pretraining iteration                    `pretraining.num_pairs`
M          margin filter                                      b · `acquisition.candidate_batches`
f          classifier                                         `classifier.name`
ξ, u(ξ)    a set of labelled images, its utility: the accuracy on S_val of f trained on it
û, φ       utility model, its set embedding                   `rambo.utility.deep_sets`
=========  ===========================================================================================

Read `rambo.experiment` first; then in the way data takes: `data`, `preparation`, `training`, `utility`, `strategies`.
"""

from rambo.terminal import answer_while_loading

answer_while_loading()
