"""Who gets which address of a load balancer, who keeps it, and who gives it up."""

from ipaddress import ip_address, ip_network

import pytest

from tests.unit.ipam.world import pool
from tests.unit.loadbalancer.world import Server, balancing
from towpath.ipam.loadbalancer.plan import plan
from towpath.ipam.loadbalancer.room import rooms, running_low
from towpath.ipam.loadbalancer.strays import strays, told
from towpath.model.reason import Reason

FOUR, SIX = balancing("four", "198.51.100.0/29"), balancing("six", "2001:db8::/120")


@pytest.fixture
def server() -> Server:
    """Two pools and no services."""
    return Server(FOUR, SIX)


def test_a_service_gets_the_lowest_address_and_keeps_it(server: Server) -> None:
    """Every address of the pool can be given out, the first too; what others do later changes nothing."""
    server.put("a")
    server.put("b")
    server.settle()
    assert (server.has("a"), server.has("b")) == (["198.51.100.0"], ["198.51.100.1"])
    assert server.says("a") == ("True", "Assigned")
    server.delete("a")
    server.put("c")
    server.settle()
    assert server.has("b") == ["198.51.100.1"]


def test_the_claim_comes_before_the_status_and_goes_after_it(server: Server) -> None:
    """First only a claim is wished for; a Service that is no load balancer any more first loses its status."""
    server.put("a")
    first = plan(server.world())
    assert (len(first.claims), first.publications) == (1, ())
    server.settle()
    server.put("a", kind="ClusterIP")
    leaving = plan(server.world())
    assert (leaving.changes, len(leaving.publications)) == ((), 1)
    server.settle()
    assert (server.claims, server.has("a")) == ({}, [])
    assert server.services()["shop/a"].condition is None


def test_a_service_that_is_gone_gives_its_address_back(server: Server) -> None:
    """The next one can have it."""
    server.put("a")
    server.settle()
    server.delete("a")
    made = plan(server.world())
    assert [tenant.service for tenant in made.changes[0].gone] == ["shop/a"]
    server.settle()
    assert server.claims == {}


def test_a_service_made_anew_under_its_name_is_another(server: Server) -> None:
    """The claim is of the old uid: it goes, and the new one gets an address of its own."""
    server.put("a")
    server.settle()
    server.delete("a")
    server.put("a")
    server.settle()
    assert server.has("a") == ["198.51.100.1"]
    assert list(server.claims) == ["198-51-100-1"]


@pytest.mark.parametrize(
    ("policy", "families", "wanted"),
    [
        ("SingleStack", ["IPv6"], ["2001:db8::1"]),
        ("PreferDualStack", ["IPv6", "IPv4"], ["2001:db8::1", "198.51.100.0"]),
        ("RequireDualStack", ["IPv4", "IPv6"], ["198.51.100.0", "2001:db8::1"]),
    ],
)
def test_one_address_of_each_family_that_the_service_has(server: Server, policy, families, wanted) -> None:
    """In the order of its families; of IPv6 the address that is all zeros behind the prefix stays free."""
    server.put("a", families=families, policy=policy)
    server.settle()
    assert server.has("a") == wanted


def test_who_requires_both_families_gets_both_or_none() -> None:
    """And who prefers both does with one."""
    server = Server(FOUR)
    server.put("all", families=["IPv4", "IPv6"], policy="RequireDualStack")
    server.put("some", families=["IPv4", "IPv6"], policy="PreferDualStack")
    server.settle()
    assert (server.has("all"), server.says("all")) == ([], ("False", "NoPool"))
    assert (server.has("some"), server.says("some")) == (["198.51.100.0"], ("True", "Assigned"))
    assert list(server.claims) == ["198-51-100-0"]


def test_a_family_that_is_not_wanted_any_more_is_given_back(server: Server) -> None:
    """The other address stays."""
    server.put("a", families=["IPv4", "IPv6"], policy="RequireDualStack")
    server.settle()
    server.put("a", families=["IPv4"])
    server.settle()
    assert server.has("a") == ["198.51.100.0"]
    assert list(server.claims) == ["198-51-100-0"]


