"""A project in an object store: what is fetched is what the store has, what is written is there whole."""

from __future__ import annotations

import pickle
import threading

import pytest

from fastvbow import object_store, store_lock
from fastvbow.errors import ProjectError, StoreError
from fastvbow.object_store import ObjectStore
from fastvbow.project import ProjectFolder
from fastvbow.replacing import replace_file, replace_folder
from fastvbow.store_cache import cache_folder
from fastvbow.working_copy import WorkingCopy, at_hand


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A function that gives this process another, empty cache: it is another machine then."""

    def another(name: str = "cache") -> None:
        monkeypatch.setenv("FASTVBOW_CACHE", str(tmp_path / name))

    another()
    return another


@pytest.fixture
def store(store_server, cache) -> ObjectStore:
    return ObjectStore(f"s3://{store_server.bucket()}/projects/mine")


def objects(server, store) -> dict[str, bytes]:
    bucket, _, prefix = store.url.removeprefix("s3://").partition("/")
    return server.objects(bucket, f"{prefix}/")


def write(store, name, content: dict[str, bytes] | bytes) -> None:
    with store.writing(name) as final:
        if isinstance(content, bytes):
            with replace_file(final) as path:
                path.write_bytes(content)
            return
        with replace_folder(final) as folder:
            for inside, data in content.items():
                (folder / inside).parent.mkdir(exist_ok=True)
                (folder / inside).write_bytes(data)


@pytest.fixture
def requests(monkeypatch) -> list[str]:
    """The names of the files that are downloaded."""
    seen: list[str] = []
    copy = object_store._copy

    def counted(read, target):
        seen.append(target.name.split(".")[1])
        copy(read, target)

    monkeypatch.setattr(object_store, "_copy", counted)
    return seen


def test_what_travels(store):
    """A task carries the URL, nothing of the cache, and no secrets."""
    sent = pickle.dumps(store)
    assert len(sent) < 200
    assert b"secret" not in sent
    assert pickle.loads(sent) == store
    assert "secret" not in repr(store)


def test_files_and_folders(store, store_server, cache, requests):
    write(store, "a/one.bin", b"1" * 100)
    write(store, "features/shard-00000", {"x.npy": b"x", "deep/y.npy": b"", "card.json": b"{}"})
    assert objects(store_server, store) == {
        "a/one.bin": b"1" * 100,
        "features/shard-00000/x.npy": b"x",
        "features/shard-00000/deep/y.npy": b"",
        "features/shard-00000/card.json": b"{}",
    }
    assert store.fetch("a/one.bin").read_bytes() == b"1" * 100
    assert requests == [], "what was sent is at hand"
    cache("elsewhere")
    assert store.fetch("a/one.bin").read_bytes() == b"1" * 100
    folder = store.fetch("features/shard-00000")
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {
        "x.npy",
        "deep/y.npy",
        "card.json",
    }
    assert len(requests) == 4
    store.fetch("features/shard-00000")
    assert len(requests) == 4, "each is brought once"
    for missing in ("a/two.bin", "none", "a/one.bi"):
        with pytest.raises(FileNotFoundError):
            store.fetch(missing)
    store.remove("features")
    store.remove("features")
    assert set(objects(store_server, store)) == {"a/one.bin"}
    with pytest.raises(FileNotFoundError):
        store.fetch("features/shard-00000")
    assert not folder.exists()


def test_moved_and_listed(store, store_server, cache):
    write(store, "features/shard-00000", {"x.npy": b"x", "card.json": b"1"})
    write(store, "features/.making", b"line")
    assert store.names("features") == [".making", "shard-00000"]
    assert store.names("none") == []
    store.move("features/shard-00000", "features/stale-1")
    assert set(objects(store_server, store)) == {
        "features/.making",
        "features/stale-1/x.npy",
        "features/stale-1/card.json",
    }
    assert (store.fetch("features/stale-1") / "x.npy").read_bytes() == b"x"
    with pytest.raises(FileNotFoundError):
        store.fetch("features/shard-00000")


def test_copies_are_never_stale(store, cache, requests):
    """Written elsewhere, of the same size and in the same second; a file changed here; one that has gone there."""
    write(store, "state", b"first")
    write(store, "topics", {"model.npy": b"11", "old.npy": b"0", "manifest.json": b"1"})
    store.fetch("topics")
    cache("elsewhere")
    write(store, "state", b"other")
    write(store, "topics", {"model.npy": b"22", "manifest.json": b"2"})
    cache()
    assert store.fetch("state").read_bytes() == b"other"
    folder = store.fetch("topics")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"model.npy": b"22", "manifest.json": b"2"}
    (folder / "model.npy").write_bytes(b"33")
    assert store.fetch("topics/model.npy").read_bytes() == b"22"
    del requests[:]
    store.fetch("topics")
    store.fetch("state")
    assert requests == []


def test_a_file_that_settled_needs_no_request(store, monkeypatch):
    write(store, "a", b"1")
    asked = []
    monkeypatch.setattr(ObjectStore, "_version", lambda self, name: asked.append(name) or "v1")
    copies, stated = store.copies, store.listing("a")["a"]
    copies.note("a", "v1", (stated[0], stated[1] - 1000 * 10**9), copies.state("a"))
    store.bring({"a": (stated[0], stated[1] - 1000 * 10**9)})
    assert asked == [], "older than clocks may differ by"
    store.bring({"a": stated})
    assert asked == ["a"], "it has another time"
    asked.clear()
    store.bring({"a": stated})
    assert asked == ["a"], "young: it may have been replaced in the same second"


def test_a_shared_cache(store):
    """Two workers of a machine bring the same folder at once."""
    write(store, "features/shard-00001", {f"{i}.npy": bytes([i]) * 50_000 for i in range(6)} | {"card.json": b"{}"})
    store.copies.forget("features/shard-00001")
    found, errors = [], []

    def work() -> None:
        try:
            folder = store.fetch("features/shard-00001")
            found.append({p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(one == found[0] and len(one) == 7 for one in found)


def test_an_upload_that_fails_marks_nothing(store, store_server, monkeypatch):
    write(store, "features/shard-00000", {"x.npy": b"1", "y.npy": b"1", "card.json": b"1"})
    real = ObjectStore._send

    def failing(self, path, name):
        if name.endswith("y.npy"):
            raise StoreError("cut")
        real(self, path, name)

    monkeypatch.setattr(ObjectStore, "_send", failing)
    with pytest.raises(StoreError, match="cut"):
        write(store, "features/shard-00000", {"x.npy": b"2", "y.npy": b"2", "card.json": b"2"})
    assert "features/shard-00000/card.json" not in objects(store_server, store)
    assert not [*(store.home / "work").iterdir()], "nothing is left behind"
    monkeypatch.setattr(ObjectStore, "_send", real)
    write(store, "features/shard-00000", {"x.npy": b"2", "card.json": b"2"})
    assert objects(store_server, store) == {
        "features/shard-00000/x.npy": b"2",
        "features/shard-00000/card.json": b"2",
    }


def test_nothing_is_sent_after_an_error_or_twice(store, store_server, monkeypatch):
    with pytest.raises(RuntimeError), store.writing("a") as final:
        final.write_bytes(b"half")
        raise RuntimeError
    with pytest.raises(FileNotFoundError, match="to be written"), store.writing("a"):
        pass
    assert objects(store_server, store) == {}
    write(store, "features/shard-00000", {"x.npy": b"1", "card.json": b"1"})
    sent = []
    real = ObjectStore._send
    monkeypatch.setattr(ObjectStore, "_send", lambda self, path, name: sent.append(name) or real(self, path, name))
    monkeypatch.setattr(ObjectStore, "delete_there", lambda self, names: sent.extend(names))
    write(store, "features/shard-00000", {"x.npy": b"1", "card.json": b"1"})
    assert sent == [], "a task that is done again leaves what others may be reading"


class Away:
    """A file system whose server does not answer; what it says is pyarrow's."""

    def get_file_info(self, path):
        raise OSError(
            f"When getting information for key '{path}': AWS Error NETWORK_CONNECTION during HeadObject.\nMore"
        )

    def open_output_stream(self, path, compression):
        raise OSError(28, "No space left on device")


