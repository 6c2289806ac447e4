"""Queries: means, weights, negatives, names, and mistakes."""

import numpy as np
import pytest
from separation_models import CONDITION_SIZE, RATE, scene, unit

from audiosep_jax import Query
from audiosep_jax.encoders.base import mean_condition
from audiosep_jax.errors import AudioSepError


def test_paraphrases_of_unit_length_are_averaged_to_unit_length(model):
    rows = unit(np.random.default_rng(0).normal(size=(3, CONDITION_SIZE)))
    mean = mean_condition(rows)
    np.testing.assert_allclose(mean, unit(rows.sum(axis=0, keepdims=True))[0], atol=1e-6)
    weighted = mean_condition(rows, [4, 1, 1])
    assert weighted @ rows[0] > mean @ rows[0] + 0.01
    np.testing.assert_allclose(mean_condition(rows, [400, 100, 100]), weighted, atol=1e-6)
    single = model.condition(query=Query(condition=rows[0], weights=[7]))
    np.testing.assert_array_equal(single, rows[0])


def test_conditions_of_other_lengths_keep_their_mean():
    np.testing.assert_allclose(mean_condition(np.float32([[3, 0], [0, 1]]), [1, 3]), [0.75, 0.75])


def test_parts_that_cancel_are_refused():
    with pytest.raises(AudioSepError, match="cancel each other out"):
        mean_condition(np.float32([[1, 0], [-1, 0]]))


def test_a_query_averages_all_kinds_of_parts(model, senses):
    example, picture = (scene(1)[0], RATE), np.full((4, 4, 3), 9, np.uint8)
    vector = np.linspace(0, 1, CONDITION_SIZE)
    query = Query(
        text=["cab", "hid"], audio=example, images=[picture], condition=vector, weights=[5, 4, 3, 2, 1]
    )
    rows = [
        *senses.encode(["cab", "hid"]),
        *(model.condition(query_audio=example), model.condition(query_images=[picture]), vector),
    ]
    expected = np.average(rows, axis=0, weights=[5, 4, 3, 2, 1])
    np.testing.assert_allclose(model.condition(query=query), expected, atol=1e-6)


def test_every_sentence_is_encoded_once(model, tower):
    model.condition(query=Query(text=["cab", "hid", "cab"]))
    model.condition(query="hid")
    assert tower.encoded == ["cab", "hid"]
    np.testing.assert_array_equal(model.condition(query=Query(text="cab")), model.condition(query="cab"))


def test_a_paraphrased_sentence_is_the_mean_of_four_wordings(model, tower):
    condition = model.condition(query=Query(text=["a … {dog}", "hid"], weights=[3, 1], paraphrase=True))
    wordings = [
        [text, f"the sound of {text}", f"a recording of {text}", f"{text} can be heard"]
        for text in ("a … {dog}", "hid")
    ]
    assert tower.encoded == wordings[0] + wordings[1]
    expected = (3 * tower.encode(wordings[0]).mean(axis=0) + tower.encode(wordings[1]).mean(axis=0)) / 4
    np.testing.assert_allclose(condition, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "describes nothing"),
        ({"text": []}, "describes nothing"),
        ({"text": ["a", "b"], "weights": [1]}, r"2 part\(s\) and 1 weight"),
        ({"text": ["a", "b"], "weights": [1, -1]}, "not all positive"),
        ({"text": ["a", "b"], "weights": [1, float("nan")]}, "not all positive"),
        ({"text": "a", "without": 3}, "type int"),
        ({"text": "a", "without": [Query(text="b", without="c")]}, "cannot have its own `without`"),
        ({"text": "a", "without": Query(without="c")}, "cannot have its own `without`"),
    ],
)
def test_queries_that_make_no_sense_are_refused(arguments, reason):
    with pytest.raises(AudioSepError, match=reason):
        Query(**arguments)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda model: model.separate_queries(np.zeros(9), RATE, queries=[]), "at least one"),
        (lambda model: model.separate_queries(np.zeros(9), RATE, queries="dog"), "into a list"),
        (lambda model: model.separate_queries(np.zeros(9), RATE, queries=[7]), "type int"),
        (
            lambda model: model.separate_stems(np.zeros(9), RATE, queries=[Query(without="a")]),
            "cannot be a stem",
        ),
        (
            lambda model: model.separate(np.zeros(9), RATE, query=Query(text="a", without="b"), without="c"),
            "Two `without`",
        ),
        (
            lambda model: model.separate(np.zeros(9), RATE, query="a", channel_mask="both"),
            "channel_mask is 'both'",
        ),
        (lambda model: model.separate(np.zeros(9), RATE, query="a", high_band="none"), "high_band is 'none'"),
        (lambda model: model.condition(query=Query(text="a", without="b")), "cannot hold `without`"),
    ],
)
def test_calls_that_make_no_sense_are_refused(model, tower, call, reason):
    with pytest.raises(AudioSepError, match=reason):
        call(model)


def test_an_unknown_option_is_a_mistake_in_the_program(model):
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        model.separate(np.zeros(9), RATE, query="a", channels="shared")


def test_a_query_is_named_after_its_first_part():
    assert Query(text=["a dog", "barking"]).name == "a dog"
    assert Query(without=["rain", "wind"]).name == "everything but rain, wind"
    assert Query(audio="bark.wav").name == "the audio query"
    assert Query(condition=np.ones(3)).name == "the condition"
