"""A guest network, as its owner sees it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, Date
from csnode.api.call import job_at_work, open_jobs
from csnode.api.view import Shown, date, names
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.network import Network, NetworkState
from csnode.model.offering import ISOLATED, NetworkOffering
from csnode.model.orders import Action
from csnode.model.place import Zone
from roles.api.views.offering import ServiceView, services
from roles.api.views.vm import ADMIN, netmask


class NetworkView(Shown):
    """A network."""

    key: ClassVar[str] = "network"
    of: ClassVar[type[Entity]] = Network

    id: Annotated[str, About("the id of the network")]
    name: Annotated[str, About("its name")]
    display_text: Annotated[str, About("its text")]
    account: Annotated[str | None, About("the account it belongs to")] = None
    domain: Annotated[str | None, About("the name of its domain")] = None
    domain_id: Annotated[str | None, About("the id of its domain")] = None
    domain_path: Annotated[str | None, About("the path of its domain")] = None
    zone_id: Annotated[str, About("the zone it is in")]
    zone_name: Annotated[str | None, About("the name of that zone")] = None
    created: Annotated[Date | None, About("when it was created")] = None
    state: Annotated[str, About("Allocated, Implementing, Implemented, Shutdown or Destroy")]
    type: Annotated[str, About("Isolated")]
    acl_type: Annotated[str, About("Account: who may use it")]
    traffic_type: Annotated[str, About("Guest")]
    broadcast_domain_type: Annotated[str, About("Vxlan")]
    broadcast_uri: Annotated[str | None, About("vxlan://VNI", allows=ADMIN)] = None
    vlan: Annotated[str | None, About("its VNI", allows=ADMIN)] = None
    cidr: Annotated[str, About("its addresses")]
    gateway: Annotated[str, About("its gateway")]
    netmask: Annotated[str, About("its netmask")]
    dns1: Annotated[str | None, About("the name server of its machines")] = None
    dns2: Annotated[str | None, About("the second name server")] = None
    network_domain: Annotated[str, About("the DNS suffix of its machines")]
    network_offering_id: Annotated[str, About("its offering")]
    network_offering_name: Annotated[str | None, About("the offering's name")] = None
    network_offering_display_text: Annotated[str | None, About("the offering's text")] = None
    network_offering_availability: Annotated[str | None, About("the offering's place")] = None
    network_offering_conserve_mode: Annotated[bool, About("whether services share addresses")]
    can_use_for_deploy: Annotated[bool, About("whether machines can be put in it")]
    display_network: Annotated[bool | None, About("whether users are shown it", allows=ADMIN)] = (
        None
    )
    egress_default_policy: Annotated[bool, About("whether machines may reach out")]
    is_default: Annotated[bool, About("whether it is a default")]
    is_persistent: Annotated[bool, About("whether it is kept without machines")]
    is_system: Annotated[bool, About("whether the cloud uses it itself")]
    restart_required: Annotated[bool, About("whether it must be restarted")]
    redundant_router: Annotated[bool, About("whether it has a second router")]
    specify_ip_ranges: Annotated[bool, About("whether it names its own addresses")]
    specify_vlan: Annotated[bool, About("whether it names its own VLAN")]
    streched_l2_subnet: Annotated[bool, About("whether it spans zones")]
    related: Annotated[str, About("the id of the network")]
    service: Annotated[tuple[ServiceView, ...], About("its services")]
    tags: Annotated[tuple[str, ...], About("its tags")]
    job_id: Annotated[str | None, About("the job under way on it")] = None
    job_status: Annotated[int | None, About("the state of that job")] = None

    @classmethod
    def made(cls, row: Network, view: View) -> NetworkView:
        job = job_at_work(view, row.id)
        zone, offering = view.maybe(Zone, row.zone), view.maybe(NetworkOffering, row.offering)
        default = bool(offering and offering.is_default)
        return cls(
            id=row.id,
            name=row.name,
            display_text=row.display_text or row.name,
            **names(view, row.account, row.domain),
            zone_id=row.zone,
            zone_name=zone.name if zone else None,
            created=date(row.created),
            state=state_in(view, row),
            type=offering.guest_type if offering else ISOLATED,
            acl_type="Account",
            traffic_type="Guest",
            broadcast_domain_type="Vxlan",
            broadcast_uri=f"vxlan://{row.vni}" if row.vni else None,
            vlan=str(row.vni) if row.vni else None,
            cidr=row.cidr,
            gateway=row.gateway,
            netmask=netmask(row.cidr),
            dns1=(zone.dns1 or None) if zone else None,
            dns2=(zone.dns2 or None) if zone else None,
            network_domain=row.network_domain,
            network_offering_id=row.offering,
            network_offering_name=offering.name if offering else None,
            network_offering_display_text=(offering.display_text or offering.name)
            if offering
            else None,
            network_offering_availability="Required" if default else "Optional",
            network_offering_conserve_mode=True,
            can_use_for_deploy=not row.gone,
            display_network=True,
            egress_default_policy=True,
            is_default=default,
            is_persistent=bool(offering and offering.persistent),
            is_system=False,
            restart_required=False,
            redundant_router=False,
            specify_ip_ranges=False,
            specify_vlan=False,
            streched_l2_subnet=False,
            related=row.id,
            service=services(offering),
            tags=(),
            job_id=job.id if job else None,
            job_status=0 if job else None,
        )


def state_in(view: View, row: Network) -> NetworkState:
    """Return the network's state as CloudStack shows it, from intent, facts and jobs at work."""
    at_work = {job.action for job in open_jobs(view, row.id)}
    if Action.SHUTDOWN in at_work:
        return NetworkState.SHUTDOWN
    if row.gone:
        return NetworkState.DESTROY
    if row.up:
        return NetworkState.IMPLEMENTED
    if row.router or Action.IMPLEMENT in at_work:
        return NetworkState.IMPLEMENTING
    return NetworkState.ALLOCATED