def test_a_store_that_is_away(store, monkeypatch):
    monkeypatch.setattr(object_store, "open_store", lambda url: (Away(), "bucket/a"))
    with pytest.raises(StoreError, match=r"cannot reach s3://bucket.*/projects/mine: .*HeadObject: .*AWS_ENDPOINT_URL"):
        store.fetch("a")
    with pytest.raises(OSError, match="No space"):  # of this machine: that is told as it is
        store.put("a", b"")


def test_the_cache_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTVBOW_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("FASTVBOW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b" / "fastvbow"
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTVBOW_CACHE", str(tmp_path / "file" / "c"))
    with pytest.raises(ProjectError, match="FASTVBOW_CACHE"):
        cache_folder()


def make(store, tmp_path) -> ProjectFolder:
    (tmp_path / "photographs").mkdir(exist_ok=True)
    return ProjectFolder.create(store.url, tmp_path / "photographs", "0.1.0")


def test_a_working_copy_publishes_what_changes(store, store_server, cache, tmp_path):
    project = make(store, tmp_path)
    assert set(objects(store_server, store)) == {"project.json"}
    assert project.place == store
    with project.lock():
        with replace_folder(project.vocabulary) as folder:
            (folder / "words").write_bytes(b"1")
            (folder / "more").write_bytes(b"1")
        with replace_file(project.groups) as path:
            path.write_bytes(b"groups")
        with store.writing("tokens/shard-00000") as final, replace_folder(final) as folder:
            (folder / "words.npy").write_bytes(b"t")
    there = objects(store_server, store)
    assert set(there) == {
        "project.json",
        "vocabulary/words",
        "vocabulary/more",
        "groups.parquet",
        "tokens/shard-00000/words.npy",
    }
    cache("elsewhere")
    other = ProjectFolder.open(store.url)
    assert (other.vocabulary / "words").read_bytes() == b"1"
    assert not other.tokens.exists(), "fetched by those who ask"
    assert other.holds(other.tokens)
    assert not other.holds(other.report)
    with other.lock():
        other.groups.unlink()
        with replace_folder(other.vocabulary) as folder:
            (folder / "words").write_bytes(b"2")
    assert set(objects(store_server, store)) == {"project.json", "vocabulary/words", "tokens/shard-00000/words.npy"}
    cache()
    back = ProjectFolder.open(store.url)
    assert {p.name for p in back.vocabulary.iterdir()} == {"words"}
    assert not back.groups.exists()


def test_what_was_not_published_does_not_exist(store, store_server, tmp_path):
    project = make(store, tmp_path)
    with pytest.raises(RuntimeError), project.lock():
        project.groups.write_bytes(b"half")
        (project.root / "change").mkdir()
        raise RuntimeError
    assert set(objects(store_server, store)) == {"project.json"}
    again = ProjectFolder.open(store.url)
    assert not again.groups.exists()
    assert not again.change.exists()


def test_one_writer(store, store_server, cache, tmp_path, monkeypatch):
    project = make(store, tmp_path)
    with project.lock():
        cache("elsewhere")
        other = ProjectFolder.open(store.url)
        with pytest.raises(ProjectError, match=r"another fastvbow process .* is working on s3://"), other.lock():
            pass
        cache()
        with project.lock():
            pass
    with other.lock():
        pass
    assert not [name for name in objects(store_server, store) if name.startswith(".lock")]
    cache("elsewhere")
    store.put(".lock/dead.json", b'{"host": "h", "process": 1, "cache": "c"}')
    with pytest.raises(ProjectError, match="counts for 5 minutes"), other.lock():
        pass
    monkeypatch.setattr(store_lock, "_DEAD", -1)
    with other.lock():
        pass
    assert not [name for name in objects(store_server, store) if name.startswith(".lock")]


def test_a_lock_that_was_lost_stops_the_writer(store, store_server, tmp_path):
    project = make(store, tmp_path)
    with pytest.raises(ProjectError, match="held up"), project.lock():
        store.delete([*store.listing(".lock")])
        project.groups.write_bytes(b"1")
    assert "groups.parquet" not in objects(store_server, store)


def test_the_lock_of_a_dead_process_of_this_machine(store, tmp_path):
    project = make(store, tmp_path)
    dead = store_lock.StoreLock(store)
    dead._put()
    with project.lock():
        assert len(store.listing(".lock")) == 1


def test_places_that_are_no_projects(store, store_server, tmp_path):
    with pytest.raises(ProjectError, match=r"s3://.*/projects/mine is not a fastvbow project"):
        ProjectFolder.open(store.url)
    store.put("else.txt", b"")
    for function in (ProjectFolder.open, lambda url: ProjectFolder.create(url, tmp_path, "0.1.0")):
        with pytest.raises(ProjectError, match="no fastvbow project"):
            function(store.url)
    with pytest.raises(ProjectError, match="lies inside the images"):
        ProjectFolder.create(f"{store.url}/other", store.url, "0.1.0")


def test_folders_are_left_alone(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    assert at_hand(folder) == folder
    assert WorkingCopy.at(folder) is None
    (tmp_path / "url").write_text("s3://bucket/a")
    assert WorkingCopy.at(folder) is None, "a file that happens to have the name"


def test_on_the_command_line(store, tmp_path, cli):
    make(store, tmp_path)
    told = cli("encode", store.url)
    assert (told.code, "no finished stage" in told.complaint) == (1, True)
    told = cli("groups", f"{store.url}/none")
    assert (told.code, f"{store.url}/none" in told.complaint) == (1, True)