def test_a_pool_by_hand_gives_what_is_asked_for_alone() -> None:
    """Manual: nobody gets an address of it by chance or with others; who asks does, and keeps it when the pool becomes so later."""
    by_hand, common = balancing("a", "198.51.100.0/29", assignmentMode="Manual"), balancing("b", "203.0.113.0/29")
    server = Server(by_hand)
    server.put("any", key="together", ports=(81,))
    server.put("asks", asks="198.51.100.3", key="together")
    server.settle()
    assert (server.has("any"), server.says("any")) == ([], ("False", "NoPool"))
    assert server.has("asks") == ["198.51.100.3"]
    (refusal,) = plan(server.world()).refusals
    assert refusal.message.endswith("gives it an IPv4 address (IPPool/a gives only what is asked for)")
    server.pools["b"] = common
    server.settle()
    assert (server.has("any"), server.has("asks")) == (["203.0.113.0"], ["198.51.100.3"])
    server.pools["b"] = balancing("b", "203.0.113.0/29", assignmentMode="Manual")
    server.settle()
    assert server.has("any") == ["203.0.113.0"]


def test_what_is_left_of_a_pool_by_hand_is_told_apart() -> None:
    """It is nothing to services that do not ask, so it does not hide that the other pool is full."""
    server = Server(balancing("a", "198.51.100.0/24", assignmentMode="Manual"), balancing("b", "203.0.113.0/31"))
    for name in ("one", "two"):
        server.put(name)
    server.settle()
    (low,) = running_low(server.pools, rooms(plan(server.world())))
    assert low.object.name == "b"


def test_what_is_asked_for_comes_before_what_is_chosen(server: Server) -> None:
    """Who asks for an address later than others have asked for any gets it, if both are new."""
    server.put("any")
    server.put("certain", asks="198.51.100.0")
    server.put("old", loadBalancerIP="198.51.100.2")
    server.settle()
    assert server.has("certain") == ["198.51.100.0"]
    assert server.has("old") == ["198.51.100.2"]
    assert server.has("any") == ["198.51.100.1"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"asks": "198.51.100.9"}, "AddressOutside"),
        ({"asks": "2001:db8::7"}, "InvalidSpec"),
        ({"asks": "198.51.100.300"}, "InvalidSpec"),
        ({"asks": "198.51.100.1", "loadBalancerIP": "198.51.100.2"}, "InvalidSpec"),
        ({"asks": "198.51.100.0"}, "AddressTaken"),
        ({"asks": "198.51.100.4"}, "ReservedAddress"),
        ({"asks": "198.51.100.5"}, "AddressTaken"),
    ],
)
def test_what_cannot_be_had_is_refused_and_nothing_else_is_given(spec, reason) -> None:
    """Outside of all pools, of another family, nonsense, two at once, somebody's, reserved, kept by hand."""
    server = Server(FOUR, reserved=(ip_network("198.51.100.4/32"),))
    server.put("first")
    server.hold("198.51.100.5")
    server.settle()
    server.put("a", **spec)
    made = server.settle()
    assert (server.has("a"), server.says("a")) == ([], ("False", reason))
    assert [one.reason for one in made.refusals] == [Reason(reason)]


def test_a_request_that_changes_is_followed_when_it_can_be(server: Server) -> None:
    """What it has stays until the other is free, and goes then."""
    server.put("a")
    server.put("b", asks="198.51.100.5")
    server.settle()
    server.put("a", asks="198.51.100.5")
    server.settle()
    assert (server.has("a"), server.says("a")) == (["198.51.100.0"], ("False", "AddressTaken"))
    server.delete("b")
    server.settle()
    assert (server.has("a"), server.says("a")) == (["198.51.100.5"], ("True", "Assigned"))
    assert list(server.claims) == ["198-51-100-5"]


