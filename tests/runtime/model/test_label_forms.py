"""Labels in the forms that people have them in: what each text is read as, or why it is refused."""

import csv
import io
import json
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from torchless.errors import UsageError
from torchless.model.label_values import labels_of
from torchless.model.labels import labels_in_text


@pytest.mark.parametrize(
    ("text", "names", "form"),
    [
        pytest.param("ant\nbee", "ant bee", "one name a line", id="names"),
        pytest.param("'ant'\n'bee'", "ant bee", "one name a line", id="names in quotes"),
        pytest.param("'ant',\n'bee',", "ant bee", "one name a line", id="entries of a list"),
        pytest.param("1 bee\n0 ant", "ant bee", '"index name" a line', id="index name"),
        pytest.param("0: ant\n1: bee", "ant bee", '"index: name" a line', id="index: name"),
        pytest.param("0,ant\n1,bee", "ant bee", '"index,name" a line', id="index,name"),
        pytest.param("0: 'ant',\n1: 'bee'", "ant bee", '"index: name" a line', id="entries of a dict"),
        pytest.param("eel 1\nant 0", "ant eel", '"name index" a line', id="name index"),
        pytest.param("'eel': 1,\n'ant': 0,", "ant eel", '"name: index" a line', id="entries of class_to_idx"),
        pytest.param('["ant",\n"bee"]', "ant bee", "a list", id="a JSON list"),
        pytest.param("('ant', 'bee',)", "ant bee", "a list", id="a Python tuple"),
        pytest.param('{"1": "bee", "0": "ant"}', "ant bee", "{index: name}", id="idx_to_class"),
        pytest.param("{0: 'ant',\n 1: 'bee'}", "ant bee", "{index: name}", id="a Python dict"),
        pytest.param('{"0": ["n01440764", "tench"]}', "tench", "{index: name}", id="with WordNet ids"),
        pytest.param('{"bee": 1, "ant": 0}', "ant bee", "{name: index}", id="class_to_idx"),
        pytest.param('{"0": 1, "1": 0}', "1 0", "{name: index}", id="class_to_idx of digits"),
        pytest.param('{"0": "0", "1": "1"}', "0 1", "{index: name}", id="the same either way"),
        pytest.param("index,name\n1,bee\n0,ant", "ant bee", "CSV with the columns index, name", id="CSV"),
        pytest.param("ID;n;Label\n1;9;bee\n0;8;ant", "ant bee", "CSV with the columns id, label", id="others"),
    ],
)
def test_a_form(text: str, names: str, form: str) -> None:
    assert labels_in_text(text) == (tuple(names.split()), form)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["7 Up", "Coke", "3D printer"], id="numbers in some names"),
        pytest.param(["class 0", "class 1"], id="one name with numbers"),
        pytest.param(["Boeing 747", "Airbus 320"], id="numbers that are no indices"),
        pytest.param(["0", "2", "1"], id="digits"),
        pytest.param(["tench, Tinca tinca", "goldfish, Carassius auratus"], id="commas"),
        pytest.param(["[PAD]", "(none of these)", "ant"], id="brackets"),
        pytest.param(['"Weird Al"', "ant"], id="quotes around some"),
        pytest.param(["name", "class"], id="what may be a header"),
    ],
)
def test_a_name_a_line_stays_as_it_is(names: list[str]) -> None:
    assert labels_in_text("\n".join(names)) == (tuple(names), "one name a line")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 eels\n7 ants", "there is no class 0, though line 2 is class 7 (read as \"index name\" a line: "),
        ("3 eels\n7 ants", "line 1 is class 3, 'eels')"),
        ("3 eels\n7 ants", "; if the numbers belong to the names, give the names as a JSON list"),
        ("0: ant\n1: bee\n3: cat", "there is no class 2, though line 3 is class 3"),
        ("0 ant\n1 bee\n1 cat", "class 1 is given twice, by line 2 and by line 3"),
        ("1 ant\n2 bee", "classes are numbered from 1 to 2, PyTorch's from 0: subtract 1"),
        ("ant 1\nbee 2", "classes are numbered from 1 to 2"),
        ("eel,4\nant,0", "there is no class 1, though line 1 is class 4"),
        ("0: ant\nbee\n2: cat", "2 of 3 lines begin with a number that may be the index, but line 2 does not: 'bee'"),
        ("0: ant\n1:\n2: cat", "line 2 has no name"),
        ("0,1\n1,0", "it is not clear which number of a line is the index; line 1 is '0,1'"),
        ("['ant',\n'bee'", "neither JSON (Expecting value: line 1 column 2 (char 1)) nor a Python literal ('['"),
        ('{"index": 0}\n{"index": 1}', "neither JSON (Extra data: line 2 column 1"),
        ("[]", "there are no labels in it"),
        ("{'ant', 'bee'}", "it is neither a list of names, nor {index: name}, nor {name: index}, but {"),
        ('["ant", " "]', "class 1 has no name"),
        ('["ant", 3]', "class 1 is no name: 3"),
        ('["a\\nb"]', "class 0 has a name with a line break in it: 'a\\nb'"),
        ('["\\ud800"]', "class 0 has a name that is no text"),
        ('{"0": ["ant", "bee"]}', "'0' is no name: ['ant', 'bee']"),
        ('{"0": "ant", "2": "bee"}', "there is no class 1, though '2' is class 2"),
        ('{"0": "ant", "0": "bee"}', "class 0 is given twice, by '0' and by '0'"),
        ("{0: 'ant', 0: 'bee'}", "class 0 is given twice, by 0 and by 0"),
        ('{"ant": 0, "ant": 1}', "'ant' is in it twice"),
        ('{"0": "1", "1": "0"}', "it is {index: name} or {name: index}, which differ, '0': '1'"),
        ('{"classes": {"ant": 0}}', "it is neither {index: name} nor {name: index}, but 'classes': {'ant': 0}"),
        ("index,name\n0,ant\n1", "line 3 has 1 fields, the header 2"),
        ("index,name\nn01440764,ant", "line 2 has 'n01440764' where the index belongs"),
        ("index,name\n0,ant\n0,bee", "class 0 is given twice, by line 2 and by line 3 (read as CSV with the columns"),
        ('index,name\n0,"ant', "line 2 is no CSV: unexpected end of data"),
        ("index,name,label\n0,ant,x", "its columns are index, name, label: call only one of them index, and only one"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        labels_in_text(text)
    assert message in str(caught.value)


def test_a_suffix_says_what_it_must_be() -> None:
    assert labels_in_text("label\nant\nbee", suffix=".csv") == (("ant", "bee"), "CSV with the column label")
    with pytest.raises(UsageError, match=r"neither JSON .* nor a Python literal"):
        labels_in_text("ant\nbee", suffix=".json")


def test_classes_of_one_name_are_known() -> None:
    assert labels_in_text("crane\nant\ncrane").twice == "'crane' is the name of classes 0 and 2"
    assert labels_in_text("crane\nant").twice == ""


def test_values_as_they_are_in_a_checkpoint() -> None:
    assert labels_of({"ant": 0, "bee": 1}).names == labels_of(("ant", "bee")).names == ("ant", "bee")


# Names are lines of text: whatever a JSON file or CSV holds. Without a format around them, they are words.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\ufeff"), min_size=1)
LABELS = st.lists(TEXTS.filter(lambda name: name == name.strip()), min_size=1, unique=True)
WORD = st.from_regex(r"[a-z]([a-z0-9 ,;:'\"]{0,8}[a-z])?", fullmatch=True)
WORDS = st.lists(WORD, min_size=1, unique=True)


def as_csv(rows: list[tuple[object, ...]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def shuffled(labels: list[str], data: st.DataObject) -> list[tuple[int, str]]:
    return data.draw(st.permutations(list(enumerate(labels))))


@pytest.mark.parametrize(
    ("write", "form"),
    [
        (lambda pairs: json.dumps([name for _, name in sorted(pairs)]), "a list"),
        (lambda pairs: repr([name for _, name in sorted(pairs)]), "a list"),
        (lambda pairs: json.dumps(dict(pairs), indent=1), "{index: name}"),
        (lambda pairs: repr(dict(pairs)), "{index: name}"),
        (lambda pairs: json.dumps({name: index for index, name in pairs}), "{name: index}"),
        (lambda pairs: repr({name: index for index, name in pairs}), "{name: index}"),
        (lambda pairs: as_csv([("index", "name"), *pairs]), "CSV with the columns index, name"),
    ],
    ids=["JSON list", "Python list", "index: name", "Python dict", "name: index", "Python class_to_idx", "CSV"],
)
@settings(max_examples=40)
@given(labels=LABELS, data=st.data())
def test_any_names_in_a_format(write: Callable, form: str, labels: list[str], data: st.DataObject) -> None:
    text = write(shuffled(labels, data))
    if form == "{index: name}":
        assume(not all(name.isdecimal() for name in labels))  # refused where the other way round gives others
    assert labels_in_text(text) == (tuple(labels), form)


@pytest.mark.parametrize(
    "write",
    [
        lambda pairs: "\n".join(name for _, name in sorted(pairs)),
        lambda pairs: "\n".join(f"{index} {name}" for index, name in pairs),
        lambda pairs: "\n".join(f"{index:03}: {name}" for index, name in pairs),
        lambda pairs: "\n".join(f"{index}\t{name}" for index, name in pairs),
        lambda pairs: as_csv(pairs),
        lambda pairs: as_csv([(name, index) for index, name in pairs]),
        lambda pairs: ",\n".join(f"{index}: {name!r}" for index, name in pairs),
    ],
    ids=["names", "index name", "index: name", "tab", "index,name", "name,index", "entries of a dict"],
)
@settings(max_examples=40)
@given(labels=WORDS, data=st.data())
def test_any_words_a_line(write: Callable, labels: list[str], data: st.DataObject) -> None:
    assert labels_in_text(write(shuffled(labels, data))).names == tuple(labels)
