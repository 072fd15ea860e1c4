"""Triton's rules for ``config.pbtxt``, as far as we write any, apart from the code that writes it.

The grammar is protobuf's own reader of its text format: an unknown field, a field given twice, or a value of another type fails. The
messages below are those of ``ModelConfig`` (model_config.proto of Triton Inference Server) that a plain model may have; what Triton
checks beyond the grammar is ``checked``.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

_FIELD = descriptor_pb2.FieldDescriptorProto
# message -> field -> (number, type, repeated); a type in capitals is an enum, with a dot a message.
_MESSAGES = {
    "ModelConfig": {
        "name": (1, "string", False),
        "platform": (2, "string", False),
        "backend": (17, "string", False),
        "max_batch_size": (4, "int32", False),
        "input": (5, ".ModelInput", True),
        "output": (6, ".ModelOutput", True),
        "instance_group": (7, ".ModelInstanceGroup", True),
        "default_model_filename": (8, "string", False),
        "dynamic_batching": (11, ".ModelDynamicBatching", False),
        "parameters": (14, ".Parameter", True),  # a map, which is a list of these
    },
    "ModelInput": {
        "name": (1, "string", False),
        "data_type": (2, "DataType", False),
        "dims": (4, "int64", True),
    },
    "ModelOutput": {
        "name": (1, "string", False),
        "data_type": (2, "DataType", False),
        "dims": (3, "int64", True),
    },
    "ModelInstanceGroup": {"kind": (4, "Kind", False), "count": (2, "int32", False)},
    "ModelDynamicBatching": {
        "preferred_batch_size": (1, "int32", True),
        "max_queue_delay_microseconds": (2, "uint64", False),
    },
    "Parameter": {"key": (1, "string", False), "value": (2, ".ModelParameter", False)},
    "ModelParameter": {"string_value": (1, "string", False)},
}
_ENUMS = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP32": 11},
    "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3},
}
_SCALARS = {"string": _FIELD.TYPE_STRING, "int32": _FIELD.TYPE_INT32, "int64": _FIELD.TYPE_INT64, "uint64": _FIELD.TYPE_UINT64}  # fmt: skip


def parse(text: str) -> Any:
    """Returns the ModelConfig; raises text_format.ParseError where ``text`` is none."""
    return text_format.Parse(text, _CONFIG())


def checked(config: Any, folder: str) -> dict[str, Any]:
    """Asserts what Triton does when it loads the model of ``folder``; returns the parameters."""
    assert config.name == folder, "the name is that of the folder"
    assert config.backend
    assert config.max_batch_size > 0, "dims are without the batch"
    for tensors in (config.input, config.output):
        assert tensors
        for tensor in tensors:
            assert tensor.name
            assert tensor.data_type
            assert tensor.dims
            assert all(size == -1 or size > 0 for size in tensor.dims)
    assert all(group.count > 0 for group in config.instance_group)
    for size in config.dynamic_batching.preferred_batch_size:
        assert 0 < size <= config.max_batch_size
    keys = [parameter.key for parameter in config.parameters]
    assert len(set(keys)) == len(keys), "a map has no key twice"
    return {p.key: p.value.string_value for p in config.parameters}


def _made() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            if kind in _SCALARS:
                made.type = _SCALARS[kind]
            else:
                made.type = _FIELD.TYPE_MESSAGE if kind[0] == "." else _FIELD.TYPE_ENUM
                made.type_name = kind if kind[0] == "." else f".{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ModelConfig"))


_CONFIG = _made()