def test_services_that_say_the_same_key_share_an_address(server: Server) -> None:
    """Made at once or one after the other; not with the same port, not without the key, not of another namespace."""
    server.put("web", key="k", ports=[80])
    server.put("mail", key="k", ports=[25])
    server.settle()
    server.put("dns", key="k", ports=[53])
    server.put("proxy", key="k", ports=[80, 8080])
    server.put("alone", ports=[1])
    server.put("other/web", key="k", ports=[2])
    server.settle()
    assert {name: server.has(name)[0] for name in ("web", "mail", "dns")} == dict.fromkeys(
        ("web", "mail", "dns"), "198.51.100.0"
    )
    assert len({server.has(name)[0] for name in ("web", "proxy", "alone")}) == 3
    assert str(server.services()["other/web"].addresses[0]) not in {server.has(name)[0] for name in ("web", "proxy")}


def test_with_policy_local_only_services_with_the_same_pods_share(server: Server) -> None:
    """The address is announced by the nodes that have an endpoint, and those have to be the same."""
    server.put("a", key="k", ports=[1], externalTrafficPolicy="Local", selector={"app": "x"})
    server.put("b", key="k", ports=[2], externalTrafficPolicy="Local", selector={"app": "x"})
    server.put("c", key="k", ports=[3], externalTrafficPolicy="Local", selector={"app": "y"})
    server.put("d", key="k", ports=[4])
    server.settle()
    assert server.has("a") == server.has("b")
    assert len({server.has(name)[0] for name in ("a", "c", "d")}) == 3


@pytest.mark.parametrize("change", [{"key": "other"}, {"key": ""}, {"key": "k", "ports": [25]}])
def test_who_does_not_fit_any_more_goes_and_the_other_stays(server: Server, change) -> None:
    """Whoever changed its key or ports gets another address, though it had this one first."""
    server.put("first", key="k", ports=[80])
    server.put("second", key="k", ports=[25])
    server.settle()
    server.put("first", **{"ports": [80], **change})
    server.settle()
    assert server.has("second") == ["198.51.100.0"]
    assert server.has("first") == ["198.51.100.1"]


def test_a_service_alone_changes_key_and_ports_and_keeps_its_address(server: Server) -> None:
    """The claim says what it is now, and who comes is judged by that."""
    server.put("a", key="k", ports=[80])
    server.settle()
    server.put("a", key="l", ports=[443])
    server.settle()
    server.put("b", key="l", ports=[80])
    server.settle()
    assert server.has("a") == server.has("b") == ["198.51.100.0"]


def test_pools_are_for_the_services_and_namespaces_that_they_select() -> None:
    """In the order of their names; a disabled one gives nothing new and takes nothing away."""
    server = Server(
        balancing("a", "198.51.100.0/32", serviceSelector="app == 'web'"),
        balancing("b", "198.51.100.1/32", namespaceSelector="team == 'b'"),
    )
    server.put("web")
    server.put("db")
    server.put("other/db")
    server.settle()
    assert server.has("web") == ["198.51.100.0"]
    assert (server.has("db"), server.says("db")) == ([], ("False", "NoPool"))
    assert [str(one) for one in server.services()["other/db"].addresses] == ["198.51.100.1"]
    server.pools["a"] = balancing("a", "198.51.100.0/32", disabled=True)
    made = server.settle()
    assert server.has("web") == ["198.51.100.0"]
    assert [one.message.count("disabled") for one in made.refusals] == [1]


def test_a_pool_that_goes_takes_no_address_away_before_there_is_another(server: Server) -> None:
    """Services move when there is a pool for them, and not before."""
    server.put("a")
    server.settle()
    del server.pools["four"]
    server.settle()
    assert (server.has("a"), server.says("a")) == (["198.51.100.0"], ("False", "NoPool"))
    server.pools["new"] = balancing("new", "203.0.113.0/30")
    server.settle()
    assert (server.has("a"), server.says("a")) == (["203.0.113.0"], ("True", "Assigned"))
    assert list(server.claims) == ["203-0-113-0"]


