"""The towers of an exported model, with torch and numpy and nothing else.

    architecture, weights = read("output/model")
    users = encode("query", {"user_id": user_ids, ...}, architecture, weights)   # [users, dim]
    items = encode("item", {"item_id": item_ids, ...}, architecture, weights)    # [items, dim]
    scores = users @ items.T

Columns of ids are int64 tensors: [batch], or for lists [batch, length] padded with 0; columns of numbers are float32:
[batch], or [batch, width].
"""

import json
import pathlib

import numpy
import torch


ACTIVATIONS = {
    "relu": torch.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "elu": torch.nn.functional.elu,
    "tanh": torch.tanh,
}


def read(folder):
    """The architecture of a model that ModelExport wrote, and its weights by name."""
    data = pathlib.Path(folder, "weights.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    weights = {}
    for name, tensor in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, last = (start + offset for offset in tensor["data_offsets"])
            values = numpy.frombuffer(data[first:last], dtype="<f4").reshape(tensor["shape"])
            weights[name] = torch.from_numpy(values.copy())
    return json.loads(pathlib.Path(folder, "model.json").read_text())["architecture"], weights


def encode(side, columns, architecture, weights):
    """The embeddings of rows by the tower `side`, `query` or `item`."""
    shape, parts = architecture[side], []
    for e in shape["embeddings"]:
        table = weights[e.get("table", f"{side}.embedding.{e['column']}")]
        attention = weights.get(f"{side}.attention.{e['column']}")
        parts.append(pooled(table, columns[e["column"]], e["pooling"], attention))
    layers = len(shape["layers"])
    numbers = [columns[n["column"]].float().reshape(-1, n["width"]) for n in shape.get("numbers", [])]
    x = torch.cat(parts + numbers, 1) if layers else torch.stack(parts).sum(0)
    for layer in range(layers):
        x = torch.nn.functional.linear(x, weights[f"{side}.layers.{layer}.weight"], weights[f"{side}.layers.{layer}.bias"])
        x = ACTIVATIONS[shape.get("activation", "relu")](x) if layer + 1 < layers else x
    return torch.nn.functional.normalize(x) if architecture["normalize"] == "l2" else x


def pooled(table, ids, pooling, attention):
    """The embeddings of the ids of each row, as one: 0 is padding and left out."""
    ids = ids.reshape(len(ids), -1)
    rows, present = table[ids], (ids != 0).unsqueeze(-1)
    if pooling == "attention":
        fit = (rows @ attention).unsqueeze(-1).masked_fill(~present, -torch.inf)
        return (rows * fit.softmax(1).nan_to_num(0)).sum(1)
    if pooling == "max":
        highest = rows.masked_fill(~present, -torch.inf).amax(1)
        return highest.masked_fill(~present.any(1), 0)
    total = (rows * present).sum(1)
    return total / present.sum(1).clamp(min=1) if pooling == "mean" else total
