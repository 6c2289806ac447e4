import json

import pytest

from audiosep_jax.errors import AudioSepError
from data_pipelines.mixtures.ontology import Ontology


def write(path, classes):
    """Writes {id: (name, children)} in the format of AudioSet's file, with its other keys."""
    path.write_text(
        json.dumps(
            [
                {"id": one, "name": name, "description": "", "child_ids": children, "restrictions": []}
                for one, (name, children) in classes.items()
            ]
        ),
        "utf-8",
    )
    return path


CLASSES = {
    "/m/0": ("Animal", ["/m/1", "/m/2"]),
    "/m/1": ("Domestic animals, pets", ["/m/3"]),
    "/m/2": ("Wild animals", ["/m/3", "/m/5"]),
    "/m/3": ("Dog", ["/m/4"]),
    "/m/4": ("Bark", []),
    "/m/5": ("Roar", []),
    "/m/6": ("Wind noise (microphone)", []),
    "/m/7": ("Roar", []),
}


@pytest.fixture
def ontology(tmp_path):
    return Ontology(write(tmp_path / "ontology.json", CLASSES))


def test_ancestors_go_up_by_every_parent(ontology):
    assert ontology.ancestors("/m/4") == {"/m/0", "/m/1", "/m/2", "/m/3"}
    assert ontology.ancestors("/m/3") == {"/m/0", "/m/1", "/m/2"}
    assert ontology.ancestors("/m/0") == ontology.ancestors("/m/6") == frozenset()


@pytest.mark.parametrize(
    "label",
    [
        "Domestic animals, pets",
        "Domestic_animals_and_pets",
        "domestic  animals,  and pets",
        "DOMESTIC ANIMALS AND PETS",
        "/m/1",
    ],
)
def test_a_class_has_one_name_in_many_spellings(ontology, label):
    assert ontology.ids(label) == {"/m/1"}


def test_names_that_are_shared_or_unknown(ontology):
    assert ontology.ids("roar") == {"/m/5", "/m/7"}
    assert ontology.ids("cat") == ontology.ids("") == frozenset()


def test_the_most_specific_classes_are_no_ancestors_of_one_another(ontology):
    assert ontology.most_specific(["/m/0", "/m/3", "/m/4", "/m/6"]) == {"/m/4", "/m/6"}
    assert ontology.most_specific([]) == frozenset()


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ({"a": ("A", ["b"]), "b": ("B", ["c"]), "c": ("C", ["a"])}, r"their own ancestors, 'a' \(A\) <"),
        ({"a": ("A", ["a"])}, r"their own ancestors, 'a' \(A\) < 'a' \(A\)"),
        (
            {"r": ("R", ["a"]), "a": ("A", ["b"]), "b": ("B", ["a", "z"]), "z": ("Z", [])},
            r"'a' \(A\) < 'b' \(B\) < 'a'",
        ),
        ({"a": ("A", ["b"])}, r"class 'a' \(A\) has the child 'b', which the file lacks"),
    ],
)
def test_a_damaged_hierarchy_is_named(tmp_path, classes, said):
    with pytest.raises(AudioSepError, match=rf"ontology\.json: .*{said}"):
        Ontology(write(tmp_path / "ontology.json", classes))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a readable JSON file"),
        ("[" * 100_000, "is not a readable JSON file"),
        ('{"id": "a"}', "is not a list of classes"),
        ("[]", "is not a list of classes"),
        ('[{"id": "a", "name": "A", "child_ids": []}, 3]', "class number 2 lacks"),
        ('[{"id": "", "name": "A", "child_ids": []}]', "class number 1 lacks"),
        ('[{"id": "a", "child_ids": []}]', "class number 1 lacks"),
        ('[{"id": "a", "name": "A", "child_ids": "b"}]', "class number 1 lacks"),
        ('[{"id": "a", "name": "A", "child_ids": [1]}]', "class number 1 lacks"),
        (json.dumps([{"id": "a", "name": "A", "child_ids": []}] * 2), r"class 'a' \(A\) is listed twice"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, text, said):
    path = tmp_path / "ontology.json"
    path.write_text(text, "utf-8")
    with pytest.raises(AudioSepError, match=rf"ontology\.json.* {said}"):
        Ontology(path)
    with pytest.raises(AudioSepError, match=r"none\.json does not exist"):
        Ontology(tmp_path / "none.json")


def test_a_deep_hierarchy_needs_no_recursion(tmp_path):
    chain = {str(n): (f"class {n}", [str(n + 1)] if n < 2_000 else []) for n in range(2_001)}
    ontology = Ontology(write(tmp_path / "ontology.json", chain))
    assert len(ontology.ancestors("2000")) == 2_000
