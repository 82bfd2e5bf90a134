"""Python, through its own parser: the same rules as for other languages, found in the syntax tree.

Files for Python 2 are read as well: the few statements whose syntax changed are rewritten in memory, line by line, and lines that
still do not parse are left out.
"""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import ast
import re
from typing import Final

from ucspi_env.envcheck.lint._match import SENTINELS, is_address, is_prefix, pattern_sort
from ucspi_env.envcheck.lint._model import RULES, Hit
from ucspi_env.envcheck.lint._names import is_ipish, is_peerish, kind_of_tail, kind_of_variable
from ucspi_env.envcheck.lint._rules_write import SQL
from ucspi_env.envcheck.lint._unit import Unit

_MOST_BAD_LINES: Final = 40
_PRINT: Final = re.compile(r"^(\s*|.*:\s+|.*;\s*)print[ \t]+(?!\()(?:>>\s*[\w.]+\s*,?)?([^\n]*)$")
_PRINT_PAREN: Final = re.compile(r"^(\s*|.*:\s+)print[ \t]+(\(.*\)\s*%.*|\([^()]*\)\s*[,.+][^\n]*)$")
_EXCEPT: Final = re.compile(r"^(\s*except\s+[^:,]+|\s*except\s*\([^)]*\)\s*),\s*(\w+)\s*:")
_RAISE: Final = re.compile(r"^(\s*(?:.*:\s*)?raise\s+[\w.]+)\s*,\s*([^\n]*)$")
_OCTAL: Final = re.compile(r"(?<![\w.])0([0-7]+)\b(?!\.)")


def _modern(text: str) -> str:
    rows: list[str] = []
    for row in text.split("\n"):
        changed = row
        if "print" in changed:
            match = _PRINT.match(changed) or _PRINT_PAREN.match(changed)
            if match:
                body = match[2].split(" #")[0].rstrip().rstrip(",")
                changed = f"{match[1]}print({body})"
        if "except" in changed:
            changed = _EXCEPT.sub(r"\1 as \2:", changed)
        if "raise" in changed:
            changed = _RAISE.sub(r"\1(\2)", changed)
        if "<>" in changed:
            changed = changed.replace("<>", "!=")
        if "exec " in changed:
            changed = re.sub(r"\bexec\s+([^(\n]+)$", r"exec(\1)", changed)
        changed = re.sub(r"`([^`\n]*)`", r"(\1)", changed)
        rows.append(_OCTAL.sub(r"0o\1", changed))
    return "\n".join(rows).expandtabs(8) if "\t" in text else "\n".join(rows)


