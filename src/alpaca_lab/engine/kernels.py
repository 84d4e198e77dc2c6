"""The Triton kernels of `steps`. Sums are taken in float32, whatever the tensors hold."""

import triton
import triton.language as tl


@triton.jit
def add_norm(
    x, delta, weight, bias, out, width, eps,
    ADDS: tl.constexpr, CENTRED: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Add delta to x in place, and write x normalised. Grid: (rows,)."""
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, TILE)
    inside = i < width
    value = tl.load(x + row * width + i, mask=inside, other=0.0)
    if ADDS:
        added = tl.load(delta + row * width + i, mask=inside, other=0.0).to(tl.float32)
        value = (value.to(tl.float32) + added).to(value.dtype)
        tl.store(x + row * width + i, value, mask=inside)
    wide = value.to(tl.float32)
    if CENTRED:
        wide = tl.where(inside, wide - tl.sum(wide, 0) / width, 0.0)
    scaled = wide * tl.rsqrt(tl.sum(wide * wide, 0) / width + eps)
    scaled *= tl.load(weight + i, mask=inside, other=0.0).to(tl.float32)
    if CENTRED:
        scaled += tl.load(bias + i, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + i, scaled, mask=inside)


@triton.jit
def place(
    qkv, qkv_row, cos, sin, position, column, q, keys, values, inner, inner_row, width,
    HQ: tl.constexpr, HKV: tl.constexpr, D: tl.constexpr, half,
    HEADS: tl.constexpr, HALF: tl.constexpr, REST: tl.constexpr,
    TILES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Turn a row's queries and keys; write its keys and values to their column.

    And to `inner`, GELU of `width` values that follow them. Grid: (rows, TILES tiles of heads:
    queries, then keys, then values; after these, tiles of what follows).
    """
    row, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    if tile >= TILES:
        begin = (tile - TILES) * TILE
        behind = qkv + row * qkv_row + (HQ + 2 * HKV) * D + begin
        _gelu(behind, inner + row * inner_row + begin, width - begin, TILE)
        return
    head = (tile * HEADS + tl.arange(0, HEADS))[:, None]
    place_in_row = tl.load(position + row).to(tl.int64)
    home = tl.load(column + row).to(tl.int64) * HKV * D
    is_q = head < HQ
    is_k = (head >= HQ) & (head < HQ + HKV)
    is_v = (head >= HQ + HKV) & (head < HQ + 2 * HKV)
    to_q = q + row * HQ * D + head * D
    to_k = keys + home + (head - HQ) * D
    to_v = values + home + (head - HQ - HKV) * D
    source = qkv + row * qkv_row + head * D
    known = head < HQ + 2 * HKV

    i = tl.arange(0, HALF)[None, :]
    inside = i < half
    c = tl.load(cos + place_in_row * half + i, mask=inside, other=0.0)
    s = tl.load(sin + place_in_row * half + i, mask=inside, other=0.0)
    c = tl.where(is_v, 1.0, c)
    s = tl.where(is_v, 0.0, s)
    first = tl.load(source + i, mask=inside & known, other=0.0).to(tl.float32)
    second = tl.load(source + half + i, mask=inside & known, other=0.0).to(tl.float32)
    turned, partner = first * c - second * s, second * c + first * s
    tl.store(to_q + i, turned, mask=inside & is_q)
    tl.store(to_k + i, turned, mask=inside & is_k)
    tl.store(to_v + i, turned, mask=inside & is_v)
    tl.store(to_q + half + i, partner, mask=inside & is_q)
    tl.store(to_k + half + i, partner, mask=inside & is_k)
    tl.store(to_v + half + i, partner, mask=inside & is_v)
    if REST:
        still = 2 * half + tl.arange(0, REST)[None, :]
        beyond = still < D
        same = tl.load(source + still, mask=beyond & known, other=0.0)
        tl.store(to_q + still, same, mask=beyond & is_q)
        tl.store(to_k + still, same, mask=beyond & is_k)
        tl.store(to_v + still, same, mask=beyond & is_v)


@triton.jit
def _gelu(x, out, width, TILE: tl.constexpr):
    """Write GELU of up to TILE values in its tanh form."""
    i = tl.arange(0, TILE)
    value = tl.load(x + i, mask=i < width, other=0.0).to(tl.float32)
    inner = 0.7978845608028654 * (value + 0.044715 * value * value * value)
    # tanh by exp, which overflows to the right limit on either side.
    tanh = 1 - 2 / (tl.exp(2 * inner) + 1)
    tl.store(out + i, 0.5 * value * (1 + tanh), mask=i < width)


@triton.jit
def attend(
    q, keys, values, table, width, position, sequence, shared, shared_length, first, count,
    out, out_row, scale,
    HKV: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, D: tl.constexpr,
    HEADS: tl.constexpr, WIDE: tl.constexpr, REST: tl.constexpr, ROWS: tl.constexpr,
    QUERIES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Attend from the rows of a group to their prompt's columns, and each to its own.

    Grid: (HKV / HEADS, groups). The columns of a group are laid end to end, the prompt's first, and
    read once for all its rows; a query is kept from those that are another row's own. The
    dimensions of a program's heads, which are neighbours in memory, are read as WIDE and REST, two
    powers of 2: two heads of 80 are 128 and 32. A query is 0 where another head's dimensions are.
    """
    head, group = tl.program_id(0) * HEADS, tl.program_id(1)
    rows = tl.load(count + group)
    if rows == 0:
        return
    row = tl.load(first + group).to(tl.int64)
    until = tl.load(shared_length + row)
    prompt = table + tl.load(shared + row).to(tl.int64) * width
    r = tl.arange(0, ROWS)
    own = tl.load(position + row + r, mask=r < rows, other=0) + 1 - until
    own = tl.where(r < rows, own, 0)
    end = tl.cumsum(own, 0)
    # What to add to a place among the group's columns to have the position in its row's table.
    shift = tl.load(sequence + row + r, mask=r < rows, other=0) * width - (end - own)
    columns = until + tl.sum(own, 0)
    i = tl.arange(0, QUERIES)
    row_of_query, part = i // (PADDED * HEADS), i // PADDED % HEADS
    asked = (row_of_query < rows) & (i % PADDED < GROUP)
    query_of = (head + part) * GROUP + i % PADDED
    at_query = (row + row_of_query) * HKV * GROUP * D + (query_of - part) * D
    d = tl.arange(0, WIDE)[None, :]
    of_query = asked[:, None] & (d // D == part[:, None])
    query = tl.load(q + at_query[:, None] + d, mask=of_query, other=0.0)
    best = tl.full([QUERIES], -float("inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    sums = tl.zeros([QUERIES, WIDE], tl.float32)
    if REST:
        e = WIDE + tl.arange(0, REST)[None, :]
        rest_of_query = asked[:, None] & (e // D == part[:, None])
        query_rest = tl.load(q + at_query[:, None] + e, mask=rest_of_query, other=0.0)
        sums_rest = tl.zeros([QUERIES, REST], tl.float32)
    for start in range(0, columns, COLUMNS):
        at = start + tl.arange(0, COLUMNS)
        inside, of_prompt = at < columns, at < until
        whose = tl.sum((at[:, None] - until >= end[None, :]).to(tl.int32), 1)
        moved = at + tl.sum(tl.where(whose[:, None] == r[None, :], shift[None, :], 0), 1)
        column = tl.load(prompt + at, mask=of_prompt, other=0)
        column += tl.load(table + moved, mask=inside & ~of_prompt, other=0)
        source = ((column * HKV + head) * D)[:, None]  # `KeyValues` keeps it below 2^31
        key = tl.load(keys + source + d, mask=inside[:, None], other=0.0)
        value = tl.load(values + source + d, mask=inside[:, None], other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee")
        if REST:
            both = inside[:, None]
            if WIDE + REST > HEADS * D:
                both &= e < HEADS * D
            key_rest = tl.load(keys + source + e, mask=both, other=0.0)
            value_rest = tl.load(values + source + e, mask=both, other=0.0)
            scores += tl.dot(query_rest, tl.trans(key_rest), input_precision="ieee")
        sees = inside[None, :] & (of_prompt[None, :] | (whose[None, :] == row_of_query[:, None]))
        scores = tl.where(sees, scores * scale, -float("inf"))
        highest = tl.maximum(best, tl.max(scores, 1))
        # A query that has seen nothing yet has no highest score; any number stands for it.
        level = tl.where(highest == -float("inf"), 0.0, highest)
        weights = tl.exp(scores - level[:, None])
        fade = tl.exp(best - level)
        total = total * fade + tl.sum(weights, 1)
        weights = weights.to(value.dtype)
        sums = tl.dot(weights, value, sums * fade[:, None], input_precision="ieee")
        if REST:
            sums_rest = tl.dot(
                weights, value_rest, sums_rest * fade[:, None], input_precision="ieee"
            )
        best = highest
    to = (out + (row + row_of_query) * out_row + (query_of - part) * D)[:, None]
    tl.store(to + d, sums / total[:, None], mask=of_query)
    if REST:
        tl.store(to + e, sums_rest / total[:, None], mask=rest_of_query)
