"""The same command lines, run by us and by Debian's ucspi-tcp-ipv6.

`table` has the rows, `harness` runs one and says what could be seen of it, `golden.json` is what Debian's binaries did,
`differences` says where and why we do something else, and `document` makes docs/differences.md of all of it::

    python -m tests.differential            write docs/differences.md
    python -m tests.differential record     run the rows with Debian's binaries and write golden.json
    python -m tests.differential accept     run them with ours and write what differs, ours.json: read the diff!
    python -m tests.differential try NAME…  run rows with both and show the differences
"""