def test_services_of_others_are_never_touched() -> None:
    """Those of other classes, and those without one that somebody gave an address; and nobody else gets what they have."""
    server = Server(FOUR)
    server.put("theirs", our_class=False, loadBalancerClass="example.com/lb")
    server.put("given", our_class=False)
    server.show("given", {"ip": "198.51.100.0"})
    server.put("named", our_class=False)
    server.show("named", {"hostname": "lb.example.com"})
    server.put("a", our_class=False)
    server.settle()
    assert server.has("a") == ["198.51.100.1"]
    for name in ("theirs", "given", "named"):
        assert server.services()[f"shop/{name}"].condition is None
    assert len(server.claims) == 1


def test_a_service_is_handed_over_by_asking_for_what_it_has(server: Server) -> None:
    """With our annotation it keeps the address that somebody else has given it, and is ours from then on."""
    server.put("a", our_class=False)
    server.show("a", {"ip": "198.51.100.4"})
    server.settle()
    assert server.claims == {}
    server.put("a", our_class=False, asks="198.51.100.4")
    server.settle()
    assert (server.has("a"), server.says("a")) == (["198.51.100.4"], ("True", "Assigned"))
    assert list(server.claims) == ["198-51-100-4"]


def test_only_who_asks_where_the_configuration_says_so() -> None:
    """A service without a class is taken if it asks by our annotation; ours by class always."""
    server = Server(FOUR, takes_all=False)
    server.put("quiet", our_class=False)
    server.put("asking", our_class=False, asks="198.51.100.3")
    server.put("ours")
    server.settle()
    assert (server.has("quiet"), server.has("asking"), server.has("ours")) == ([], ["198.51.100.3"], ["198.51.100.0"])


def test_who_takes_a_service_without_class_over_has_it(server: Server) -> None:
    """An address of nobody's pool in its status: ours is given back, and the status stays as it is."""
    server.put("a", our_class=False)
    server.settle()
    server.show("a", {"ip": "192.0.2.9"})
    server.settle()
    assert (server.has("a"), server.claims) == (["192.0.2.9"], {})
    assert server.services()["shop/a"].condition is None


def test_a_claim_that_somebody_deletes_is_made_again(server: Server) -> None:
    """The service that shows the address comes first."""
    server.put("b")
    server.settle()
    server.put("a", asks="198.51.100.0")
    server.claims.clear()
    server.settle()
    assert server.has("b") == ["198.51.100.0"]
    assert list(server.claims) == ["198-51-100-0"]


def test_a_full_pool_says_who_waits_and_serves_it_when_there_is_room() -> None:
    """The pool and the service are told."""
    server = Server(balancing("a", "198.51.100.0/32"))
    server.put("a")
    server.put("b")
    made = server.settle()
    assert {(one.object.kind, one.reason) for one in made.refusals} == {
        ("Service", Reason.POOL_EXHAUSTED),
        ("IPPool", Reason.POOL_EXHAUSTED),
    }
    assert (made.free, made.given, made.waiting) == ({"a": 0}, {"a": 1}, 1)
    server.delete("a")
    server.settle()
    assert server.has("b") == ["198.51.100.0"]


def test_a_cache_that_is_older_than_the_claim_decides_nothing(server: Server) -> None:
    """The claim names a version of the Service that is not known yet."""
    server.put("a", kind="ClusterIP")
    old = server.services()
    server.put("a")
    server.carry_out(plan(server.world()))
    world = server.world()
    stale = plan(type(world)(world.pools, world.claims, old, world.namespaces))
    assert stale.is_empty


def test_a_name_that_nobody_can_read_keeps_its_address() -> None:
    """The next one is taken."""
    server = Server(FOUR, barred=frozenset({"198-51-100-0"}))
    server.put("a")
    server.settle()
    assert server.has("a") == ["198.51.100.1"]


