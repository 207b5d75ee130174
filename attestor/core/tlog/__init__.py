"""The transparency log's formats and proofs as C2SP writes them: values in, values out; nothing is read from anywhere.

Strictness is the rule: what two programs could read differently (padding, leading zeros, odd line ends) is refused.
"""
