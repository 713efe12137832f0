"""Settings come in layers, later ones win, and every mistake is named with its rule and value."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from adbench.config.settings import Settings, check_known, keys, parse_settings, resolve
from adbench.errors import ConfigError

"""A busy machine is no error."""


class Deep(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: float = Field(0.5, gt=0)


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    steps: int = Field(10, ge=1)
    widths: tuple[int, ...] = (8, 8)
    deep: Deep = Deep()


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    factor: int = Field(4, ge=1, le=8)
    name: str = "x"
    on: bool = False
    maybe: int | None = 3
    low: int = 1
    high: int = 2
    unet: Inner = Inner()
    vqvae: Inner = Inner(steps=20)

    @model_validator(mode="after")
    def _ordered(self) -> Outer:
        if self.low >= self.high:
            raise ValueError(f"low < high is needed, got {self.low} and {self.high}")
        return self


VALUES = st.one_of(
    st.integers(), st.booleans(), st.none(), st.lists(st.integers(), max_size=3), st.text("ab1 ü=", max_size=8)
)
LAYER = st.fixed_dictionaries(
    {},
    optional={
        "factor": st.integers(1, 8),
        "unet.steps": st.integers(1, 99),
        "vqvae.steps": st.integers(1, 99),
        "unet.deep.rate": st.floats(0.1, 1.0),
        "maybe": st.one_of(st.none(), st.integers(0, 9)),
    },
)


def nested(layer: dict) -> dict:
    result: dict = {}
    for key, value in layer.items():
        *path, last = key.split(".")
        target = result
        for name in path:
            target = target.setdefault(name, {})
        target[last] = value
    return result


def at(config: BaseModel, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


@given(layers=st.lists(LAYER, max_size=4))
def test_the_last_layer_that_names_a_key_decides_and_defaults_hold_for_the_rest(layers):
    config, defaults = resolve(Outer, layers, "m"), Outer(vqvae=Inner())
    for key in ("factor", "unet.steps", "vqvae.steps", "unet.deep.rate", "maybe"):
        given_values = [layer[key] for layer in layers if key in layer]
        touched = any(k.startswith("vqvae.") for layer in layers for k in layer)
        default = at(defaults if touched else Outer(), key)
        assert at(config, key) == (given_values[-1] if given_values else default)


@given(layers=st.lists(st.tuples(LAYER, st.booleans()), max_size=4))
def test_dotted_keys_and_nested_mappings_are_the_same(layers):
    mixed = [nested(layer) if as_mapping else layer for layer, as_mapping in layers]
    assert resolve(Outer, mixed, "m") == resolve(Outer, [layer for layer, _ in layers], "m")


@given(layers=st.lists(LAYER, max_size=3))
def test_layers_are_left_as_they_are(layers):
    before = json.dumps([nested(layer) for layer in layers])
    given_layers = [nested(layer) for layer in layers]
    resolve(Outer, given_layers, "m")
    assert json.dumps(given_layers) == before


@given(st.dictionaries(st.sampled_from(["a", "data.b", "protocol.c", "d.e"]), VALUES))
def test_values_are_read_as_json_and_go_to_their_receiver(given_values):
    parsed = parse_settings([f"{key}={json.dumps(value)}" for key, value in given_values.items()])
    together = {**parsed.detector, **{f"data.{k}": v for k, v in parsed.data.items()}}
    assert {**together, **{f"protocol.{k}": v for k, v in parsed.protocol.items()}} == given_values


def test_what_is_no_json_is_text_and_may_hold_the_sign_of_equality():
    parsed = parse_settings(["name=tumour", "other=a=b", " padded =1", "empty="])
    assert parsed == Settings({"name": "tumour", "other": "a=b", "padded": 1, "empty": ""}, {}, {})


def test_the_same_key_given_twice_takes_the_later_value():
    assert parse_settings(["f=1", "f=2"]).detector == {"f": 2}


@pytest.mark.parametrize("text", ["factor", "=3", " =3", ""])
def test_a_setting_without_key_or_equals_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=r"written key=value, such as unet.steps=100, got"):
        parse_settings([text])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"factor": 9}, "m: factor: .* less than or equal to 8, got 9."),
        ({"unet.steps": -1}, "m: unet.steps: .* greater than or equal to 1, got -1."),
        ({"unet": {"steps": 0}}, "m: unet.steps: .*, got 0."),
        ({"unet.deep.rate": 0}, "m: unet.deep.rate: .* greater than 0, got 0."),
        ({"unet.steps": "abc"}, "m: unet.steps: .* valid integer.*, got 'abc'."),
        ({"unet.steps": 1.5}, "m: unet.steps: .* valid integer.*, got 1.5."),
        ({"unet.steps": None}, "m: unet.steps: .*, got None."),
        ({"unet.steps": True}, "m: unet.steps: .*number, got True."),
        ({"unet.deep.rate": math.inf}, "m: unet.deep.rate: .* finite number, got inf."),
        ({"unet.deep.rate": "inf"}, "m: unet.deep.rate: .* finite number, got inf."),
        ({"unet.deep.rate": math.nan}, "m: unet.deep.rate: .*got nan."),
        ({"unet.widths": 3}, "m: unet.widths: .* valid tuple, got 3."),
        ({"unet.widths": ["a"]}, "m: unet.widths.0: .*got 'a'."),
        ({"unet": 3}, "m: unet: .*got 3."),
        ({"on": "perhaps"}, "m: on: .*got 'perhaps'."),
        ({"unet": {"stepz": 3}}, "m: unet.stepz: .*not permitted, got 3."),
        ({"low": 5, "high": 4}, "m: settings: low < high is needed, got 5 and 4."),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_rule(layer, message):
    with pytest.raises(ConfigError, match=message):
        resolve(Outer, [layer], "m")


def test_a_group_that_was_set_to_a_value_cannot_be_set_inside():
    with pytest.raises(ConfigError, match=r"unet.steps cannot be set: unet is a value"):
        resolve(Outer, [{"unet": 3}, {"unet.steps": 4}], "m")


def test_a_prefix_stands_before_the_key_of_a_message():
    with pytest.raises(ConfigError, match=r"toy: data.factor: .*got 9\.$"):
        resolve(Outer, [{"factor": 9}], "toy", "data.")


def test_true_is_a_value_for_what_is_true_or_false():
    assert resolve(Outer, [{"on": True}], "m").on


def test_keys_of_nested_configs_are_dotted():
    expected = ["unet", "unet.steps", "unet.widths", "unet.deep", "unet.deep.rate"]
    assert [key for key in keys(Outer, "p.") if ".unet" in key] == [f"p.{key}" for key in expected]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("unet.stepz", "no setting 'unet.stepz' for m; did you mean 'unet.steps'? Look there."),
        ("n_train", "no setting 'n_train' for m; did you mean 'data.n_train'? Look there."),
        ("qqqqqq", "no setting 'qqqqqq' for m. Look there."),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one_of_any_receiver(key, message):
    with pytest.raises(ConfigError) as error:
        check_known(["factor", key], list(keys(Outer)), "m", "Look there.", ["data.n_train"])
    assert str(error.value) == message


def test_known_keys_pass():
    check_known(keys(Outer), list(keys(Outer)), "m", "")
