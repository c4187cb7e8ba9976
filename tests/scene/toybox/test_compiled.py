from studio.scene.toybox import compiled


def add(digest):
    def added(x):
        return x + (digest > 0)

    return added


def test_an_entry_works_where_nothing_can_be_kept(monkeypatch):
    entry, asked = compiled._entry, []

    def nowhere_to_write(**options):
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return entry(**options)

    monkeypatch.setattr(compiled, "_entry", nowhere_to_write)
    assert compiled.kept(add)(2) == 3
    assert asked == [{"cache": True}, {}]


def test_an_entry_holds_the_digest_of_all_sources_which_numba_makes_part_of_its_key():
    function = compiled.kept(add)
    (cell,) = function.py_func.__closure__
    assert cell.cell_contents > 0
