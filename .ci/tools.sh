#!/bin/sh
# Says which tools of the system are missing, and the Debian package of each. PYTHON names the interpreter;
# with the argument `test`, those that only tests need are looked for, too.

python=${PYTHON:-python3}
missing=
needs() { # program, Debian package
    command -v "$1" >/dev/null 2>&1 || missing="$missing\n  $1: apt install $2"
}

if ! command -v "$python" >/dev/null 2>&1; then
    missing="$missing\n  $python: apt install python3 python3-venv"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    missing="$missing\n  Python of at least 3.11 ($python is $("$python" -c 'import platform; print(platform.python_version())')): apt install python3.11 python3.11-venv, then make PYTHON=python3.11"
elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    missing="$missing\n  Python's venv: apt install $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
fi
needs g++ g++
needs make make
needs perl perl
test "$1" != test || needs iverilog iverilog

if [ -n "$missing" ]; then
    printf 'mensa: error: missing tools (Debian and Ubuntu packages):%b\n' "$missing" >&2
    exit 1
fi
