"""What README's performance figures come from: python -m benchmarks NAME."""
