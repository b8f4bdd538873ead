"""Custom operators that are a compiler's output: a part of a network, in one device's own code."""

from __future__ import annotations

_PREFIX = "CUSTOM:"
_WANTED = "what is wanted is the .tflite file that the compiler was given"

_PHONE = "a phone's NPU (ahead of time, by LiteRT's compiler plugins)"
_XCORE = "an XMOS xcore (by xmos-ai-tools)"

#: By the custom operator's name, what it was compiled for.
DEVICES = {
    "edgetpu-custom-op": "an Edge TPU (by edgetpu_compiler)",
    "ethos-u": "an Arm Ethos-U (by Vela)",
    "NeutronGraph": "an NXP eIQ Neutron NPU (by neutron-converter)",
    "DISPATCH_OP": _PHONE,
    "vsi-npu": "a VeriSilicon NPU",
}

#: The same by the beginning of a name, which others may choose, too.
PROBABLE_DEVICES = {"DISPATCH_OP_": _PHONE, "XC_": _XCORE}


def why_compiled(op: str) -> str | None:
    """Why an operator of this name can't be computed, None for one that is no compiler's.

    Parameters: `op` as in `Operator.op`.
    """
    name = op.removeprefix(_PREFIX)
    if name == op:
        return None
    if name in DEVICES:
        device = DEVICES[name]
        return f"this network was compiled for {device}, whose code this operator holds; {_WANTED}"
    for begin, probable in PROBABLE_DEVICES.items():
        if name.startswith(begin):
            return (
                "this operator is not supported; by its name, this network was probably compiled "
                f"for {probable}: then {_WANTED}"
            )
    return None
