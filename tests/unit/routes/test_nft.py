"""What is made of what nft prints, where that cannot be had from it at will."""

import errno
from ipaddress import ip_network

import pytest

from towpath.routes import nft
from towpath.routes.ruleset import Rules

BROKEN = '{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "towpath", "flags": \n'
WHOLE = '{"nftables": [{"metainfo": {}}, {"table": {"family": "inet", "name": "towpath", "handle": 1}}]}'
RULES = Rules(services=(ip_network("10.96.0.0/16"),))


@pytest.fixture
def said(monkeypatch):
    """What nft lists from now on, the last one again and again; the scripts that it is given."""
    lists, scripts = [WHOLE], []

    async def run(*arguments, stdin=""):
        if "list" not in arguments:
            scripts.append(stdin)
            return ""
        return lists.pop(0) if len(lists) > 1 else lists[0]

    monkeypatch.setattr(nft, "run", run)
    return lists, scripts


async def test_a_list_that_breaks_off_is_an_error_that_names_the_table(said):
    """Version 1.0.6 prints half of a table that has flags."""
    said[0][:] = [BROKEN]
    with pytest.raises(OSError, match="breaks off in the list of table ip nat") as error:
        await nft.listing("ip nat")
    assert error.value.errno == errno.EBADMSG


async def test_a_table_of_which_half_is_listed_is_made_anew(said, monkeypatch):
    """It may be anything: it is taken for somebody else's work, once."""
    lists, scripts = said
    table = nft.Table()
    await table.desire(RULES)
    assert len(scripts) == 1
    monkeypatch.setattr(nft, "LOOK_EVERY", 0.0)
    await table.desire(RULES)
    assert len(scripts) == 1
    lists[:] = [BROKEN, WHOLE]
    await table.desire(RULES)
    assert len(scripts) == 2
    await table.desire(RULES)
    assert len(scripts) == 2
