"""TensorFlow Lite Micro and LiteRT's BUILTIN_REF, each in a process of its own.

Oracles can abort on a strange file and take their process with them, so one worker per oracle
holds the interpreter; when it dies, only the answer is lost. ``python oracles.py tflm`` or
``... litert`` is a worker: it reads pickled requests from standard input and writes pickled
answers to standard output.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import select
import subprocess
import sys
from typing import IO, Any

import numpy as np

PACKAGES = {"tflm": "tflite_micro", "litert": "ai_edge_litert"}
# Longest that one request may take; the largest one here takes about a second.
_TIMEOUT_S = 120


class OracleError(Exception):
    """The oracle refused the file or died over it."""


def available(name):
    """Whether the wheel of the oracle `name` is installed."""
    return importlib.util.find_spec(PACKAGES[name]) is not None


class Oracle:
    """One oracle, asked to run files and give back every tensor.

    Parameters
    ----------
    name : "tflm" or "litert"
        Which oracle.
    """

    def __init__(self, name):
        self.name = name
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Ends the worker."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                pipe.close()
            self._process = None

    def run(self, data, inputs, indices):
        """Tensors `indices` after each of `inputs`, in order, on a fresh interpreter.

        Parameters: `data` bytes of a .tflite file, `inputs` a list of lists of arrays.
        Returns: a list of dicts by tensor index. Raises: OracleError.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__, self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        try:
            pickle.dump((data, inputs, indices), self._process.stdin)
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], _TIMEOUT_S)[0]:
                raise OracleError(f"{self.name} gave no answer within {_TIMEOUT_S} s")
            kind, answer = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError) as error:
            code = self._process.poll()
            self.close()
            raise OracleError(f"{self.name}'s process died (exit code {code})") from error
        except OracleError:
            self.close()
            raise
        if kind == "error":
            raise OracleError(f"{self.name}: {answer}")
        return answer


def _run_litert(data, inputs, indices):
    from ai_edge_litert import interpreter as litert

    interpreter = litert.Interpreter(
        model_content=data,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    places = [detail["index"] for detail in interpreter.get_input_details()]
    results = []
    for arrays in inputs:
        for place, array in zip(places, arrays, strict=True):
            interpreter.set_tensor(place, array)
        interpreter.invoke()
        results.append({index: interpreter.get_tensor(index).copy() for index in indices})
    return results


def _run_tflm(data, inputs, indices):
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(
        data,
        arena_size=len(data) + (64 << 20),
        intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors,
    )
    results = []
    for arrays in inputs:
        for place, array in enumerate(arrays):
            interpreter.set_input(array, place)
        interpreter.invoke()
        tensors = {index: interpreter.GetTensor(index, 0) for index in indices}
        results.append({i: np.array(tensor["tensor_data"]) for i, tensor in tensors.items()})
    return results


def _serve(name, requests: IO[Any], answers: IO[Any]):
    work = {"tflm": _run_tflm, "litert": _run_litert}[name]
    while True:
        try:
            data, inputs, indices = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = ("ok", work(data, inputs, indices))
        except Exception as error:
            answer = ("error", f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    # The oracles print to standard output; keep it for answers alone.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _serve(sys.argv[1], sys.stdin.buffer, channel)
