"""Writes quantized.safetensors: matrices and what bitsandbytes (0.50.2, on the CPU) makes of them in NF4 and int8.

    python make_quantized.py        needs torch, bitsandbytes and safetensors

For each case NAME: NAME.values f32 [rows, columns]; NAME.nf4.codes u8, two a byte; NAME.nf4.absmax f32 [blocks];
NAME.nf4.values f32, dequantised; and the same of int8, whose blocks are bitsandbytes' rows.
"""
import os

import bitsandbytes.functional as functional
import torch
from safetensors.torch import save_file

BLOCK = 64
HERE = os.path.dirname(os.path.abspath(__file__))


def cases():
    generator = torch.Generator().manual_seed(7)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    code = functional.get_4bit_type("nf4", device="cpu")
    middles = (code[1:] + code[:-1]) / 2
    halves = torch.arange(-126.5, 127)  # ties of int8, once 127 is in the block
    ties = torch.zeros(6, BLOCK)
    ties[0, :15], ties[0, 63] = middles, 1.0
    ties[1, :15], ties[1, 20] = torch.nextafter(middles, torch.tensor(2.0)), -1.0
    ties[2, :15], ties[2, 20] = torch.nextafter(middles, torch.tensor(-2.0)), 1.0
    for row in range(3):
        ties[3 + row, :63], ties[3 + row, 63] = halves[row * 63 : row * 63 + 63], 127.0
    zeros = normal(4, BLOCK)
    zeros[1] = 0.0
    zeros[2, ::2] = -0.0
    return {
        "normal": 0.02 * normal(37, 192),
        "outliers": normal(9, 128) ** 5,
        "ties": ties,
        "zeros": zeros,
        "extremes": torch.stack([normal(BLOCK) * 1e30, normal(BLOCK) * 1e-30, torch.full((BLOCK,), -3.25)]),
        "awkward": normal(11, 31),  # 341 numbers: the last block has 21, the last byte one code
    }


def nf4(values):
    packed, state = functional.quantize_4bit(values, blocksize=BLOCK, quant_type="nf4")
    return packed.reshape(-1), state.absmax, functional.dequantize_4bit(packed, state)


def int8(values):
    flat = values.reshape(-1)
    blocks = (flat.numel() + BLOCK - 1) // BLOCK
    padded = torch.zeros(blocks * BLOCK)
    padded[: flat.numel()] = flat
    codes, absmax, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(padded.reshape(blocks, BLOCK))
    read = torch.ops.bitsandbytes.int8_vectorwise_dequant(codes, absmax)
    return codes.reshape(-1)[: flat.numel()], absmax, read.reshape(-1)[: flat.numel()].reshape(values.shape)


def main():
    tensors = {}
    for name, values in cases().items():
        tensors[f"{name}.values"] = values
        for kind, quantize in (("nf4", nf4), ("int8", int8)):
            codes, absmax, read = quantize(values)
            tensors[f"{name}.{kind}.codes"] = codes.view(torch.uint8).contiguous()
            tensors[f"{name}.{kind}.absmax"] = absmax.contiguous()
            tensors[f"{name}.{kind}.values"] = read.contiguous()
    save_file(tensors, os.path.join(HERE, "quantized.safetensors"))


main()
