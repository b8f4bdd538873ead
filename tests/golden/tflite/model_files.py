"""Changing what golden does not write in the bytes of a .tflite file."""

import flatbuffers
import pytest


def changed(data, change):
    """The file after `change` of its model, an object of the schema's own `ModelT`."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    change(model, schema)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
