"""Readers of nouns and captions, on small files of the real formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastvbow.errors import UsageError
from fastvbow.semantic.banks.captions import read_captions
from fastvbow.semantic.banks.frequencies import caption_counts
from fastvbow.semantic.banks.nouns import (
    PLACES,
    SIC_PROMPTS,
    TAC_PROMPTS,
    nouns_of_wordnet,
    place_kinds,
    read_noun_list,
)
from fastvbow.semantic.banks.wordnet import read_wordnet

LICENCE = "  1 This software and database is being provided to you, the LICENSEE, by  \n"
SYNSETS = (
    '00000010 03 n 01 entity 0 002 ~ 00000020 n 0000 ~ 00000040 n 0000 | that which exists; "an entity"  \n'
    "00000020 06 n 0a mill 0 grist_mill 1 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 003 @ 00000010 n 0000 + 00692347 v 0101 ~ "
    "00000030 n 0000 | machinery; that grinds  \n"
    "00000030 06 n 02 windmill 0 Windmill 0 001 @ 00000020 n 0000 | "
    'a mill driven by the wind; "it turned"; "slowly"  \n'
    "00000040 15 n 01 Paris 0 001 @i 00000010 n 0000 | the capital of France  \n"
)
WORDNETS = [Path("/usr/share/wordnet")]


@pytest.fixture
def wordnet(tmp_path):
    (tmp_path / "data.noun").write_text(LICENCE + SYNSETS)
    return read_wordnet(tmp_path)


def test_synsets(wordnet):
    entity, mill, windmill, paris = wordnet.synsets
    assert (entity.name, entity.words, entity.definition, entity.hypernyms) == (
        "n00000010",
        ("entity",),
        "that which exists",
        (),
    )
    assert mill.words == ("mill", "grist mill", *"abcdefgh")  # the count of words is hexadecimal
    assert mill.definition == "machinery; that grinds" and mill.hypernyms == ("n00000010",)
    assert windmill.definition == "a mill driven by the wind"
    assert paris.is_instance and not mill.is_instance


def test_above_and_below(wordnet):
    assert [synset.name for synset in wordnet.meanings("WINDMILL")] == ["n00000030"] * 2
    assert wordnet.meanings("nothing") == ()
    assert wordnet.hyponyms(["n00000020"]) == {"n00000020", "n00000030"}
    assert len(wordnet.hyponyms(["n00000010"])) == 4
    assert wordnet.above("n00000030") == {"n00000020", "n00000010"} and wordnet.above("n00000010") == set()


def test_kinds_of_nouns(wordnet):
    bank = nouns_of_wordnet(wordnet)
    kinds = place_kinds(wordnet, bank, ("n00000020",))
    assert {word: kind for word, kind in zip(bank.words, kinds.tolist(), strict=True) if kind} == {
        "mill": 1,
        "windmill": 1,
    }
    with pytest.raises(UsageError, match="no synset n00027167"):
        place_kinds(wordnet, bank, ("n00027167",))
    with pytest.raises(UsageError, match="none of the synsets of places"):
        place_kinds(wordnet, bank)


def test_places_are_found_by_word_and_definition(tmp_path):
    """Their names differ from version to version."""
    (tmp_path / "data.noun").write_text(
        SYNSETS + f"00000050 15 n 01 location 0 001 ~ 00000060 n 0000 | {PLACES['location']}  \n"
        "00000060 15 n 01 valley 0 001 @ 00000050 n 0000 | a long depression  \n"
        "00000070 15 n 01 location 1 000 | the act of putting something in a certain place  \n"
    )
    wordnet = read_wordnet(tmp_path)
    bank = nouns_of_wordnet(wordnet)
    kinds = place_kinds(wordnet, bank)
    assert [word for word, kind in zip(bank.words, kinds, strict=True) if kind] == ["location", "valley"]


def test_nouns_of_wordnet(wordnet):
    first, every = nouns_of_wordnet(wordnet), nouns_of_wordnet(wordnet, words="all")
    assert first.words == ("entity", "mill", "windmill", "Paris") and len(first) == 4
    assert len(every) == 14 and every.synsets[-3:] == ("n00000030", "n00000030", "n00000040")
    assert nouns_of_wordnet(wordnet, instances=False).words == ("entity", "mill", "windmill")
    assert first.described()[2] == "windmill, a mill driven by the wind"
    assert nouns_of_wordnet(wordnet, under=("n00000020",)).words == ("mill", "windmill")
    with pytest.raises(UsageError, match="no synset n9"):
        nouns_of_wordnet(wordnet, under=("n00000010", "n9"))
    with pytest.raises(UsageError, match="no noun is left"):
        nouns_of_wordnet(wordnet, under=("n00000040",), instances=False)
    with pytest.raises(UsageError, match="'first' or 'all', not 'some'"):
        nouns_of_wordnet(wordnet, words="some")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot read .*data.noun.*No such file.*wordnet-base"),
        (b"\xff\xfe", "it is no text"),
        ("", "holds no synsets"),
        (LICENCE, "holds no synsets"),
        (LICENCE + "a noun a line\n", "line 2 of .* is no noun synset"),
        (SYNSETS.replace(" n 01 entity", " v 01 entity"), "line 1 of"),
        (SYNSETS.replace("00000030 06 n", "00000031 06 n").replace("@ 00000020", "@ 00000077"), "n00000077.*not there"),
    ],
)
def test_what_is_not_wordnet(tmp_path, text, said):
    if text is not None:
        (tmp_path / "data.noun").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=said):
        read_wordnet(tmp_path)


def test_the_real_wordnet():
    folder = next((path for path in WORDNETS if (path / "data.noun").is_file()), None)
    if folder is None:
        pytest.skip("no WordNet at /usr/share/wordnet: apt-get install wordnet-base")
    wordnet = read_wordnet(folder)
    bank = nouns_of_wordnet(wordnet)
    assert len(bank) == 82_115 and len(set(bank.words)) == 67_893
    assert len(nouns_of_wordnet(wordnet, words="all")) == 146_347
    dogs = wordnet.hyponyms(["n02084071"])
    assert wordnet.by_name["n02084071"].words[0] == "dog"
    assert "n02106662" in dogs and "n02121808" not in dogs  # a German shepherd is one, a domestic cat is not
    assert "n00001740" in wordnet.above("n02084071")
    kinds = dict(zip(bank.words, place_kinds(wordnet, bank).tolist(), strict=True))
    words = ("kitchen", "desert", "highway", "golden retriever", "bagel")
    assert [kinds[word] for word in words] == [1, 1, 1, 0, 0]


def test_noun_lists(tmp_path):
    path = tmp_path / "nouns.txt"
    path.write_bytes("\ufeffdog\r\n\r\n cat \ta feline\r\nföhn".encode())
    bank = read_noun_list(path)
    assert bank.words == ("dog", "cat", "föhn") and bank.definitions == ("", "a feline", "")
    assert bank.described() == ("dog", "cat, a feline", "föhn")
    for content, said in ((b"\n \n", "holds no nouns"), (b"d\xf6g", "byte 1 is not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=said):
            read_noun_list(path)
    with pytest.raises(UsageError, match="cannot read the nouns"):
        read_noun_list(tmp_path)


def test_prompts():
    assert len(TAC_PROMPTS) == 7 and SIC_PROMPTS == ("a photo of a {}",)
    assert all(prompt.count("{}") == 1 for prompt in (*TAC_PROMPTS, *SIC_PROMPTS))


COCO = {"info": {}, "annotations": [{"image_id": 1, "id": 2, "caption": " A dog\n runs ."}, {"caption": "A cat ."}]}


@pytest.mark.parametrize(
    "text",
    [
        "1.jpg#0\tA dog runs .\n1.jpg#1\tA cat .\n2.jpg#0\tA dog  runs .\n",
        "A dog runs .\n\nA cat .\n",
        "\ufeffA dog runs .\r\nA cat .",
        json.dumps(COCO),
        "\n" + json.dumps(COCO, indent=1),
    ],
)
def test_captions(tmp_path, text):
    (tmp_path / "captions").write_text(text, encoding="utf-8", newline="")
    assert read_captions(tmp_path / "captions") == ("A dog runs .", "A cat .")


def test_a_plain_line_among_tokens_makes_all_plain(tmp_path):
    (tmp_path / "captions").write_text("1.jpg#0\tA dog .\nA cat .\n")
    assert read_captions(tmp_path / "captions") == ("1.jpg#0 A dog .", "A cat .")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no captions"),
        ("1.jpg#0\t \n", "holds no captions"),
        ('{"images": []}', "not JSON of COCO's captions.*annotations"),
        ('{"annotations": [{"id": 1}]}', "not JSON of COCO's captions.*caption"),
        ('{"annotations": []}', "holds no captions"),
        ("{", "not JSON"),
    ],
)
def test_what_holds_no_captions(tmp_path, text, said):
    (tmp_path / "captions").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_captions(tmp_path / "captions")


def test_counts_in_captions():
    captions = ["A Dog chases dogs .", "two buses and a baseball field", "Baseball Fields, dogs' tails", "well-known"]
    words = ["dog", "bus", "baseball field", "field", "Well-Known", "cat", "a very long noun", "and"]
    assert caption_counts(words, captions).tolist() == [2, 1, 2, 2, 1, 0, 0, 1]


@pytest.mark.data
def test_the_captions_of_flickr8k(data_folder):
    found = read_captions(data_folder / "flickr8k_captions" / "Flickr8k.token.txt")
    assert 40_000 < len(found) < 40_460 and found[1] == "A girl going into a wooden building ."
