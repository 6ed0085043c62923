"""Which services a finding names, and what mends it for them."""

from postfix_mta_sts.admin.doctor.for_services import (
    asks_the_daemon,
    concerned,
    set_for,
    smtp_services,
)
from tests.support.snapshots import changed, good, other_table, with_parameters, with_service

NAME = "smtp_dns_support_level"
SET = f"postconf -e '{NAME} = dnssec' && postfix reload"


def test_smtp_alone() -> None:
    """Services that run lmtp(8) are none of these."""
    names = [each.name for each in smtp_services(good().instances[0])]
    assert names == ["smtp/unix", "relay/unix"]


def test_concerned() -> None:
    """All are not named; some are."""
    [instance] = good().instances
    services = smtp_services(instance)
    assert concerned(instance, services) == ()
    assert concerned(instance, services[1:]) == ("relay/unix",)


def test_set_in_main_cf() -> None:
    """Without options of their own main.cf is enough."""
    [instance] = good().instances
    assert set_for(instance, smtp_services(instance), NAME, "dnssec") == SET


def test_unset_in_master_cf() -> None:
    """An option that hides what main.cf has goes, and main.cf stays as it is."""
    seen = with_parameters(good(), smtp_dns_support_level="dnssec")
    [instance] = with_service(seen, "relay/unix", smtp_dns_support_level="").instances
    command = set_for(instance, smtp_services(instance)[1:], NAME, "dnssec")
    assert command == f"postconf -PX relay/unix/{NAME} && postfix reload"


def test_unset_and_set() -> None:
    """The same if main.cf has nothing, which is set then."""
    [instance] = with_service(good(), "relay/unix", smtp_dns_support_level="").instances
    command = set_for(instance, smtp_services(instance)[1:], NAME, "dnssec")
    assert command == f"postconf -PX relay/unix/{NAME} && {SET}"


def test_asks_the_daemon() -> None:
    """One table is enough."""
    [instance] = good().instances
    assert asks_the_daemon(instance)
    [other] = changed(good(), tables=(other_table("static:may"),)).instances
    assert not asks_the_daemon(other)
    [both] = changed(good(), tables=(*other.tables, *instance.tables)).instances
    assert asks_the_daemon(both)
