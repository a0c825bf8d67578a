"""The process in which math-verify works: one JSON line in, one out. Started and, when it takes too long, killed by `deepmath`.

    {"expert": "\\frac{1}{2}", "answer": "0.5", "seconds": 5}  ->  {"correct": true}

It is a process of its own because what sympy is asked for may not end, may take all memory, and cannot be interrupted from
within: the power of two whole numbers is one call into C. Here it dies alone; by the kernel's clock, where whoever asked was
killed and cannot kill it.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys

MEMORY = 2 * 2**30
"""Bytes of address space; above it Python raises MemoryError, or dies."""
LATER = 5.0
"""Seconds after those of a question, until which whoever asked has killed this process, if it lives."""


def main() -> None:
    logging.disable(logging.CRITICAL)
    sys.setrecursionlimit(2000)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    kinds = [LatexExtractionConfig(), ExprExtractionConfig()]

    def equal(expert: str, answer: str) -> bool:
        """As math-verify compares them, each wrapped as the formula that it is. Its own clock is off: it works by a signal, and
        whoever started us has another."""
        told = [
            parse(f"${text}$", extraction_config=kinds, fallback_mode="no_fallback", parsing_timeout=None)
            for text in (expert, answer)
        ]
        return bool(told[0] and told[1] and verify(*told, strict=True, timeout_seconds=None))

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, asked["seconds"] + LATER)  # nobody handles its signal: the kernel ends us
        try:
            correct = equal(asked["expert"], asked["answer"])
        except Exception:  # whatever sympy cannot do with an answer, the answer is not the expert's
            correct = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps({"correct": correct}), flush=True)


if __name__ == "__main__":
    main()
