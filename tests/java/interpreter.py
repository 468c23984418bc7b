"""LiteRT at the other end of a pipe: the model, then inputs again and again; each block has its size before it.

Its only argument is `xnnpack` or `plain`.
"""

import struct
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

into, out = sys.stdin.buffer, sys.stdout.buffer


def block() -> bytes:
    (size,) = struct.unpack(">i", into.read(4))
    return into.read(size)


kinds = {"xnnpack": OpResolverType.AUTO, "plain": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
model = Interpreter(model_content=block(), experimental_op_resolver_type=kinds[sys.argv[1]])
model.allocate_tensors()
inputs, outputs = model.get_input_details(), model.get_output_details()
while into.peek(1):
    for one in inputs:
        model.set_tensor(one["index"], np.frombuffer(block(), one["dtype"]).reshape(one["shape"]))
    model.invoke()
    for one in outputs:
        data = model.get_tensor(one["index"]).tobytes()
        out.write(struct.pack(">i", len(data)) + data)
    out.flush()