def test_reserved_addresses_stay_with_who_has_them() -> None:
    """A reservation takes nothing away."""
    server = Server(FOUR)
    server.put("a")
    server.settle()
    server.known["reserved"] = (ip_network("198.51.100.0/31"),)
    server.put("b")
    made = server.settle()
    assert (server.has("a"), server.has("b")) == (["198.51.100.0"], ["198.51.100.2"])
    assert made.free == {"four": 5}


def test_an_address_written_with_zeros_at_its_end_is_nobodys() -> None:
    """It is the routers' of its subnet (RFC 4291 section 2.6.1), and no object could be named after it."""
    server = Server(balancing("six", "2001:db8::/64"))
    server.put("a", families=["IPv6"], asks="2001:db8::")
    server.put("b", families=["IPv6"], asks="2001:db8::1:0:0")
    server.settle()
    assert (server.says("a"), server.says("b")) == (("False", "ReservedAddress"),) * 2
    assert ip_address("2001:db8::1:0:0") not in {one.spec.address for one in server.claims.values()}


def test_a_claim_says_which_pool_its_address_is_of_now(server: Server) -> None:
    """One pool in place of another over the same addresses: nobody gets another one, and one made by hand is left as it is."""
    server.put("a")
    server.hold("198.51.100.5")
    server.settle()
    (before,) = [one for one in server.claims.values() if one.spec.services]
    server.pools = {"new": balancing("new", "198.51.100.0/28")}
    server.settle()
    claims = {str(one.spec.address): (one.spec.pool, len(one.spec.services)) for one in server.claims.values()}
    assert claims == {str(before.spec.address): ("new", 1), "198.51.100.5": ("", 0)}
    assert server.has("a") == [str(before.spec.address)]
    server.pools = {}
    server.settle()
    assert {one.spec.pool for one in server.claims.values()} == {"new", ""}


def test_a_pool_says_that_little_is_left_of_it_before_it_is_full() -> None:
    """With those that serve the same services, as far as they give anything; each step once."""
    server = Server(
        balancing("a", "198.51.100.0/28"),
        balancing("b", "198.51.100.16/28"),
        balancing("off", "198.51.100.32/28", disabled=True),
        balancing("web", "198.51.100.64/28", serviceSelector="app == 'web'"),
    )

    def low() -> dict[str, str]:
        found = list(running_low(server.pools, rooms(server.settle())))
        assert {one.reason for one in found} <= {Reason.POOL_RUNNING_LOW}
        return {one.object.name: one.message.partition(":")[0] for one in found}

    for number in range(28):
        server.put(f"s{number:02}")
    assert low() == {}
    server.put("s28")
    together = "of IPPool/a, IPPool/b, which serve the same services"
    assert set(low().values()) == {f"10 % of the addresses or less are left {together}"}
    assert low().keys() == {"a", "b"}
    for number in range(29, 33):
        server.put(f"s{number:02}")
    assert set(low().values()) == {f"none of the addresses is left {together}"}


def test_addresses_in_a_pool_that_is_for_pods_by_now_are_nobodys_block() -> None:
    """The pool of services went, and one for pods came over the same range: who has an address there keeps it, and the pool says so."""
    server = Server(FOUR)
    server.put("a")
    server.put("b")
    server.hold("198.51.100.5")
    server.settle()
    assert strays(server.claims, server.pools) == {}
    server.pools = {"pods": pool("pods", "198.51.100.0/24")}
    server.settle()
    has = tuple(ip_address(server.has(name)[0]) for name in ("a", "b"))
    assert strays(server.claims, server.pools) == {"pods": has}
    (said,) = told(strays(server.claims, server.pools))
    assert (said.reason, said.object.name) == (Reason.SERVICE_RANGE_CONFLICT, "pods")
    assert said.message == f"services have {has[0]}, {has[1]} of it (AddressClaim): no block is cut there"
