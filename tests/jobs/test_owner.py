"""Owners: a process that died is told from one that lives, however it died."""

import subprocess
import sys
import textwrap

from studio.jobs.owner import Owner


def test_an_owner_knows_itself_and_forgets_a_closed_one(tmp_path):
    one, two = Owner(tmp_path), Owner(tmp_path)
    assert one.alive(two.id)
    two.close()
    assert not one.alive(two.id)
    assert one.alive(one.id)
    one.close()


def test_a_killed_process_is_no_longer_an_owner(tmp_path):
    code = textwrap.dedent(
        """
        import sys, time, pathlib
        from studio.jobs.owner import Owner
        owner = Owner(pathlib.Path(sys.argv[1]))
        print(owner.id, flush=True)
        time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        other = child.stdout.readline().strip()
        me = Owner(tmp_path)
        assert me.alive(other)
        child.kill()
        child.wait()
    assert not me.alive(other)
    me.close()


def test_an_owner_that_never_was_is_dead(tmp_path):
    me = Owner(tmp_path)
    assert not me.alive("0" * 32)
    me.close()
