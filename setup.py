"""Where the packages are: the folders golden, rtl, sim and sched, with all below, as mensa.*."""

from setuptools import find_packages, setup

FOLDERS = [
    ".".join(filter(None, (top, below)))
    for top in ("golden", "rtl", "sim", "sched")
    for below in ("", *find_packages(top))
]

setup(
    packages=[f"mensa.{folder}" for folder in FOLDERS],
    package_dir={f"mensa.{folder}": folder.replace(".", "/") for folder in FOLDERS},
)