def _parse(text: str) -> ast.Module | None:
    """Return the tree of ``text``, of its modernised form, or of what parses of it; None when nothing does."""
    for attempt in (text, None):
        source = text if attempt is not None else _modern(text)
        try:
            return _tree(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    if len(text) > 400_000:
        return None
    rows = _modern(text).split("\n")
    for _ in range(_MOST_BAD_LINES):
        try:
            return _tree("\n".join(rows))
        except SyntaxError as error:
            number = min(max((error.lineno or 1), 1), len(rows)) - 1
            while number > 0 and not rows[number].strip():
                number -= 1
            indent = rows[number][: len(rows[number]) - len(rows[number].lstrip())]
            if "indent" in str(error.msg) and rows[number].strip() == "pass":
                rows[number] = ""
                continue
            opens = rows[number].rstrip().endswith(":")
            replacement = indent + ("if 1:" if opens and not rows[number].strip().startswith("if 1") else "pass")
            rows[number] = replacement if rows[number] != replacement else ""
        except (ValueError, RecursionError, MemoryError):
            return None
    return None


def _tree(source: str) -> ast.Module:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _rows(node: ast.AST) -> tuple[int, int]:
    """Return the first and the last line of a node."""
    first = int(getattr(node, "lineno", 1))
    return first, int(getattr(node, "end_lineno", None) or first)


_ENVIRON: Final = {"environ", "env", "environment", "ENV", "environb"}
_PASS_METHODS: Final = {"strip", "lower", "rstrip", "lstrip", "decode", "encode", "upper", "casefold"}
_PASS_CALLS: Final = {"str", "unicode", "fsdecode", "fsencode", "bytes"}
_REGEX_CALLS: Final = {"match", "search", "fullmatch", "findall", "sub", "finditer"}
_HARD_CALLS: Final = {"exit", "_exit", "abort", "die", "fatal", "error", "reject", "quit", "sys.exit"}
_PATH_CALLS: Final = {
    "open",
    "mkdir",
    "makedirs",
    "unlink",
    "remove",
    "stat",
    "exists",
    "isfile",
    "utime",
    "touch",
    "rename",
    "isdir",
    "getmtime",
}
_LISTY: Final = re.compile(
    r"(?i)allow|deny|ips\b|_ips|hosts|list|trusted|white|black|ban|block|relay|clients|networks|permit|known|local|addrs|addresses|peers|exempt"
)
_TEXTY: Final = re.compile(r"(?i)line|data|content|text|body|log|row|buf")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


class _Python:
    def __init__(self, unit: Unit, tree: ast.Module) -> None:
        self.unit = unit
        self.tree = tree
        self.hits: dict[str, list[Hit]] = {}
        self.parents: dict[ast.AST, ast.AST] = {}
        self.scopes: dict[ast.AST, FunctionNode | None] = {}
        self.names: dict[tuple[FunctionNode | None, str], str] = {}
        self.attributes: dict[str, str] = {}
        self.returns: dict[str, str] = {}
        self.functions: dict[str, list[FunctionNode]] = {}
        self.nodes: list[ast.AST] = []
        self.locals: dict[FunctionNode, set[str]] = {}
        self.patterns: dict[str, str] = {}
        self.unmaps: dict[FunctionNode | None, bool] = {}
        self.lines = unit.text.split("\n")

    # -- preparation

    def run(self) -> dict[str, list[Hit]]:
        self.walk()
        for _ in range(6):
            before = len(self.names) + len(self.attributes) + len(self.returns)
            for node in self.nodes:
                self.learn(node)
            if len(self.names) + len(self.attributes) + len(self.returns) == before:
                break
        for node in self.nodes:
            self.judge(node)
        self.judge_families()
        return self.hits

    def walk(self) -> None:
        stack: list[tuple[ast.AST, FunctionNode | None]] = [(self.tree, None)]
        while stack:
            node, scope = stack.pop()
            self.nodes.append(node)
            self.scopes[node] = scope
            inner = scope
            if isinstance(node, FunctionNode):
                self.functions.setdefault(node.name, []).append(node)
                inner = node
                arguments = node.args
                self.locals[node] = {
                    one.arg for one in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                }
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and scope is not None:
                self.locals[scope].add(node.id)
            children = list(ast.iter_child_nodes(node))
            for child in reversed(children):
                self.parents[child] = node
                stack.append((child, inner))
        for node in self.nodes:
            if isinstance(node, ast.Global):
                scope = self.scopes[node]
                if scope is not None:
                    self.locals[scope] -= set(node.names)

    def home(self, name: str, scope: FunctionNode | None) -> FunctionNode | None:
        return scope if scope is not None and name in self.locals.get(scope, ()) else None

    # -- what holds the value

    @staticmethod
    def text(node: ast.AST | None) -> str | None:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return node.value
            if isinstance(node.value, bytes):
                return node.value.decode("latin-1")
        return None

    @staticmethod
    def dotted(node: ast.AST) -> str:
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            parts.append(node.id)
        return ".".join(reversed(parts))

    def source(self, node: ast.AST) -> tuple[str, str] | None:
        """Return (variable, kind) when the node fetches a super-server's variable."""
        key: ast.AST | None = None
        if isinstance(node, ast.Subscript) and self.dotted(node.value).split(".")[-1] in _ENVIRON:
            key = node.slice
        elif isinstance(node, ast.Call):
            name = self.dotted(node.func)
            last = name.split(".")[-1]
            getter = last in ("getenv", "getenvb", "get_env", "env_get") or (
                last in ("get", "pop") and len(name.split(".")) > 1 and name.split(".")[-2] in _ENVIRON
            )
            if getter and node.args:
                key = node.args[0]
        name_text = self.text(key)
        if name_text is None:
            return None
        kind = kind_of_variable(name_text)
        return (name_text, kind) if kind else None

    def kind(self, node: ast.AST | None) -> str | None:
        """Return the kind of value that the expression holds, or None."""
        if node is None:
            return None
        found = self.source(node)
        if found:
            return found[1]
        if isinstance(node, ast.Name):
            known = self.names.get((self.home(node.id, self.scopes.get(node)), node.id))
            if known:
                return known
            return "ip" if is_peerish(node.id) and self.unit.speaks_ucspi else None
        if isinstance(node, ast.Attribute):
            if node.attr in self.attributes:
                return self.attributes[node.attr]
            return "ip" if is_peerish(node.attr) and (self.unit.speaks_ucspi or node.attr == "remote_ip") else None
        if isinstance(node, ast.Call):
            name = self.dotted(node.func).split(".")[-1]
            if isinstance(node.func, ast.Attribute) and node.func.attr in _PASS_METHODS:
                return self.kind(node.func.value)
            if name in _PASS_CALLS and node.args:
                inner = self.kind(node.args[0])
                return inner if inner != "object" else "ip"
            if name in self.returns:
                return self.returns[name]
            if name in ("ip_address", "IPAddress") and node.args and self.kind(node.args[0]) == "ip":
                return "object"
            return None
        if isinstance(node, ast.BoolOp):
            return next((one for one in map(self.kind, node.values) if one), None)
        if isinstance(node, ast.IfExp):
            return self.kind(node.body) or self.kind(node.orelse)
        if isinstance(node, ast.NamedExpr):
            return self.kind(node.value)
        if isinstance(node, ast.JoinedStr) and len(node.values) == 1 and isinstance(node.values[0], ast.FormattedValue):
            return self.kind(node.values[0].value)
        return None

    def loose(self, node: ast.AST | None) -> str | None:
        """The same, and for variables that only sound like an address."""
        found = self.kind(node)
        if found:
            return found
        if isinstance(node, ast.Name) and is_ipish(node.id) and self.unit.in_scope:
            return "ip"
        if isinstance(node, ast.Attribute) and is_ipish(node.attr) and self.unit.in_scope:
            return "ip"
        return None

    def learn(self, node: ast.AST) -> None:
        scope = self.scopes[node]
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self.bind(target, node.value, scope)
            self.pattern(node)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            self.bind(node.target, node.value, scope)
        elif isinstance(node, ast.Return) and scope is not None:
            kind = self.kind(node.value)
            if kind and scope.name not in ("main",):
                self.returns.setdefault(scope.name, kind)
        elif isinstance(node, ast.Call):
            self.pass_arguments(node)

    def pattern(self, node: ast.Assign) -> None:
        if isinstance(node.value, ast.Call) and self.dotted(node.value.func).endswith("compile") and node.value.args:
            text = self.text(node.value.args[0])
            if text is not None:
                for target in node.targets:
                    self.patterns[self.dotted(target).split(".")[-1]] = text

    def bind(self, target: ast.AST, value: ast.AST, scope: FunctionNode | None) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, other in zip(target.elts, value.elts, strict=True):
                self.bind(one, other, scope)
            return
        kind = self.kind(value)
        if not kind:
            return
        if isinstance(target, ast.Name):
            self.names.setdefault((self.home(target.id, scope), target.id), kind)
        elif isinstance(target, ast.Attribute):
            self.attributes.setdefault(target.attr, kind)

    def pass_arguments(self, node: ast.Call) -> None:
        name = self.dotted(node.func).split(".")[-1]
        for function in self.functions.get(name, ()):
            listed = [one.arg for one in [*function.args.posonlyargs, *function.args.args]]
            if listed[:1] in (["self"], ["cls"]):
                listed = listed[1:]
            for one, argument in zip(listed, node.args, strict=False):
                kind = self.kind(argument)
                if kind:
                    self.names.setdefault((function, one), kind)
            for keyword in node.keywords:
                kind = self.kind(keyword.value)
                if keyword.arg and kind:
                    self.names.setdefault((function, keyword.arg), kind)

    # -- reporting

    def report(self, name: str, node: ast.AST, message: str) -> None:
        line = getattr(node, "lineno", 1)
        column = getattr(node, "col_offset", 0)
        if line > len(self.lines):
            return
        row = self.lines[line - 1]
        if not row.isascii():
            column = len(row.encode("utf-8", "replace")[:column].decode("utf-8", "replace"))
        start = self.unit.line_starts[line - 1]
        self.hits.setdefault(name, []).append(Hit(start + min(column, len(row)), message))

    def statement(self, node: ast.AST) -> ast.AST:
        while not isinstance(node, ast.stmt) and node in self.parents:
            node = self.parents[node]
        return node

    def segment(self, node: ast.AST) -> str:
        first, last = _rows(node)
        return "\n".join(self.lines[first - 1 : min(last, first + 60)])

    def scope_source(self, node: ast.AST) -> str:
        scope = self.scopes.get(node)
        return self.segment_all(scope) if scope is not None else self.unit.code

    def segment_all(self, node: ast.AST) -> str:
        starts = self.unit.line_starts
        first, last = _rows(node)
        return self.unit.code[starts[min(first, len(starts)) - 1] : starts[min(last, len(starts) - 1)]]

    def unmapped(self, node: ast.AST) -> bool:
        scope = self.scopes.get(node)
        if scope not in self.unmaps:
            self.unmaps[scope] = re.search(r"ipv4_mapped|\bsixtofour|ucspi_env\.", self.scope_source(node)) is not None
        return self.unmaps[scope]

    def outcome(self, node: ast.AST) -> str | None:
        """What follows when the test or parser at ``node`` fails."""
        current, negated = node, False
        while current in self.parents:
            parent = self.parents[current]
            if isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.Not):
                negated = not negated
            if isinstance(parent, ast.Compare) and any(
                isinstance(one, ast.Constant) and one.value is None for one in parent.comparators
            ):
                negated = isinstance(parent.ops[0], ast.Is | ast.Eq)
            if isinstance(parent, ast.If) and current is parent.test:
                return self.ending(parent.body) if negated else self.ending(parent.orelse)
            if isinstance(parent, ast.Try) and current in parent.body:
                for handler in parent.handlers:
                    ending = self.ending(handler.body)
                    if ending:
                        return ending
                return None
            if isinstance(parent, FunctionNode):
                return None
            current = parent
        return None

    @staticmethod
    def ending(body: list[ast.stmt]) -> str | None:
        for statement in body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Raise):
                    return "hard"
                if isinstance(node, ast.Call) and _Python.dotted(node.func).split(".")[-1] in _HARD_CALLS:
                    first = node.args[0] if node.args else None
                    if isinstance(first, ast.Constant) and first.value in (0, None):
                        return "skip"
                    return "hard" if node.args else "skip"
        if body and isinstance(body[-1], ast.Return | ast.Continue | ast.Break | ast.Pass):
            return "skip"
        return None

    # -- the rules

    def judge(self, node: ast.AST) -> None:
        if isinstance(node, ast.Call):
            self.judge_call(node)
        elif isinstance(node, ast.Compare):
            self.judge_compare(node)
        elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            self.judge_default(node)
        elif isinstance(node, ast.IfExp):
            self.judge_choice(node)
        elif isinstance(node, ast.BinOp):
            self.judge_binary(node)
        elif isinstance(node, ast.JoinedStr):
            self.judge_format(node, [self.piece(one) for one in node.values])
        elif isinstance(node, ast.Subscript):
            self.judge_subscript(node)
        elif isinstance(node, ast.Assign):
            self.judge_assign(node)
        elif isinstance(node, ast.If):
            self.judge_host(node)
        elif isinstance(node, ast.Attribute) and (
            node.attr in ("is_loopback", "is_private", "is_global", "is_link_local")
            and self.kind(node.value) == "object"
            and not self.unmapped(node)
        ):
            self.report(
                "mapped-not-normalised",
                node,
                f"`{node.attr}` of a mapped address says nothing about the IPv4 address",
            )

    def piece(self, node: ast.AST) -> str | ast.AST:
        text = self.text(node)
        if text is not None:
            return text
        return node.value if isinstance(node, ast.FormattedValue) else node

    def judge_call(self, node: ast.Call) -> None:
        name = self.dotted(node.func)
        last = name.split(".")[-1] if name else (node.func.attr if isinstance(node.func, ast.Attribute) else "")
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
        first = node.args[0] if node.args else None
        self.judge_method(node, last, receiver, first)
        self.judge_parser(node, name, last, first)
        self.judge_pattern(node, last, receiver)
        self.judge_paths(node, name, last, receiver, first)
        self.judge_shell(node, name)
        if last == "format" and receiver is not None:
            shape = self.text(receiver)
            if shape is not None:
                self.judge_format(node, self.fill(re.split(r"\{[^{}]*\}", shape), node.args))
        found = self.source(node)
        if (
            found
            and found[1] == "ip"
            and len(node.args) > 1
            and self.text(node.args[1]) in SENTINELS - {"0", "1.2.3.4"}
        ):
            self.report("sentinel-fallback", node, f"an unknown peer becomes {self.text(node.args[1])!r}")
        if (
            last in ("gethostbyname", "gethostbyname_ex")
            and self.text(first) is None
            and self.unit.speaks_ucspi
            and "AF_INET6" not in self.scope_source(node)
        ) and not (isinstance(first, ast.Call) and self.dotted(first.func).endswith("gethostname")):
            self.report("gethostbyname-a-only", node, f"`{last}` finds IPv4 addresses only")
        if last == "inet_ntoa" and self.unit.in_scope:
            self.report("af-inet-socket", node, "`inet_ntoa` knows IPv4 only")
        if (
            last in ("socket", "fromfd")
            and self.unit.in_scope
            and any(self.dotted(one).endswith("AF_INET") for one in node.args)
            and (last == "fromfd" or re.search(r"\.bind\(|\.listen\(", self.unit.code))
            and "AF_INET6" not in self.unit.code
            and "127.0.0.1" not in self.scope_source(node)
        ):
            self.report("af-inet-socket", node, "an IPv4 socket only")

    def judge_method(self, node: ast.Call, last: str, receiver: ast.AST | None, first: ast.AST | None) -> None:
        text = self.text(first)
        kind = self.kind(receiver) if receiver is not None else None
        weak = kind or (self.loose(receiver) if receiver is not None else None)
        if (
            last
            in ("split", "rsplit", "partition", "rpartition", "find", "index", "rfind", "rindex", "replace", "count")
            and text == "."
            and weak == "ip"
        ):
            around = self.segment(self.statement(node))
            scope = self.scope_source(node)
            reverse = re.search(r"\[::-1\]|reversed\(|\.reverse\(\)", around) or (
                re.search(r"(?i)dnsbl|\brbl|zen\.|blacklist|blocklist", scope)
                and re.search(r"\[::-1\]|reversed\(|\.reverse\(\)|\[3\].*\[2\]", scope)
            )
            if reverse:
                self.report(
                    "dnsbl-v4-reverse", node, "reverses the address at its dots; for IPv6 the block list is never asked"
                )
            elif kind or last in ("split", "rsplit"):
                self.report("dot-split", node, f"`{last}` cuts the address at its dots; IPv6 text has none")
        if last in ("split", "partition", "find", "index") and text == ":" and kind == "ip":
            self.report("first-colon-split", node, "cuts at the first colon, of which IPv6 text has many")
        if last == "startswith" and weak == "ip":
            texts = [text] if text is not None else [self.text(one) for one in getattr(first, "elts", [])]
            known = [one for one in texts if one]
            if any(is_prefix(one) or re.match(r"\d{1,3}\.", one) for one in known):
                self.report("prefix-string-match", node, f"matches a network by the leading text {known[0]!r}")
            elif any(one.lower().startswith("::ffff") for one in known):
                self.report(
                    "mapped-not-normalised", node, "knows one spelling of a mapped address; ::ffff:c000:201 is another"
                )
            elif kind == "ip" and not known and first is not None:
                self.report("prefix-string-match", node, "matches a network by leading text")
        if (
            last in ("replace", "removeprefix", "lstrip", "split")
            and text is not None
            and text.lower().startswith("::ffff")
            and weak == "ip"
        ):
            self.report(
                "mapped-not-normalised", node, "knows one spelling of a mapped address; ::ffff:c000:201 is another"
            )
        if kind == "host" and last in ("endswith", "startswith") and first is not None:
            self.report("remotehost-trust", node, "decides by the host name, which the peer chooses")
        if receiver is not None and isinstance(receiver, ast.Call):
            found = self.source(receiver)
            if found and found[1] in ("ip", "host") and len(receiver.args) < 2 and last != "get":
                self.report("missing-env", node, f"{found[0]} may be absent: None has no `{last}`")

    def judge_parser(self, node: ast.Call, name: str, last: str, first: ast.AST | None) -> None:
        kind = self.kind(first)
        weak = kind or self.loose(first)
        parser = None
        if (
            last in ("inet_aton", "ip2long", "ip2int", "inet_network", "ip_to_int", "dottedQuadToNum") and weak == "ip"
        ) or (
            last in ("IPv4Address", "IPv4Network", "IPv4Interface")
            and weak == "ip"
            and not re.search(r"IPv6Address|ip_address", self.scope_source(node))
        ):
            parser = last
        elif last == "inet_pton" and len(node.args) > 1 and self.loose(node.args[1]) == "ip":
            family = self.dotted(node.args[0]).split(".")[-1]
            if family == "AF_INET" and "AF_INET6" not in self.scope_source(node):
                parser = "inet_pton(AF_INET)"
            elif (
                family == "AF_INET6"
                and not re.search(r"%|zone|scope", self.scope_source(node))
                and self.kind(node.args[1])
            ):
                self.report("zone-id", node, "`inet_pton` refuses an address with a zone")
        if parser:
            parent = self.parents.get(node)
            if isinstance(parent, ast.Call) and self.dotted(parent.func).endswith("unpack"):
                self.report("int32-storage", parent, "four bytes: an IPv6 address has sixteen")
                return
            ending = self.outcome(node) if kind else None
            if ending == "skip":
                self.report("skipped-check", node, f"every address that `{parser}` cannot parse passes unchecked")
            elif ending == "hard":
                self.report("hard-fail-non-ipv4", node, f"gives up when `{parser}` cannot parse the address")
            else:
                self.report("inet-aton-family", node, f"`{parser}` understands IPv4 text only")
        if last == "int" and isinstance(first, ast.Call) and self.dotted(first.func).endswith("IPv4Address"):
            self.report("int32-storage", node, "the address becomes a 32-bit number")
        if (
            name.endswith(("struct.pack", "struct.unpack"))
            and self.text(first) in ("BBBB", "4B", "!BBBB", "!4B")
            and any(self.loose(one) == "ip" for argument in node.args for one in ast.walk(argument))
        ):
            self.report("int32-storage", node, "four bytes: an IPv6 address has sixteen")

    def judge_pattern(self, node: ast.Call, last: str, receiver: ast.AST | None) -> None:
        if last not in _REGEX_CALLS:
            return
        pattern: str | None = None
        subject: ast.AST | None = None
        if receiver is not None and self.dotted(receiver).split(".")[-1] == "re" and len(node.args) > 1:
            pattern, subject = self.text(node.args[0]), node.args[2 if last == "sub" and len(node.args) > 2 else 1]
        elif receiver is not None and node.args:
            name = self.dotted(receiver).split(".")[-1]
            pattern = self.patterns.get(name)
            subject = node.args[1 if last == "sub" and len(node.args) > 1 else 0]
            if isinstance(receiver, ast.Call) and self.dotted(receiver.func).endswith("compile") and receiver.args:
                pattern = self.text(receiver.args[0])
        if pattern is None or subject is None:
            return
        kind = self.kind(subject)
        if (kind or self.loose(subject)) != "ip":
            if kind == "host" and self.text(subject) is None:
                self.report("remotehost-trust", node, "decides by the host name, which the peer chooses")
            return
        sort = pattern_sort(pattern)
        if sort in ("quad", "class"):
            ending = self.outcome(node) if kind else None
            rule = {"skip": "skipped-check", "hard": "hard-fail-non-ipv4"}.get(ending or "", "ipv4-only-regex")
            parent = self.parents.get(node)
            if isinstance(parent, ast.Attribute) and parent.attr in ("group", "groups"):
                rule = "ipv4-only-regex"
            self.report(rule, node, "the pattern matches IPv4 text only")
        elif sort == "prefix":
            self.report("prefix-string-match", node, "matches a network by its leading text")
        elif sort == "address":
            self.report("string-equality-allowlist", node, "compares the spelling with one address")
        elif sort in ("mapped", "colon") and not self.unmapped(node):
            self.report("mapped-not-normalised", node, "knows one spelling of a mapped address")

    def judge_paths(
        self, node: ast.Call, name: str, last: str, receiver: ast.AST | None, first: ast.AST | None
    ) -> None:
        if (last == "join" and name.endswith("path.join") and any(self.kind(one) == "ip" for one in node.args[1:])) or (
            last in _PATH_CALLS and self.kind(first) == "ip"
        ):
            self.report("noncanonical-key", node, "raw address text is used as a file name")
        elif (
            last in ("get", "setdefault", "pop", "incr", "hget", "set", "setex", "zadd", "add")
            and receiver is not None
            and self.kind(first) == "ip"
        ):
            owner = self.dotted(receiver).split(".")[-1]
            if owner not in _ENVIRON and not (last == "add" and not _LISTY.search(owner)):
                self.report("noncanonical-key", node, "raw address text is used as a key")

    def judge_shell(self, node: ast.Call, name: str) -> None:
        shell = name in ("os.system", "os.popen", "commands.getoutput", "subprocess.getoutput") or any(
            one.arg == "shell" and isinstance(one.value, ast.Constant) and bool(one.value.value)
            for one in node.keywords
        )
        if shell and node.args and self.inside(node.args[0]) and not isinstance(node.args[0], ast.List):
            self.report("shell-unquoted", node, "the value becomes part of a shell command")

    def inside(self, node: ast.AST, kinds: tuple[str, ...] = ("ip", "host", "info")) -> bool:
        return any(self.kind(one) in kinds for one in ast.walk(node))

    def judge_compare(self, node: ast.Compare) -> None:
        if len(node.ops) != 1:
            return
        left, right, operator = node.left, node.comparators[0], node.ops[0]
        for one, other in ((left, right), (right, left)):
            kind = self.kind(one)
            text = self.text(other)
            if isinstance(operator, ast.Eq | ast.NotEq):
                if kind == "proto" and text is not None and re.fullmatch(r"(?:TCP|SSL)6?", text):
                    self.report("proto-gate", one, f"PROTO is compared with {text!r}; it does not tell the family")
                if (
                    (kind == "ip" or (self.loose(one) == "ip" and text is not None))
                    and text is not None
                    and is_address(text)
                ):
                    self.report("string-equality-allowlist", node, f"compares the spelling with {text!r}")
                    return
                if kind == "host" and text is not None and "." in text and not is_address(text):
                    self.report("remotehost-trust", node, "decides by the host name, which the peer chooses")
                if (
                    kind == "ip"
                    and text is None
                    and not isinstance(other, ast.Constant)
                    and one is left
                    and self.other_address(other)
                ):
                    self.report("string-equality-allowlist", node, "compares two spellings; one address has many")
                    return
        if (
            isinstance(operator, ast.Eq | ast.NotEq)
            and isinstance(left, ast.Subscript)
            and isinstance(left.slice, ast.Slice)
            and self.loose(left.value) == "ip"
            and is_prefix(self.text(right) or "")
        ):
            self.report("prefix-string-match", node, f"matches a network by the leading text {self.text(right)!r}")
        if isinstance(operator, ast.In | ast.NotIn):
            self.judge_in(node, left, right)

    def other_address(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            word = self.dotted(node) or self.dotted(getattr(node, "value", node))
            return (
                self.loose(node) == "ip"
                or re.search(r"(?i)ip|addr|host|line|entry|allow|deny|client|peer", word) is not None
            )
        return False

    def judge_in(self, node: ast.Compare, left: ast.AST, right: ast.AST) -> None:
        text = self.text(left)
        if text in (":", "::") and self.loose(right) == "ip" and not self.unmapped(node):
            self.report(
                "mapped-not-normalised", node, "a mapped IPv4 address has colons as well: this takes it for IPv6"
            )
        elif text is not None and text.lower().startswith("::ffff") and self.loose(right) == "ip":
            self.report(
                "mapped-not-normalised", node, "knows one spelling of a mapped address; ::ffff:c000:201 is another"
            )
        elif text == "." and self.kind(right) == "ip":
            self.report(
                "mapped-not-normalised", node, "a dot does not tell the families apart: ::ffff:192.0.2.1 has dots too"
            )
        kind = self.kind(left)
        if (
            kind == "proto"
            and isinstance(right, ast.Tuple | ast.List | ast.Set)
            and any(re.fullmatch(r"(?:TCP|SSL)6?", self.text(one) or "") for one in right.elts)
        ):
            self.report("proto-gate", left, "PROTO is compared with fixed words; it does not tell the family")
        if kind == "object" and not self.unmapped(node):
            self.report("mapped-not-normalised", node, "a mapped address lies in no IPv4 network")
        if kind == "host" and (isinstance(right, ast.Tuple | ast.List | ast.Set) or _LISTY.search(self.dotted(right))):
            self.report("remotehost-trust", node, "decides by the host name, which the peer chooses")
        if kind != "ip" or self.source(right):
            return
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            texts = [self.text(one) or "" for one in right.elts]
            if any(is_address(one) for one in texts) or any(self.text(one) is None for one in right.elts):
                self.report("string-equality-allowlist", node, "looks for one spelling in a list; one address has many")
            return
        word = self.dotted(right) or (self.dotted(right.func) if isinstance(right, ast.Call) else "")
        if isinstance(right, ast.Call) and word.endswith(("read", "readlines")):
            self.report(
                "substring-match" if word.endswith("read") else "string-equality-allowlist",
                node,
                "finds the address inside other addresses as well",
            )
        elif (
            isinstance(right, ast.Name | ast.Attribute)
            and _TEXTY.search(word.split(".")[-1])
            and not _LISTY.search(word.split(".")[-1])
        ):
            self.report("substring-match", node, "finds the address inside other addresses as well")
        elif word.split(".")[-1] not in _ENVIRON:
            self.report("string-equality-allowlist", node, "looks for one spelling in a list; one address has many")

    def judge_default(self, node: ast.BoolOp) -> None:
        text = self.text(node.values[-1])
        if text in SENTINELS - {"0", "1.2.3.4"} and any(self.loose(one) == "ip" for one in node.values[:-1]):
            self.report("sentinel-fallback", node, f"an unknown peer becomes {text!r}")

    def judge_choice(self, node: ast.IfExp) -> None:
        for one, other in ((node.body, node.orelse), (node.orelse, node.body)):
            text = self.text(one)
            if text in SENTINELS - {"0", "1.2.3.4"} and self.kind(other) == "ip":
                self.report("sentinel-fallback", one, f"an unknown peer becomes {text!r}")

    def judge_assign(self, node: ast.Assign) -> None:
        text = self.text(node.value)
        if text in SENTINELS - {"0", "1.2.3.4"}:
            parent = self.parents.get(node)
            conditional = isinstance(parent, ast.If | ast.ExceptHandler | ast.Try)
            for target in node.targets:
                if conditional and self.kind(target) == "ip":
                    self.report("sentinel-fallback", node, f"an unknown peer becomes {text!r}")
        for target in node.targets:
            if (
                isinstance(target, ast.Subscript)
                and self.text(target.slice) == "TCPREMOTEIP"
                and self.text(node.value) is None
            ) and (
                re.search(r"\bexec[lv]|subprocess|os\.spawn", self.unit.code) and "TCP6REMOTEIP" not in self.unit.code
            ):
                self.report(
                    "wrong-variable-family",
                    node,
                    "TCPREMOTEIP is rewritten, TCP6REMOTEIP and the rest keep the old peer",
                )
        if isinstance(node.value, ast.Call):
            called = self.dotted(node.value.func).split(".")[-1]
            names = [self.dotted(target).split(".")[-1] for target in node.targets]
            if called in (
                "String",
                "VARCHAR",
                "Unicode",
                "CHAR",
                "CharField",
                "Column",
                "mapped_column",
                "StringField",
            ) and any(is_ipish(one) for one in names):
                for one in ast.walk(node.value):
                    if (
                        isinstance(one, ast.Constant)
                        and isinstance(one.value, int)
                        and not isinstance(one.value, bool)
                        and 7 <= one.value < 39
                    ):
                        self.report("db-column-too-short", node, f"{one.value} characters: IPv6 text has up to 45")
                        break

    def judge_host(self, node: ast.If) -> None:
        test = node.test
        absent = None
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            absent = test.operand
        elif (
            isinstance(test, ast.Compare)
            and len(test.comparators) == 1
            and isinstance(test.comparators[0], ast.Constant)
            and test.comparators[0].value in (None, "")
        ):
            absent = test.left
        if absent is not None and self.kind(absent) == "host":
            rejects = any(
                re.match(r"\s*[ER]?[45]\d\d", self.text(one) or "")
                for statement in node.body
                for one in ast.walk(statement)
            )
            if rejects or self.ending(node.body) == "hard":
                self.report("remotehost-trust", test, "refuses a peer because it has no host name")

    def judge_subscript(self, node: ast.Subscript) -> None:
        if (
            self.kind(node.slice) == "ip"
            and self.dotted(node.value).split(".")[-1] not in _ENVIRON
            and not isinstance(node.slice, ast.Slice)
        ):
            self.report("noncanonical-key", node, "raw address text is used as a key")
        key = node.slice
        if self.dotted(node.value).split(".")[-1] in _ENVIRON:
            self.judge_glued(node, key)
        if (
            isinstance(key, ast.Slice)
            and isinstance(key.lower, ast.Constant)
            and key.lower.value == 7
            and self.kind(node.value) == "ip"
            and "::ffff" not in self.segment(self.statement(node))
        ):
            self.report("mapped-not-normalised", node, "cuts seven characters off whatever the spelling is")

    def judge_glued(self, node: ast.AST, key: ast.AST) -> None:
        texts = [self.text(one) or "" for one in ast.walk(key)]
        if (
            self.text(key) is None
            and any(kind_of_tail(one) for one in texts)
            and not re.search(r"for\s+\w+\s+in\s*[(\[]", self.scope_source(node))
        ):
            self.report("proto-prefix-no-fallback", node, "the name is made of PROTO and nothing else is tried")

    def judge_binary(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Mod):
            shape = self.text(node.left)
            if shape is not None:
                values = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
                self.judge_format(node, self.fill(re.split(r"%[-#0-9.]*(?:\(\w+\))?[srdixu]", shape), values))
        elif isinstance(node.op, ast.Add):
            if not (
                isinstance(self.parents.get(node), ast.BinOp)
                and isinstance(getattr(self.parents[node], "op", None), ast.Add)
            ):
                self.judge_format(node, [self.piece(one) for one in self.flat(node)])
            for one in (node.left, node.right):
                found = self.source(one)
                if found and isinstance(one, ast.Call) and found[1] in ("ip", "host") and len(one.args) < 2:
                    self.report("missing-env", one, f"{found[0]} may be absent: None cannot be concatenated")
        elif isinstance(node.op, ast.Div) and self.kind(node.right) == "ip":
            self.report("noncanonical-key", node, "raw address text is used as a file name")

    def flat(self, node: ast.AST) -> list[ast.AST]:
        parts: list[ast.AST] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            parts.append(node.right)
            node = node.left
        parts.append(node)
        return parts[::-1]

    @staticmethod
    def fill(texts: list[str], values: list[ast.expr]) -> list[str | ast.AST]:
        pieces: list[str | ast.AST] = []
        for index, text in enumerate(texts):
            pieces.append(text)
            if index < len(texts) - 1 and index < len(values):
                pieces.append(values[index])
        return pieces

    def judge_format(self, node: ast.AST, pieces: list[str | ast.AST]) -> None:
        pieces = [one for one in pieces if one != ""]
        for index, one in enumerate(pieces):
            if isinstance(one, str):
                continue
            kind = self.kind(one)
            if kind not in ("ip", "host", "info"):
                continue
            before = pieces[index - 1] if index else ""
            after = pieces[index + 1] if index + 1 < len(pieces) else ""
            whole = "".join(piece if isinstance(piece, str) else "?" for piece in pieces)
            if SQL.search(whole):
                self.report("sql-interpolation", node, "the value is pasted into SQL")
                return
            if kind != "ip":
                continue
            if isinstance(before, str) and re.search(r"https?://\Z", before):
                self.report("address-literal-brackets", node, "an IPv6 address in a URL needs brackets")
                return
            if isinstance(before, str) and re.search(r"@\[\Z|(?:HELO|EHLO) \[?\Z", before):
                self.report("address-literal-brackets", node, "an IPv6 literal needs [IPv6:…]")
                return
            if (
                isinstance(before, str)
                and before.endswith("/")
                and "://" not in before
                and " " not in whole
                and self.goes_to_path(node)
            ):
                self.report("noncanonical-key", node, "raw address text is used as a file name")
                return
            if (
                isinstance(after, str)
                and len(
                    [
                        piece
                        for piece in pieces
                        if isinstance(piece, str) and piece.startswith(":") and not piece.startswith(": ")
                    ]
                )
                >= 3
            ):
                self.report(
                    "log-delimiter-collision", node, "the address adds colons to a line that is separated by colons"
                )
                return
            if after == ":" and index + 2 < len(pieces) and not (isinstance(before, str) and before.endswith("[")):
                following = pieces[index + 2]
                if isinstance(following, ast.AST) and re.search(r"(?i)port", ast.dump(following)):
                    self.report(
                        "host-port-colon-join",
                        node,
                        "IPv6 text ends in `:25` as well: without brackets nobody can take this apart",
                    )
                    return

    def goes_to_path(self, node: ast.AST) -> bool:
        parent = self.parents.get(node)
        if isinstance(parent, ast.Call):
            return self.dotted(parent.func).split(".")[-1] in _PATH_CALLS | {"Path", "access", "listdir"}
        if isinstance(parent, ast.Assign):
            return any(re.search(r"(?i)path|file|dir|name|fn\b|key", self.dotted(target)) for target in parent.targets)
        return False

    def judge_families(self) -> None:
        reads: dict[str, list[ast.AST]] = {}
        for node in self.nodes:
            found = self.source(node)
            if found and "REMOTEIP" in found[0]:
                reads.setdefault(found[0], []).append(node)
            if isinstance(node, ast.Call):
                name = self.dotted(node.func).split(".")[-1]
                if name in ("getenv", "get") and node.args:
                    self.judge_glued(node, node.args[0])
        six = [node for name in ("TCP6REMOTEIP", "SSLREMOTEIP", "SSL6REMOTEIP") for node in reads.get(name, [])]
        four = reads.get("TCPREMOTEIP", [])
        seen: set[int] = set()
        for node in sorted(six, key=lambda one: getattr(one, "lineno", 0)):
            line = getattr(node, "lineno", 0)
            if line in seen or line - 1 in seen:
                continue
            if not four:
                self.report("wrong-variable-family", node, "read alone: many super-servers never set it")
                seen.add(line)
                continue
            assigned = isinstance(self.statement(node), ast.Assign) and not isinstance(
                self.parents.get(node), ast.BoolOp
            )
            before = any(getattr(one, "lineno", 0) > line for one in four) and not any(
                getattr(one, "lineno", 0) <= line for one in four
            )
            if assigned or before:
                self.report(
                    "wrong-variable-family", node, "it may be left over from an outer server, and is believed here"
                )
                seen.add(line)


def python_hits(unit: Unit) -> dict[str, list[Hit]]:
    """Return the hits per rule for a Python file."""
    hits: dict[str, list[Hit]] = {}
    # What needs no flow is found in the text like everywhere else.
    for name in ("db-column-too-short", "v4-protocol-field", "v4-netmask-math", "v4-only-library"):
        hits[name] = list(RULES[name].check(unit))
    tree = _parse(unit.text)
    if tree is not None:
        for name, found in _Python(unit, tree).run().items():
            hits.setdefault(name, []).extend(found)
    return hits


__all__ = ["python_hits"]
