"""Files whose symbols are coded by the learned model, and the model in integers against its network in torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from layer_data import CANVAS, STEPS, assert_round_trip, assert_same_layers, random_layer, sample_file

from fastgs.codec import decode, learned, read_frame
from fastgs.codec.channels import RGB
from fastgs.codec.fastgs import Fastgs
from fastgs.codec.frame import FormatError, write_frame
from fastgs.codec.layer import bit_breakdown, decode_layers, encode_layers
from fastgs.codec.learned import LearnedAttributes, UnlikelyError, begin_layer, make_tables, predict, summarize
from fastgs.codec.surroundings import Surroundings
from fastgs.codec.surroundings_kernels import COLUMNS, UNIT
from fastgs.codec.symbol_model import GROUPS, SCALES, SymbolModel
from fastgs.codec.symbol_model_kernels import COMPONENTS, PART, SHARES, TOTAL_BITS
from fastgs.codec.symbol_network import SymbolNetwork, count_bits
from fastgs.codec.symbols import AREA, Layer, Steps, X, Y
from fastgs.io.checkpoints import CHECKPOINTS, read_arrays
from fastgs.training.symbol_files import describe

MODEL = 1
OTHER_STEPS = Steps(position=-3, area=0.05, shape=0.5, luma=0.1, chroma=0.3)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 33, 700])
@pytest.mark.parametrize("canvas", [(1, 1), (1, 65535), (321, 481)])
def test_layer_round_trip(count, canvas):
    payloads = assert_round_trip([random_layer(count, canvas)], canvas, model=MODEL)
    assert encode_layers(decode_layers(payloads, canvas, model=MODEL), canvas, model=MODEL) == payloads


def test_round_trip_of_layers_behind_an_empty_one_and_of_other_steps():
    first, empty, equal = random_layer(100), random_layer(0, seed=1), random_layer(300, seed=2)
    layers = [first, empty, equal, random_layer(9, steps=OTHER_STEPS, seed=3)]
    payloads = assert_round_trip(layers, model=MODEL)
    assert_same_layers(layers[:2], decode_layers(payloads[:2], CANVAS, model=MODEL))


@pytest.mark.parametrize("position", [-3, 6])
def test_round_trip_on_the_largest_canvas(position):
    canvas = (65535, 65535)
    layer = random_layer(50, canvas, Steps(position, 0.2, 0.2, 0.1, 0.1))
    layer.symbols[0, :2] = int(65535 * 2.0**position)  # the last corner of the canvas
    assert_round_trip([layer], canvas, model=MODEL)


def test_blocks_of_tables_do_not_change_files(monkeypatch):
    layers = [random_layer(200), random_layer(90, seed=1)]
    payloads = encode_layers(layers, CANVAS, model=MODEL)
    monkeypatch.setattr(learned, "_MOST_FREQUENCIES", 500)
    assert assert_round_trip(layers, model=MODEL) == payloads


def test_bit_breakdown_adds_up():
    payloads = encode_layers([random_layer(count, seed=count) for count in (0, 10, 400)], CANVAS, model=MODEL)
    for bits, data in zip(bit_breakdown(payloads, CANVAS, model=MODEL), payloads, strict=True):
        assert set(bits) == {"header", "positions", "area", "shape", *RGB.attributes}
        assert sum(bits.values()) == pytest.approx(8 * len(data)) and min(bits.values()) >= 0


def test_file_tells_its_model_in_two_bytes():
    data = sample_file(1, model=MODEL)
    frame = read_frame(data)
    assert frame.symbols == MODEL and data[3] == 3
    assert len(write_frame(replace(frame, symbols=None))) == len(data) - 2
    with pytest.raises(ValueError, match="symbols: expected one of 1, got 2"):
        replace(frame, symbols=2)


def test_products_are_small_enough_for_one_thread(monkeypatch):
    """Larger ones are divided by OpenBLAS among threads, which wait for each other on a busy machine."""
    usual, sizes = np.matmul, []

    def matmul(rows, weight, out):
        sizes.append(rows.shape[-2] * weight.size)
        assert np.array_equal(usual(rows, weight, out=out), rows @ weight)

    monkeypatch.setattr(np, "matmul", matmul)
    assert_round_trip([random_layer(count) for count in (700, 1, 200)], model=MODEL)
    assert 1 << 17 < max(sizes) <= 1 << 18


def test_symbols_too_far_are_refused():
    layer = random_layer(100)
    layer.symbols[50, 6] = 4000
    with pytest.raises(UnlikelyError, match=r"^symbols: at most 256 from what the model expects, got [34]\d{3}$"):
        encode_layers([layer], CANVAS, model=MODEL)


def test_summaries_out_of_range_are_damage(monkeypatch):
    before = list(learned.FIRST)
    monkeypatch.setattr(learned, "FIRST", tuple(replace(each, reach=-3) for each in before))
    (data,) = encode_layers([random_layer(20)], CANVAS, model=MODEL)
    monkeypatch.setattr(learned, "FIRST", tuple(replace(each, reach=16) for each in before))
    with pytest.raises(FormatError, match=r"^is damaged \("):
        decode_layers([data], CANVAS, model=MODEL)


def test_encoder_falls_back_where_the_model_has_no_place(astronaut, monkeypatch):
    scheme = Fastgs(restores=False)
    assert read_frame(scheme.encode(astronaut, 60, iterations=10).data).symbols == MODEL

    def refuse(*_):
        raise UnlikelyError("symbols: too far")

    monkeypatch.setattr(LearnedAttributes, "fit", refuse)
    plain = scheme.encode(astronaut, 60, iterations=10).data
    assert read_frame(plain).symbols is None and len(decode(plain)) > 0


@pytest.fixture(scope="module", params=["random", "shipped"])
def network(request):
    """Return a network with random weights, or that of checkpoints/ as far as its integers tell it."""
    if request.param == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = SymbolNetwork(8, 12)
            for name, parameter in network.named_parameters():
                if name.endswith("last.weight"):
                    torch.nn.init.normal_(parameter, std=0.1)
        return network.requires_grad_(False)
    arrays = read_arrays(CHECKPOINTS / "symbols.safetensors", "fastgs.symbols", "1", "model of symbols")
    network = SymbolNetwork(len(arrays["shape.neighbours.bias"]), len(arrays["shape.heads.0.first.bias"]))
    network.load_exported(arrays)
    assert all(np.array_equal(array, arrays[name]) for name, array in network.export().items())
    return network.requires_grad_(False)


def smooth_layer(count, seed) -> Layer:
    """Make a layer whose attributes follow those of their neighbours, in the order of files."""
    rng = np.random.default_rng(seed)
    places = rng.random((count, 2)) * [180, 120]
    slow = np.sin(places / 40 + rng.random(2)).sum(1, keepdims=True)
    means = np.concatenate([18 + 2 * slow, 3 * slow, -2 * slow, 20 + 9 * slow, 4 * slow, 2 * slow], axis=1)
    symbols = np.rint(np.concatenate([places, means + rng.normal(0, [3, 4, 4, 5, 1, 1], (count, 6))], axis=1))
    (layer,) = decode_layers(encode_layers([Layer(symbols.astype(np.int32), STEPS)], CANVAS), CANVAS)
    return layer


def test_integers_are_the_network_but_for_rounding(network):
    model, layers, bound = SymbolModel(network.export()), [smooth_layer(150, 0), smooth_layer(400, 1)], 256
    parts = describe(layers, CANVAS)
    around, places, shares, bits = Surroundings(CANVAS), [], [], []
    for layer in layers:
        symbols = layer.symbols.T.astype(np.int64)
        summaries = summarize(symbols[AREA:], layer.steps.columns()[AREA:])

        def tell(column, index, mixture, symbols=symbols, layer=layer, summaries=summaries):
            chosen = symbols[AREA + column, index]
            frequencies = make_tables(mixture, model, bound) + 1
            taken = frequencies[np.arange(len(index)), chosen - learned.find_nearest(mixture) + bound]
            bits.append((column, TOTAL_BITS - np.log2(taken)))
            unit = layer.steps.columns()[AREA + column]
            values = (mixture.places / PART * unit - summaries[column].center / 16) * SCALES[column]
            places.append((column, values))
            shares.append((column, mixture.shares / SHARES))
            return chosen

        begin_layer(around, symbols[X], symbols[Y], layer.steps, summaries)
        predict(model, around, layer.steps, summaries, tell)
    whole = {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}
    features = {name: array.float() / UNIT for name, array in whole.items()}
    each, common = ({group: features[f"{name}.{group}"] for group in GROUPS} for name in ("each", "common"))
    outputs = network(each, common, features["of_layer"], features["own"])
    for column, output in enumerate(outputs):
        of_column = (
            np.concatenate([found for number, found in kind if number == column]) for kind in (places, shares, bits)
        )
        found_places, found_shares, found_bits = of_column
        wanted = torch.cat([output[:, :1], output[:, :1] + output[:, 1:COMPONENTS]], dim=1).numpy()
        assert np.abs(found_places - wanted).mean() < 0.03 and np.abs(found_places - wanted).max() < 0.2
        wanted = output[:, 2 * COMPONENTS :].clamp(-8, 8).softmax(1).numpy()
        assert np.abs(found_shares - wanted).mean() < 0.02 and np.abs(found_shares - wanted).max() < 0.2
        wanted = count_bits(output, whole["values"][:, column], whole["units"][:, column], SCALES[column]).numpy()
        assert found_bits.mean() == pytest.approx(wanted.mean(), rel=0.02)
        # The floors of improbable symbols differ.
        assert np.abs(found_bits - wanted)[wanted < 12].max() < 1
    assert len(outputs) == COLUMNS


def test_model_refuses_other_weights():
    arrays = SymbolNetwork(4, 4).export()
    with pytest.raises(ValueError, match=r"^shape\.heads\.0\.last\.weight has the wrong shape$"):
        SymbolModel(arrays | {"shape.heads.0.last.weight": arrays["shape.heads.0.first.weight"]})
    with pytest.raises(ValueError, match="the tables of functions have the wrong sizes"):
        SymbolModel(arrays | {"logistic": arrays["logistic"][1:]})


def test_network_that_diverged_is_not_exported():
    network = SymbolNetwork(4, 4)
    with torch.no_grad():
        network.shape.neighbours.bias[0] = torch.nan
    with pytest.raises(ValueError, match="the weights hold NaN or infinity"):
        network.export()
