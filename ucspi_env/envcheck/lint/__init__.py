"""``ucspi-envcheck lint``: finds code that is not IPv6 ready in programs that run under a super-server.

`lint_text` judges one text; `cli` is the command. The layers, each using only those before it: `_tokens` (what is
code), `_names` (what the variables and their copies are called), `_unit` (where the peer's address flows), `_match`
(questions that rules share), ``_rules_*`` (one function a rule, its docstring is its page), `_engine` (a file's
findings), `_walk` and `_config` (which files, which rules), `_report` (how they are shown), `cli`.
"""

from ucspi_env.envcheck.lint._engine import lint_text
from ucspi_env.envcheck.lint._model import Finding

__all__ = ["Finding", "lint_text"]
