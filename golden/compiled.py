"""Custom operators that are a compiler's output: a part of a network, in one device's own code."""

from __future__ import annotations

_PREFIX = "CUSTOM:"

#: By the beginning of the custom operator's name, what it was compiled for.
DEVICES = {
    "edgetpu-custom-op": "an Edge TPU (by edgetpu_compiler)",
    "ethos-u": "an Arm Ethos-U (by Vela)",
    "NeutronGraph": "an NXP eIQ Neutron NPU (by neutron-converter)",
    "DISPATCH_OP": "a phone's NPU (ahead of time, by LiteRT's compiler plugins)",
    "vsi-npu": "a VeriSilicon NPU",
    "XC_": "an XMOS xcore (by xmos-ai-tools)",
}


def why_compiled(op: str) -> str | None:
    """Why an operator of this name can't be computed, None for one that is no compiler's.

    Parameters: `op` as in `Operator.op`.
    """
    name = op.removeprefix(_PREFIX)
    if name == op:
        return None
    for begin, device in DEVICES.items():
        if name.startswith(begin):
            return (
                f"this network was compiled for {device}, whose code this operator holds; "
                "what is wanted is the .tflite file that the compiler was given"
            )
    return None
