"""What README's performance figures come from: python -m benchmarks NAME."""

from rambo.terminal import answer_while_loading

answer_while_loading()
